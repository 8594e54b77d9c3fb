// Changes as the API tells them (server-sent events), read by fetch: an EventSource could not send a key.
import { Problem, access, ask, connection } from "./api.js";
import { store, useEffect, useRef, useStore } from "./view.js";

const GATHER = 200; // milliseconds in which changes become one call
const SILENCE = 45_000; // without even a heartbeat: the connection is dead
const POLL = 4_000; // where the API tells no changes
const LONGEST_WAIT = 10_000;

/** How the page hears of changes: `off`, `connecting`, `live`, `polling`, `lost`. */
export const hearing = store({ how: "off" });

/**
 * Hear the changes of a view while the part is shown and the page is seen; one stream a page, for browsers open six
 * connections to a server. `onChanges` gets [{event, key, row}], or null: whatever is shown is to be asked anew.
 */
export function useChanges(path, parameters, onChanges) {
  const latest = useRef(onChanges);
  latest.current = onChanges;
  const { epoch } = useStore(connection);
  const wanted = useStore(access).wanted;
  const question = path && JSON.stringify([path, parameters]);
  useEffect(() => {
    if (!question || wanted) return undefined;
    const stream = new Stream(path, parameters, (changes) => latest.current(changes));
    return () => stream.close();
  }, [question, epoch, wanted]);
}

class Stream {
  constructor(path, parameters, tell) {
    Object.assign(this, { path, parameters, tell, lastId: null, gathered: [], failures: 0, closed: false });
    this.seen = () => (document.visibilityState === "visible" ? this.open() : this.pause());
    document.addEventListener("visibilitychange", this.seen);
    this.seen();
  }

  close() {
    this.closed = true;
    document.removeEventListener("visibilitychange", this.seen);
    this.pause();
    hearing.set({ how: "off" });
  }

  pause() {
    this.abort?.abort();
    this.abort = null;
    for (const timer of [this.retry, this.poll, this.gathering, this.silence]) clearTimeout(timer);
    this.gathering = null;
  }

  async open() {
    if (this.abort || this.closed) return;
    const { signal } = (this.abort = new AbortController());
    hearing.set({ how: this.failures ? "lost" : "connecting" });
    const resumed = this.lastId !== null;
    try {
      const headers = { Accept: "text/event-stream", ...(resumed ? { "Last-Event-ID": this.lastId } : {}) };
      const answer = await ask(`${this.path}/changes`, this.parameters, { signal, headers, deadline: 0, stream: true });
      hearing.set({ how: "live" });
      // what changed before the stream began, or while none was open, is not told: ask once
      if (!resumed) this.tell(null);
      await this.read(answer.body.getReader(), signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && [400, 403, 404, 429, 503].includes(error.status)) return this.startPolling(signal);
      if (error instanceof Problem && error.status === 401) return undefined;
    }
    if (!signal.aborted) this.again();
    return undefined;
  }

  again() {
    this.pause();
    this.failures += 1;
    hearing.set({ how: "lost" });
    this.retry = setTimeout(() => this.open(), Math.min(LONGEST_WAIT, 250 * 2 ** Math.min(this.failures, 6)));
  }

  startPolling(signal) {
    hearing.set({ how: "polling" });
    const next = () => {
      if (signal.aborted) return;
      this.tell(null);
      this.poll = setTimeout(next, POLL);
    };
    this.poll = setTimeout(next, POLL);
  }

  async read(reader, signal) {
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      clearTimeout(this.silence);
      this.silence = setTimeout(() => reader.cancel(), SILENCE);
      const { done, value } = await reader.read();
      if (done || signal.aborted) return;
      this.failures = 0;
      const blocks = (rest + decoder.decode(value, { stream: true })).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) this.take(parse(block));
    }
  }

  take({ id, event, data }) {
    if (id) this.lastId = id;
    if (event === "reset") this.gathered.push(null);
    else if (data) this.gathered.push({ event, ...JSON.parse(data) });
    else return;
    this.gathering ??= setTimeout(() => this.flush(), GATHER);
  }

  flush() {
    const changes = this.gathered;
    this.gathered = [];
    this.gathering = null;
    if (changes.includes(null)) this.tell(null);
    else if (changes.length) this.tell(changes);
  }
}

/** One block of an event stream, as the HTML standard reads it. Exported for its own sake: it is the wire's grammar. */
export function parse(block) {
  const found = { id: null, event: "message", data: "" };
  for (const line of block.split(/\r?\n/)) {
    const [, name, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (name === "data") found.data += (found.data ? "\n" : "") + (value ?? "");
    else if (name === "id" || name === "event") found[name] = value ?? "";
  }
  return found;
}
