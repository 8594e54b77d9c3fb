// Search: words, facets and ranges over any searchable view. Everything that was asked stands in the address.
import { shop, useMore, useQuery } from "./api.js";
import { useViews } from "./described.js";
import { Export } from "./export.js";
import { Facets, Ranges, filtersOf } from "./facets.js";
import { clock, count, duration, words } from "./format.js";
import { Hits } from "./hits.js";
import { Instead, Link, More, Panel, Select } from "./parts.js";
import { amend, requery, route } from "./route.js";
import { html, useEffect, useMemo, useRef, useState, useStore } from "./view.js";

const PAGE = 25;
const TYPING = 200; // milliseconds without a key before it is searched
const AGAIN = 10_000; // the first page is asked anew, so that renames and an absent Elasticsearch show by themselves
const roomy = matchMedia("(min-width: 861px)").matches; // else the filters are folded up at first
const SORTS = shop ? {
  orders: [["", "Most relevant"], ["-placed_at", "Newest first"], ["placed_at", "Oldest first"], ["-total", "Greatest total"], ["-updated_at", "Changed last"]],
  customers: [["", "Most relevant"], ["-orders", "Most orders"], ["-last_order_at", "Ordered last"], ["name", "Name"]],
} : {};

export function Search({ parts }) {
  const { query } = useStore(route);
  const described = useViews();
  const views = described.data?.filter((v) => v.searched);
  if (!views) return html`<h1>Search</h1><${Instead} query=${described} />`;
  const view = views.find((v) => v.name === (parts[1] ?? "orders")) ?? views[0];
  if (!view) return html`<h1>Search</h1><p class="empty">No view declares what is searched of it.</p>`;
  return html`<header class="page"><h1>Search</h1>
      <nav class="tabs" aria-label="What to search">${views.map((v) => html`<${Link} key=${v.name} to=${["search", v.name]}
        query=${{ q: query.q }} aria-current=${v === view ? "page" : undefined}>${v.title}<//>`)}</nav></header>
    <${Found} key=${view.name} view=${view} query=${query} />`;
}

function Found({ view, query }) {
  const filters = filtersOf(query);
  const [refused, setRefused] = useState([]);
  const counted = useMemo(() => ({ ...view, facets: view.facets.filter((name) => !refused.includes(name)) }), [refused]);
  const asked = { q: query.q, sort: query.sort, ...filters, facets: counted.facets.join(","), limit: PAGE };
  const first = useQuery(`${view.path}/search`, asked);
  // personal columns are no facets for a key without that scope: they are left out, as the API names them
  const named = first.error?.errors?.filter((e) => e.parameter === "facets").map((e) => e.detail).join() ?? "";
  useEffect(() => {
    const newly = counted.facets.filter((name) => named.includes(name));
    if (newly.length) setRefused([...refused, ...newly]);
  }, [named]);
  const more = useMore(`${view.path}/search`, { ...asked, facets: null }, first.data);
  useAgain(first);
  const found = first.data;
  return html`<div class="searching">
    <div class="asking">
      <${Words} query=${query} name=${view.title} />
      <${Select} name="Sort" options=${SORTS[view.name] ?? [["", "Most relevant"]]} value=${query.sort ?? ""} onChoose=${(sort) => amend({ sort })} />
    </div>
    <aside class="narrowing" aria-label="Filters"><details class="facets" open=${roomy}><summary>Filters</summary>
      <${Ranges} view=${view} query=${query} />
      <${Facets} view=${counted} query=${query} found=${found} filters=${filters} />
    </details></aside>
    <div class="results">
      <${Answered} found=${found} first=${first} />
      <${Chips} query=${query} filters=${filters} />
      ${found && !first.error && found.data.length
        ? html`<${Panel} name=${view.title} busy=${first.loading}
            aside=${html`<${Share} /><${Export} view=${view} filters=${filters} words=${query.q} />`}>
            <${Hits} view=${view} hits=${[...found.data, ...more.rows]} />
            <${More} more=${more} />
          <//>`
        : html`<${Panel} name=${view.title}><${Instead} query=${first} rows=${8} none="Nothing matches all of this. Take a filter away, or a word." /><//>`}
    </div>
  </div>`;
}

/** The box for words. It follows the address, and the address follows it when nobody types. */
function Words({ query, name }) {
  const [text, setText] = useState(query.q ?? "");
  const timer = useRef(0);
  useEffect(() => {
    clearTimeout(timer.current);
    setText(query.q ?? "");
  }, [query.q]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const typed = (event) => {
    const value = event.target.value;
    setText(value);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => amend({ q: value.trim() }, true), TYPING);
  };
  return html`<form role="search" class="words" onSubmit=${(event) => { event.preventDefault(); amend({ q: text.trim() }); }}>
    <label><span class="hidden">Search ${name}</span>
      <input type="search" value=${text} onInput=${typed} placeholder='Words, "a phrase", -without' maxlength="256" autocomplete="off" spellcheck="false" dir="auto" /></label>
    <kbd aria-hidden="true">/</kbd>
  </form>`;
}

/** How many, by whom, and how fresh the index is. */
function Answered({ found, first }) {
  if (!found) return html`<p class="answered" role="status">${first.error ? "No answer." : "Searching…"}</p>`;
  const { value, relation } = found.total;
  return html`<div class="answered">
    <p role="status"><b class="number">${relation === "gte" ? "more than " : ""}${count(value)}</b> found</p>
    <p class="faint">by ${found.backend === "elasticsearch" ? "Elasticsearch" : "Postgres"}, holding what happened until <span class="number">${clock(first.asOf)}</span>${
      first.lag !== null && html`, <span class="number">${duration(first.lag)}</span> before this answer`}</p>
    ${found.degraded && html`<p class="degraded" role="status">Elasticsearch does not answer: Postgres searches instead. Same results, perhaps slower.</p>`}
  </div>`;
}

function Chips({ query, filters }) {
  const names = Object.keys(filters);
  if (!names.length) return null;
  const without = (name) => amend({ [name]: null });
  return html`<ul class="chips" aria-label="Filters in use">${names.map((name) => html`<li key=${name}>
      <button onClick=${() => without(name)} aria-label=${`Remove the filter ${words(name)}: ${filters[name]}`}>
        <span class="faint">${told(name)}</span> <bdi dir="auto">${words(filters[name].replaceAll(/(?<!\\),/g, ", "))}</bdi> <span aria-hidden="true">×</span></button></li>`)}
    <li><button class="plain" onClick=${() => requery({ q: query.q, sort: query.sort })}>Clear all</button></li></ul>`;
}

const told = (name) => words(name).replace(/\[gte\]$/, " from").replace(/\[lte?\]$/, " to").replace("lines.", "");

function Share() {
  const [copied, setCopied] = useState(false);
  if (!navigator.clipboard) return null;
  const copy = async () => {
    await navigator.clipboard.writeText(location.href);
    setCopied(true);
    setTimeout(() => setCopied(false), 1_500);
  };
  return html`<button onClick=${copy}><span role="status">${copied ? "Link copied" : "Copy link"}</span></button>`;
}

function useAgain(first) {
  const latest = useRef(first);
  latest.current = first;
  useEffect(() => {
    const timer = setInterval(() => {
      // not under the eyes of somebody who went on to further pages or uses the keyboard in the list
      const reading = document.activeElement?.closest?.(".results") || scrollY > 400;
      if (document.visibilityState === "visible" && !reading) latest.current.reload();
    }, AGAIN);
    return () => clearInterval(timer);
  }, []);
}
