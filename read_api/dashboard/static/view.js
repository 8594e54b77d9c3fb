// What every module draws with: Preact with tagged templates, and the smallest store that several parts can watch.
import { Fragment, h, render } from "./vendor/preact.js";
import { useCallback, useEffect, useMemo, useRef, useState } from "./vendor/hooks.js";
import htm from "./vendor/htm.js";

export const html = htm.bind(h);
export { Fragment, render, useCallback, useEffect, useMemo, useRef, useState };

/** A value that parts of the page watch: `get`, `set` (merged into the value), `watch`. */
export function store(value) {
  const watchers = new Set();
  return {
    get: () => value,
    set(change) {
      value = { ...value, ...change };
      for (const tell of [...watchers]) tell(value);
    },
    watch(tell) {
      watchers.add(tell);
      return () => watchers.delete(tell);
    },
  };
}

/** The value of a store; the part is drawn anew when it changes. */
export function useStore(watched) {
  const [value, setValue] = useState(watched.get());
  useEffect(() => {
    setValue(watched.get());
    return watched.watch(setValue);
  }, [watched]);
  return value;
}

/** Draws the part anew every so many milliseconds: for what tells how long ago something was. */
export function useTick(milliseconds) {
  const [, setTick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setTick((n) => n + 1), milliseconds);
    return () => clearInterval(timer);
  }, [milliseconds]);
}

/** A function that runs `act` at most once in so many milliseconds; the last call is never lost. */
export function useThrottled(act, milliseconds) {
  const latest = useRef(act);
  latest.current = act;
  const timer = useRef(0);
  const last = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  return useCallback(() => {
    if (timer.current) return;
    timer.current = setTimeout(() => {
      timer.current = 0;
      last.current = Date.now();
      latest.current();
    }, Math.max(0, last.current + milliseconds - Date.now()));
  }, [milliseconds]);
}
