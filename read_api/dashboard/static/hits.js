// What a search found, as rows: orders and customers in columns of their own, any other view in its first few.
import { shop } from "./api.js";
import { title, words } from "./format.js";
import { Country, Highlighted, Link, Money, Name, Table, Time, orderColumns } from "./parts.js";
import { html } from "./view.js";

const COLUMNS = 6;
const marked = (hit, column) => hit.highlights?.[column]?.[0];

/** A column of rows as one of hits. */
const ofRow = (column) => ({ ...column, cell: (hit) => column.cell(hit.row) });

const linked = (column, to, text) => (hit) => html`<${Link} to=${to(hit.row)} class=${column.endsWith("_id") ? "id" : undefined}>${
  marked(hit, column) ? html`<${Highlighted} text=${marked(hit, column)} />` : html`<${Name} value=${text(hit.row)} none=${to(hit.row).at(-1)} />`}<//>`;

const ORDERS = [
  { name: "Order", cell: linked("order_id", (o) => ["order", o.order_id], (o) => o.order_id) },
  {
    name: "Customer", wide: true,
    cell: (hit) => html`${linked("customer_name", (o) => ["customer", o.customer_id], (o) => o.customer_name)(hit)}
      <${Elsewhere} hit=${hit} but=${["order_id", "customer_name"]} />`,
  },
  ...[orderColumns.country, orderColumns.total, orderColumns.status, orderColumns.placed].map(ofRow),
];
const CUSTOMERS = [
  { name: "Customer", cell: linked("customer_id", (c) => ["customer", c.customer_id], (c) => c.customer_id) },
  {
    name: "Name", wide: true,
    cell: (hit) => html`${hit.row.erased ? html`<span class="faint">erased</span>` : linked("name", (c) => ["customer", c.customer_id], (c) => c.name)(hit)}
      <${Elsewhere} hit=${hit} but=${["customer_id", "name"]} />`,
  },
  ...[
    { name: "Country", hide: true, cell: (c) => html`<${Country} code=${c.country} />` },
    { name: "Segment", hide: true, cell: (c) => title(c.segment) },
    { name: "Orders", number: true, cell: (c) => c.orders },
    { name: "Open", number: true, cell: (c) => c.open_orders },
    { name: "Last order (UTC)", hide: true, cell: (c) => html`<${Time} at=${c.last_order_at} />` },
  ].map(ofRow),
];

/** `hits` are rows with their highlights: [{row, highlights?}]. */
export function Hits({ view, hits, label = `${view.title} that were found` }) {
  const columns = (shop && { orders: ORDERS, customers: CUSTOMERS }[view.name]) || general(view);
  return html`<${Table} label=${label} columns=${columns} rows=${hits} keyOf=${(hit) => idOf(view, hit.row).join("\n")} />`;
}

/** The parts of a row's key, as they stand in addresses. */
const idOf = (view, row) => view.key.map((column) => row[column] ?? "~");

/** What was found in fields that have no column. */
function Elsewhere({ hit, but }) {
  const found = Object.entries(hit.highlights ?? {}).filter(([field]) => !but.includes(field));
  return found.slice(0, 2).map(([field, texts]) => html`<div key=${field} class="elsewhere"><span class="faint">${words(field.replace(/^lines\./, "").replace("customer_", ""))}</span>
    <${Highlighted} text=${texts[0]} /></div>`);
}

function general(view) {
  const columns = [...new Set([...view.key, ...view.columns])].slice(0, Math.max(COLUMNS, view.key.length));
  return columns.map((column, n) => ({
    name: title(column), wide: n === view.key.length,
    cell: (hit) => {
      const shown = marked(hit, column) ? html`<${Highlighted} text=${marked(hit, column)} />` : plain(hit.row[column]);
      return view.key.includes(column) ? html`<${Link} to=${["view", view.name, ...idOf(view, hit.row)]}>${shown}<//>` : shown;
    },
  }));
}

/** Any value of any view. */
export function plain(value) {
  if (value === null || value === undefined) return html`<span class="faint">–</span>`;
  if (typeof value === "object") return html`<${Name} value=${JSON.stringify(value)} />`;
  return typeof value === "string" && /^-?\d+\.\d\d$/.test(value) ? html`<${Money} amount=${value} />` : html`<${Name} value=${String(value)} />`;
}
