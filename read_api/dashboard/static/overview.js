// Overview: what the shop sells, what becomes of it, what it waits for, and what comes in just now.
import { connection, useQuery } from "./api.js";
import { Chart } from "./chart.js";
import { compact, count, country, day, money, share, title, wholeDay } from "./format.js";
import { Newest } from "./newest.js";
import { Bar, Choice, Figure, Instead, Link, Panel, Select } from "./parts.js";
import { amend, route } from "./route.js";
import { currenciesOf, daysOf, loadDays, loadSales, sumOf, sumsBy, withDays } from "./sales.js";
import { useChanges } from "./stream.js";
import { Try } from "./try.js";
import { html, useCallback, useEffect, useMemo, useRef, useState, useStore, useThrottled } from "./view.js";
import { Waiting } from "./waiting.js";

const PERIODS = [["14", "14 days"], ["30", "30 days"], ["90", "90 days"], ["365", "1 year"]];
const STATUSES = ["pending", "paid", "shipped", "delivered", "returned", "cancelled"];
const OPEN = ["pending", "paid", "shipped"];
const COUNTRIES = 8;
const MANY_DAYS = 20; // changed at once: all are asked anew
const chosen = (query) => Number(PERIODS.find(([value]) => value === query.days)?.[0] ?? 30);

export function Overview() {
  const { query } = useStore(route);
  const wanted = chosen(query);
  const sales = useSales(wanted);
  const newest = useRef(null);
  const statuses = useQuery("v1/orders/search", { limit: 1, fields: "order_id", facets: "status" }, (body) => body);
  const [changed, setChanged] = useState(0);
  const recount = useThrottled(() => { statuses.reload(); setChanged((n) => n + 1); }, 3_000);
  useChanges("v1/orders", {}, (changes) => {
    newest.current?.(changes);
    sales.heard(changes);
    recount();
  });
  return html`
    <header class="page"><h1>Overview</h1><div class="aside">
      <${Select} name="Currency" options=${sales.currencies.map((c) => [c, c])} value=${sales.currency}
        onChoose=${(currency) => amend({ currency })} />
      <${Choice} name="Period" options=${PERIODS} value=${String(wanted)} onChoose=${(days) => amend({ days })} />
    </div></header>
    ${document.body.dataset.demo === "true" && html`<${Try} />`}
    <${Figures} sales=${sales} statuses=${statuses} />
    <div class="grid thirds">
      <${ByDay} sales=${sales} />
      <${ByStatus} query=${statuses} />
      <${Waiting} changed=${changed} />
      <${ByCountry} sales=${sales} />
      <${Newest} hear=${(listener) => (newest.current = listener)} />
    </div>`;
}

/** The rows of the period and of the one before it, kept up to date day by day. */
function useSales(wanted) {
  const { epoch } = useStore(connection);
  const [found, setFound] = useState({ rows: [], whole: true, data: null, error: null, loading: true });
  const touched = useRef(new Set());
  const both = wanted > 90 ? wanted : 2 * wanted;
  const load = useCallback((signal) => loadSales(both, { signal }).then(
    (got) => setFound({ ...got, data: got.rows, error: null, loading: false }),
    (error) => signal?.aborted || setFound((before) => ({ ...before, error, loading: false })),
  ), [both]);
  useEffect(() => {
    const aborter = new AbortController();
    touched.current.clear();
    load(aborter.signal);
    return () => aborter.abort();
  }, [load, epoch]);
  const refresh = useThrottled(async () => {
    const days = [...touched.current];
    touched.current.clear();
    if (days.includes(null) || days.length > MANY_DAYS) return load();
    const anew = await loadDays(days).catch(() => null);
    if (anew) setFound((before) => {
      const rows = withDays(before.rows, days, anew, both);
      return { ...before, rows, data: rows };
    });
    return undefined;
  }, 1_500);
  const heard = (changes) => {
    for (const { row } of changes ?? [{ row: null }]) touched.current.add(row?.placed_at?.slice(0, 10) ?? null);
    refresh();
  };
  const { query } = useStore(route);
  return useMemo(() => {
    const days = daysOf(found.rows).slice(-wanted);
    const now = new Set(days);
    const rows = found.rows.filter((row) => now.has(row.day));
    const before = found.rows.filter((row) => !now.has(row.day));
    const currencies = currenciesOf(rows);
    const currency = currencies.includes(query.currency) ? query.currency : (currencies[0] ?? "");
    return { ...found, heard, days, rows, before: daysOf(before).length === days.length ? before : [], currencies, currency };
  }, [found, wanted, query.currency]);
}

function Figures({ sales, statuses }) {
  const { currency } = sales;
  const now = useMemo(() => sumOf(sales.rows, currency), [sales]);
  const before = useMemo(() => (sales.before.length ? sumOf(sales.before, currency) : null), [sales]);
  const facets = Object.fromEntries((statuses.data?.facets?.status ?? []).map((f) => [f.value, f.count]));
  const open = OPEN.reduce((sum, status) => sum + (facets[status] ?? 0), 0);
  const span = sales.days.length ? `${wholeDay(sales.days[0])} – ${wholeDay(sales.days.at(-1))}` : "";
  const told = (value) => (sales.data ? value : "…");
  return html`<dl class="figures">
    <${Figure} name="Orders" value=${told(count(now.orders))} note=${against(now.orders, before?.orders) || span} />
    <${Figure} name="Revenue" value=${told(money(now.gross))} unit=${currency} note=${against(Number(now.gross), before && Number(before.gross)) || span} />
    <${Figure} name="Refunded" value=${told(money(now.refunded))} unit=${currency} note=${`${share(Number(now.refunded), Number(now.gross))} of revenue`} />
    <${Figure} name="Cancelled" value=${told(count(now.cancelled))} note=${`${share(now.cancelled, now.orders)} of orders`} />
    <${Figure} name="Open now" value=${statuses.data ? count(open) : "…"} note="pending, paid or shipped" />
  </dl>`;
}

function against(now, before) {
  if (!before) return "";
  const change = (100 * (now - before)) / before;
  return `${change >= 0 ? "▲" : "▼"} ${Math.abs(change).toFixed(change > -10 && change < 10 ? 1 : 0)} % on the days before`;
}

function ByDay({ sales }) {
  const { currency, days } = sales;
  const sums = useMemo(() => {
    const found = new Map(sumsBy(sales.rows, (row) => row.day, currency));
    return days.map((d) => found.get(d));
  }, [sales]);
  const x = useMemo(() => days.map((_, n) => n), [days]);
  const orders = useMemo(() => [{ name: "Orders", values: sums.map((s) => s.orders), tone: "accent", bars: true }], [sums]);
  const revenue = useMemo(() => [{ name: `Revenue, ${currency}`, values: sums.map((s) => Number(s.gross)), tone: "second", bars: true }], [sums]);
  const labels = useMemo(() => days.map(days.length > 90 || spansYears(days) ? wholeDay : day), [days]);
  if (!days.length) return html`<${Panel} name="Sales by day" wide><${Instead} query=${sales} none="No orders yet." rows=${8} /><//>`;
  const note = `${days.length} days with orders, the newest of them${sales.whole ? "" : " that fit"}; days are UTC. Revenue leaves cancelled orders out.`;
  return html`<${Panel} name="Sales by day" wide busy=${sales.loading} note=${note}><div class="pair">
    <${Chart} name="Orders by day" title="Orders" xTitle="Day" x=${x} labels=${labels} series=${orders} tell=${count} short=${compact} top=${4} whole />
    <${Chart} name=${`Revenue by day in ${currency}`} title="Revenue" unit=${currency} xTitle="Day" x=${x} labels=${labels} series=${revenue}
      tell=${(n) => money(n?.toFixed(2), currency)} short=${compact} />
  </div><//>`;
}

const spansYears = (days) => days.at(0)?.slice(0, 4) !== days.at(-1)?.slice(0, 4);

function ByStatus({ query }) {
  const facets = query.data?.facets?.status ?? [];
  if (!facets.length) return html`<${Panel} name="Orders by status"><${Instead} query=${query} none="No orders yet." /><//>`;
  const found = Object.fromEntries(facets.map((f) => [f.value, f.count]));
  const all = facets.reduce((sum, f) => sum + f.count, 0);
  const parts = STATUSES.filter((s) => found[s]).map((s) => ({ name: s, value: found[s], tone: s }));
  return html`<${Panel} name="Orders by status" aside=${html`<span class="number faint">${count(all)} in all</span>`}
    note=${query.data.degraded ? "Counted by Postgres: Elasticsearch is away."
      : query.data.backend === "elasticsearch" && "Counted by the search index, a second or so behind the views."}>
    <${Bar} parts=${parts} whole=${all} />
    <table class="ranked"><tbody>${parts.map(({ name, value }) => html`<tr key=${name}>
      <th scope="row"><${Link} to=${["search", "orders"]} query=${{ status: name }} class="status" data-status=${name}>${title(name)}<//></th>
      <td class="right number">${count(value)}</td><td class="right number faint">${share(value, all)}</td></tr>`)}</tbody></table>
  <//>`;
}

function ByCountry({ sales }) {
  const { currency } = sales;
  const found = useMemo(() => sumsBy(sales.rows, (row) => row.customer_country, currency).sort(([, a], [, b]) => b.orders - a.orders), [sales]);
  if (!found.length) return html`<${Panel} name="By country"><${Instead} query=${sales} none="No orders yet." /><//>`;
  const rest = found.slice(COUNTRIES).reduce((sum, [, s]) => sum + s.orders, 0);
  return html`<${Panel} name="By country" aside=${html`<span class="faint">orders, revenue in ${currency}</span>`}
    note=${rest ? `${found.length - COUNTRIES} more countries have ${count(rest)} orders.` : undefined}>
    <table class="ranked"><thead class="hidden"><tr><th scope="col">Country</th><th scope="col">Share</th><th scope="col">Orders</th><th scope="col">Revenue</th></tr></thead>
    <tbody>${found.slice(0, COUNTRIES).map(([code, sum]) => html`<tr key=${code}>
      <th scope="row">${code
        ? html`<${Link} to=${["search", "orders"]} query=${{ customer_country: code }}>${country(code)}<//>`
        : html`<span class="faint">${country(code)}</span>`}</th>
      <td class="grow"><${Bar} parts=${[{ name: "orders", value: sum.orders, tone: "accent" }]} whole=${found[0][1].orders} /></td>
      <td class="right number">${count(sum.orders)}</td><td class="right number faint">${money(sum.gross)}</td></tr>`)}</tbody></table>
  <//>`;
}
