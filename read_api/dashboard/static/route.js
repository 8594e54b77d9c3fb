// Where the reader is: `#/search/orders?q=wagner&status=paid`. All of a page's state that can be shared stands there.
import { store } from "./view.js";

const read = () => {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  return { parts: path.split("/").filter(Boolean).map(decode), query: Object.fromEntries(new URLSearchParams(query)) };
};

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const route = store(read());
addEventListener("hashchange", () => route.set(read()));

/** The link to a page: its parts, and what of its state is not the default. */
export function href(parts, query = {}) {
  const kept = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const asked = kept.length ? `?${new URLSearchParams(kept)}` : "";
  return `#/${parts.map(encodeURIComponent).join("/")}${asked}`;
}

/** Change the query of this page. `quietly`: no new entry in the browser's history, as while somebody types. */
export function requery(query, quietly = false) {
  const target = href(route.get().parts, query);
  if (target === location.hash) return;
  if (quietly) history.replaceState(null, "", target);
  else history.pushState(null, "", target);
  route.set(read());
}

/** Change parts of the query of this page, as it is now: what was drawn may be older than the last change. */
export const amend = (change, quietly) => requery({ ...route.get().query, ...change }, quietly);
