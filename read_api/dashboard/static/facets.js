// What narrows a search: facets with counts, and ranges. Each writes to the address, and reads from it.
import { get, shop } from "./api.js";
import { count, country, title, words } from "./format.js";
import { amend } from "./route.js";
import { html, useEffect, useState } from "./view.js";

const SHOWN = 6;
/** Ranges by view: [column, text, type of the field, what turns its value into the API's]. */
const RANGES = shop ? {
  orders: [
    ["placed_at[gte]", "Placed from", "date", (v) => `${v}T00:00:00Z`],
    ["placed_at[lt]", "Placed before", "date", (v) => `${v}T00:00:00Z`],
    ["total[gte]", "Total from", "number", (v) => v],
    ["total[lte]", "Total to", "number", (v) => v],
  ],
} : {};
const OPTIONS = ["q", "sort"];

/** The filters that the address holds: whatever is no option is one, and the API says so if it knows none such. */
export function filtersOf(query) {
  return Object.fromEntries(Object.entries(query).filter(([name, value]) => !OPTIONS.includes(name) && value !== ""));
}

const split = (text) => (text ? text.split(/(?<!\\),/).map((part) => part.replaceAll("\\,", ",")) : []);
const join = (values) => values.map((value) => String(value).replaceAll(",", "\\,")).join(",");

export function Facets({ view, query, found, filters }) {
  const others = useWithoutOwn(view, query, filters);
  return view.facets.map((name) => {
    const selected = split(query[name]);
    const values = (selected.length ? others[name] : null) ?? found?.facets?.[name] ?? [];
    return html`<${Facet} key=${name} name=${name} values=${values} selected=${selected}
      onChoose=${(chosen) => amend({ [name]: join(chosen) })} />`;
  });
}

/** Facets of columns that are filtered, counted without that filter: so that a second value can be chosen. */
function useWithoutOwn(view, query, filters) {
  const [found, setFound] = useState({});
  const own = view.facets.filter((name) => filters[name]);
  const question = JSON.stringify([own, query.q, filters]);
  useEffect(() => {
    const aborter = new AbortController();
    const ask = async (name) => {
      const asked = { q: query.q, ...filters, [name]: null, facets: name, limit: 1, fields: view.key };
      return [name, (await get(`${view.path}/search`, asked, { signal: aborter.signal })).body.facets[name]];
    };
    Promise.all(own.map(ask)).then((pairs) => setFound(Object.fromEntries(pairs)), () => {});
    return () => aborter.abort();
  }, [question]);
  return found;
}

function Facet({ name, values, selected, onChoose }) {
  const [all, setAll] = useState(false);
  const missing = selected.filter((value) => !values.some((v) => String(v.value) === value)).map((value) => ({ value, count: null }));
  const sorted = [...missing, ...values];
  const shown = all ? sorted : sorted.filter((v, n) => n < SHOWN || selected.includes(String(v.value)));
  if (!sorted.length) return null;
  const choose = (value, on) => onChoose(on ? [...selected, value] : selected.filter((other) => other !== value));
  return html`<fieldset class="facet"><legend>${title(name.replace(/^.*\./, "").replace("customer_", ""))}</legend>
    ${shown.map(({ value, count: n }) => html`<label key=${value}>
      <input type="checkbox" name=${name} value=${value} checked=${selected.includes(String(value))} onChange=${(event) => choose(String(value), event.target.checked)} />
      <bdi class="name" dir="auto" title=${String(value)}>${told(name, value)}</bdi><span class="number faint">${count(n)}</span></label>`)}
    ${sorted.length > SHOWN && html`<button class="plain" aria-expanded=${all ? "true" : "false"} onClick=${() => setAll(!all)}>${all ? "Fewer" : `${sorted.length - SHOWN} more`}</button>`}
  </fieldset>`;
}

function told(name, value) {
  if (value === true || value === false) return value ? "Yes" : "No";
  if (name.endsWith("country")) return country(value);
  return name.endsWith("currency") ? value : title(words(value));
}

export function Ranges({ view, query }) {
  const ranges = RANGES[view.name];
  if (!ranges) return null;
  return html`<fieldset class="ranges"><legend class="hidden">Ranges</legend>${ranges.map(([column, name, type, convert]) => {
    const value = type === "date" ? (query[column] ?? "").slice(0, 10) : (query[column] ?? "");
    return html`<${Range} key=${column} name=${name} type=${type} value=${value} onChoose=${(text) => amend({ [column]: text && convert(text) })} />`;
  })}</fieldset>`;
}

/** One end of a range. It follows the address, and keeps what is being typed while the page is drawn anew. */
function Range({ name, type, value, onChoose }) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const limits = type === "number" ? { min: 0, step: "any" } : {};
  return html`<label><span>${name}</span><input type=${type} ...${limits} value=${text}
    onInput=${(event) => setText(event.target.value)} onChange=${(event) => onChoose(event.target.value)} /></label>`;
}
