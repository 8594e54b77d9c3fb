// The newest orders: a page of the list, then whatever the changes tell.
import { useQuery } from "./api.js";
import { Instead, Panel, Table, orderColumns as c } from "./parts.js";
import { html, useEffect, useRef, useState } from "./view.js";

const SHOWN = 12;
const GLOW = 2_500; // milliseconds that a row is marked as just come or changed
const FIELDS = "order_id,customer_id,customer_name,customer_country,total,currency,status,placed_at";
const newestFirst = (a, b) => (a.placed_at < b.placed_at ? 1 : a.placed_at > b.placed_at ? -1 : a.order_id < b.order_id ? -1 : 1);

/** `hear` is given the function that takes changes; null means: ask anew. */
export function Newest({ hear }) {
  const query = useQuery("v1/orders", { sort: "-placed_at", limit: SHOWN, fields: FIELDS }, (body) => body.data);
  const [rows, setRows] = useState([]);
  const [fresh, setFresh] = useState(new Map()); // keys, and when each came
  const shown = useRef(rows);
  shown.current = rows;
  const show = (found, glowing = []) => {
    setRows(found);
    if (glowing.length) setFresh((before) => new Map([...before, ...glowing.map((key) => [key, Date.now()])]));
  };
  useEffect(() => {
    if (!query.data) return;
    const before = new Set(shown.current.map((row) => row.order_id));
    show(query.data, before.size ? query.data.map((row) => row.order_id).filter((id) => !before.has(id)) : []);
  }, [query.data]);
  useEffect(() => {
    if (!fresh.size) return undefined;
    const oldest = Math.min(...fresh.values());
    const faded = () => setFresh((before) => new Map([...before].filter(([, came]) => Date.now() - came < GLOW)));
    const timer = setTimeout(faded, Math.max(0, oldest + GLOW - Date.now()) + 10);
    return () => clearTimeout(timer);
  }, [fresh]);
  hear((changes) => {
    if (!changes || changes.some(({ row }) => !row)) return query.reload();
    const all = new Map(shown.current.map((row) => [row.order_id, row]));
    for (const { row } of changes) all.set(row.order_id, row);
    const found = [...all.values()].sort(newestFirst).slice(0, SHOWN);
    const changed = new Set(changes.map(({ row }) => row.order_id));
    return show(found, found.map((row) => row.order_id).filter((id) => changed.has(id)));
  });
  const body = rows.length
    ? html`<${Table} label="Newest orders" columns=${[c.order, c.customer, c.country, c.total, c.status, c.placed]} rows=${rows} keyOf=${(o) => o.order_id} fresh=${fresh} />`
    : html`<${Instead} query=${query} none="No orders yet: they appear here as they are placed." rows=${8} />`;
  return html`<${Panel} name="Newest orders" wide busy=${query.loading}>${body}<//>`;
}
