// The one place that asks the API: it sends the key, notes how fresh answers are, and knows whether the API is there.
import { store, useCallback, useEffect, useRef, useState, useStore } from "./view.js";

const BEAT = 3_000;
const DEADLINE = 15_000;
const KEY = "prejoin.key";
const base = new URL(".", document.baseURI);

/** Whether the views are there that Overview, Order and Customer are about: else other projections are served. */
export const shop = document.body.dataset.shop === "true";

/** `state`: starting, live, lost (nothing answers) or unavailable (the API does, its database does not). */
export const connection = store({ state: "starting", since: Date.now(), detail: "", epoch: 0 });
/** What the newest answer said of itself: As-Of (RFC 3339), lag in seconds, and when it came. */
export const freshness = store({ asOf: null, lag: null, at: 0 });
/** Whether the API asks for a key, and whether one that was given was refused. */
export const access = store({ wanted: false, refused: false });

/** An answer that is not what was asked for; `status` 0: there was none. */
export class Problem extends Error {
  constructor(status, detail, errors = []) {
    super(detail);
    this.status = status;
    this.errors = errors;
  }
}

export const hasKey = () => Boolean(sessionStorage.getItem(KEY));

/** Keep a key for this tab, and ask everything again with it. */
export function giveKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
  access.set({ wanted: false, refused: false });
  connection.set({ epoch: connection.get().epoch + 1 });
}

/** The address of a path such as `v1/orders` with parameters; those that are null, undefined or "" are left out. */
export function address(path, parameters = {}) {
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  return url;
}

/** A path of one row: each part of its key escaped, null as the API writes it. */
export const rowPath = (path, ...key) =>
  [path, ...key.map((part) => (part === null ? "~" : encodeURIComponent(part)))].join("/");

/** Ask the API. Returns the Response of 2xx; throws a Problem for anything else, an AbortError where it is aborted. */
export async function ask(path, parameters, { signal, headers = {}, method = "GET", deadline = DEADLINE, stream = false } = {}) {
  const key = sessionStorage.getItem(KEY);
  const given = key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
  const limits = [signal, deadline ? AbortSignal.timeout(deadline) : null].filter(Boolean);
  let answer;
  try {
    answer = await fetch(address(path, parameters), {
      method, headers: given, signal: AbortSignal.any(limits), cache: "no-cache", credentials: "same-origin",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    lost("lost", "Nothing answers at this address.");
    throw new Problem(0, "The API does not answer.");
  }
  if (answer.ok) {
    there();
    note(answer.headers);
    return answer;
  }
  throw await refused(answer, Boolean(key), stream);
}

/** The body of an answer as JSON, with what its headers say of it. */
export async function get(path, parameters, options) {
  const answer = await ask(path, parameters, options);
  return { body: await answer.json(), asOf: answer.headers.get("Prejoin-As-Of"), lag: lagOf(answer.headers) };
}

// 503 to a stream may only mean that there are too many of them: what is asked meanwhile tells more
async function refused(answer, withKey, stream) {
  const told = await answer.json().catch(() => ({}));
  const detail = told.detail || `The API answered ${answer.status}.`;
  if (answer.status === 401) access.set({ wanted: true, refused: withKey });
  if (answer.status < 502) there();
  else if (!stream) lost("unavailable", detail);
  return new Problem(answer.status, detail, told.errors);
}

function lost(state, detail) {
  const before = connection.get();
  const since = before.state === "live" || before.state === "starting" ? Date.now() : before.since;
  connection.set({ state, detail, since });
}

function there() {
  const before = connection.get();
  if (before.state === "live") return;
  const again = before.state !== "starting"; // what was shown meanwhile is old: everything is asked anew
  connection.set({ state: "live", detail: "", since: Date.now(), epoch: before.epoch + (again ? 1 : 0) });
}

const lagOf = (headers) => (headers.has("Prejoin-Lag") ? Number(headers.get("Prejoin-Lag")) : null);

function note(headers) {
  const asOf = headers.get("Prejoin-As-Of");
  if (asOf && (!freshness.get().asOf || asOf >= freshness.get().asOf)) {
    freshness.set({ asOf, lag: lagOf(headers), at: Date.now() });
  }
}

/** Ask for something small every few seconds while the page is seen: how fresh, and still there? */
export function keepBeating() {
  let asked = shop ? ["v1/orders", { limit: 1 }] : ["v1/status", {}];
  const beat = async () => {
    if (document.visibilityState === "visible" && !access.get().wanted) {
      await ask(...asked, { deadline: 5_000 }).catch((error) => {
        if (error.status === 403) asked = ["v1/status", {}]; // a key for other views
      });
    }
    setTimeout(beat, BEAT);
  };
  beat();
}

/** The newest answer to a query: {data, error, loading, asOf, reload}; data stay while it is asked again. */
export function useQuery(path, parameters = {}, pick = (body) => body) {
  const { epoch } = useStore(connection);
  const [found, setFound] = useState({ data: null, error: null, loading: true, asked: "" });
  const running = useRef(null);
  const question = path ? address(path, parameters).href : "";
  const load = useCallback(async () => {
    running.current?.abort();
    if (!path) return;
    const { signal } = (running.current = new AbortController());
    try {
      const { body, asOf, lag } = await get(path, parameters, { signal });
      setFound({ data: pick(body), error: null, loading: false, asOf, lag, asked: question });
    } catch (error) {
      if (signal.aborted) return;
      setFound((before) => ({
        ...before, data: before.asked === question ? before.data : null, error, loading: false, asked: question,
      }));
    }
  }, [question]);
  useEffect(() => {
    setFound((before) => ({ ...before, loading: true }));
    load();
    return () => running.current?.abort();
  }, [load, epoch]);
  return { ...found, reload: load };
}

/**
 * The pages behind the first, of which `first` is the body: {rows, cursor, loading, error, load}. They go with it when
 * the question changes, or its first page was asked anew.
 */
export function useMore(path, parameters, first) {
  const [more, setMore] = useState({ of: null });
  const current = more.of === first ? more : { of: first, rows: [], cursor: first?.next_cursor ?? null };
  const load = async () => {
    setMore({ ...current, loading: true, error: null });
    try {
      const { body } = await get(path, { ...parameters, cursor: current.cursor });
      setMore({ of: first, rows: [...current.rows, ...body.data], cursor: body.next_cursor });
    } catch (error) {
      setMore({ ...current, loading: false, error });
    }
  };
  return { rows: [], cursor: null, ...current, load };
}

/** All rows of a list, page by page, until `enough` says so or `most` pages came. Returns {rows, whole}. */
export async function pages(path, parameters, { signal, most = 50, enough = () => false } = {}) {
  const rows = [];
  let cursor = null;
  for (let page = 0; page < most; page += 1) {
    const { body } = await get(path, { ...parameters, limit: 200, cursor }, { signal });
    rows.push(...body.data);
    cursor = body.next_cursor;
    if (!body.has_more) return { rows, whole: true };
    if (enough(rows)) break;
  }
  return { rows, whole: false };
}
