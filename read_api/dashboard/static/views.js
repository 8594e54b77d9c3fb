// Any view by the API's own description: which there are, the rows of one, and one row with all its columns.
import { rowPath, useMore, useQuery } from "./api.js";
import { useViews } from "./described.js";
import { title, words } from "./format.js";
import { Hits, plain } from "./hits.js";
import { Instead, Link, More, Panel, Table } from "./parts.js";
import { useChanges } from "./stream.js";
import { html, useThrottled } from "./view.js";

const PAGE = { limit: 25 };
const AGAIN = 1_000; // milliseconds at least between two questions, however much changes

export function Views({ parts }) {
  const described = useViews();
  if (!described.data) return html`<h1>Views</h1><${Instead} query=${described} />`;
  const [, name, ...id] = parts;
  const view = described.data.find((v) => v.name === name);
  if (!view) return html`<${All} views=${described.data} missing=${name} />`;
  return id.length ? html`<${Row} key=${id.join("/")} view=${view} id=${id} />` : html`<${Rows} key=${name} view=${view} />`;
}

function All({ views, missing }) {
  const columns = [
    { name: "View", cell: (v) => html`<${Link} to=${["view", v.name]}>${v.title}<//>` },
    { name: "One row for each", cell: (v) => v.key.map(words).join(", ") },
    { name: "Columns", wide: true, cell: (v) => v.columns.map(words).join(", ") },
    { name: "Search", cell: (v) => (v.searched ? html`<${Link} to=${["search", v.name]}>by words<//>` : html`<span class="faint">–</span>`) },
  ];
  return html`<header class="page"><h1>Views</h1></header>
    ${missing && html`<p class="empty" role="alert">There is no view at v1/${missing}.</p>`}
    <${Panel} name="What is served">${views.length
      ? html`<${Table} label="Views" columns=${columns} rows=${views} keyOf=${(v) => v.name} />`
      : html`<p class="empty">No view is declared yet.</p>`}<//>`;
}

function Rows({ view }) {
  const query = useQuery(view.path, PAGE);
  const more = useMore(view.path, PAGE, query.data);
  // not under the eyes of somebody who went on to further pages
  useChanges(view.path, {}, useThrottled(() => more.rows.length || query.reload(), AGAIN));
  const rows = [...(query.data?.data ?? []), ...more.rows];
  return html`<header class="page"><div><p class="crumb"><${Link} to=${["view"]}>Views<//></p><h1>${view.title}</h1></div>
      ${view.searched && html`<div class="aside"><${Link} to=${["search", view.name]}>Search<//></div>`}</header>
    <${Panel} name="Rows" busy=${query.loading}>${rows.length
      ? html`<${Hits} view=${view} hits=${rows.map((row) => ({ row }))} label=${view.title} /><${More} more=${more} />`
      : html`<${Instead} query=${query} none="No rows yet." rows=${8} />`}<//>`;
}

function Row({ view, id }) {
  const query = useQuery(rowPath(view.path, ...id));
  const its = view.key.map((column, n) => (id[n] === "~" ? [`${column}[null]`, true] : [column, id[n]?.replaceAll(",", "\\,")]));
  useChanges(view.path, Object.fromEntries(its), useThrottled(query.reload, AGAIN));
  return html`<header class="page"><div><p class="crumb"><${Link} to=${["view", view.name]}>${view.title}<//></p>
      <h1><span class="id">${id.join(" / ")}</span></h1></div></header>
    <${Panel} name="Row" busy=${query.loading}>${query.data && query.error?.status !== 404
      ? html`<dl class="facts whole">${Object.entries(query.data).map(([column, value]) => html`<dt key=${column}>${title(column)}</dt><dd>${plain(value)}</dd>`)}</dl>`
      : html`<${Instead} query=${query} rows=${6} />`}<//>`;
}
