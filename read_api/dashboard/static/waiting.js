// What fulfilment waits for, and for how long: of each kind the oldest rows, and how many there are.
import { connection, get } from "./api.js";
import { count, duration, title, time } from "./format.js";
import { Bar, Instead, Link, Panel } from "./parts.js";
import { html, useEffect, useState, useStore } from "./view.js";

const KINDS = [
  { state: "awaiting_stock", waiting_for: "stock" },
  { state: "awaiting_payment", waiting_for: "payment" },
  { state: "awaiting_shipment", waiting_for: "shipment" },
  { state: "in_transit", waiting_for: "delivery" },
  { state: "compensating", waiting_for: "stock_release" },
  { state: "compensating", waiting_for: "refund" },
];
const DAY = 86_400;
const AGES = [["under a day", DAY, "age-1"], ["1 to 7 days", 7 * DAY, "age-2"], ["7 to 30 days", 30 * DAY, "age-3"], ["over 30 days", Infinity, "age-4"]];
const PATH = "v1/fulfilment";

/** `changed`: another number whenever the orders have changed. */
export function Waiting({ changed }) {
  const { epoch } = useStore(connection);
  const [found, setFound] = useState({ data: null, error: null, loading: true });
  useEffect(() => {
    const aborter = new AbortController();
    load(aborter.signal).then(
      (data) => setFound({ data, error: null, loading: false }),
      (error) => aborter.signal.aborted || setFound((before) => ({ ...before, error, loading: false })),
    );
    return () => aborter.abort();
  }, [changed, epoch]);
  const kinds = found.data?.kinds ?? [];
  if (!kinds.length) return html`<${Panel} name="Fulfilment waits for"><${Instead} query=${found} none="Nothing waits." /><//>`;
  const greatest = Math.max(...kinds.map((kind) => kind.count));
  return html`<${Panel} name="Fulfilment waits for" note=${clockNote(found.data)}>
    <p class="ages" aria-hidden="true">${AGES.map(([name, , tone]) => html`<span key=${name} class="key" data-tone=${tone}>${name}</span>`)}</p>
    <div class="scroll" tabindex="0" role="region" aria-label="What fulfilment waits for"><table class="ranked">
      <thead><tr><th scope="col">For</th><th scope="col"><span class="hidden">By age</span></th><th scope="col" class="right">Orders</th><th scope="col">Longest</th></tr></thead>
      <tbody>${kinds.map((kind) => html`<tr key=${kind.waiting_for}>
        <th scope="row">${title(kind.waiting_for)}</th>
        <td class="grow"><${Bar} parts=${kind.ages} whole=${greatest} /><span class="hidden">${kind.ages.map((a) => `${a.name}: ${a.value}`).join(", ")}</span></td>
        <td class="right number">${count(kind.count)}</td>
        <td class="number nowrap"><${Link} to=${["order", kind.oldest.order_id]} title=${`since ${time(kind.oldest.since)} UTC`}>${duration(kind.longest)}<//></td>
        </tr>`)}</tbody></table></div>
  <//>`;
}

const clockNote = ({ now, past }) =>
  past ? `Ages are by the shop's clock: its newest order is of ${time(now)} UTC.` : "How long ago the order last moved on.";

async function load(signal) {
  const newest = await get("v1/orders", { sort: "-placed_at", limit: 1, fields: "placed_at" }, { signal });
  // a history told again has a clock of its own; a shop that lives is measured by ours
  const last = newest.body.data[0]?.placed_at;
  const past = Boolean(last) && Date.now() - Date.parse(last) > DAY * 1_000;
  const now = past ? last : new Date().toISOString();
  const kinds = await Promise.all(KINDS.map((kind) => waitingFor(kind, Date.parse(now), signal)));
  return { now, past, kinds: kinds.filter((kind) => kind.count) };
}

/** Of one kind: how many, by age, and the oldest. One page tells all of few; of many each age is counted. */
async function waitingFor(kind, now, signal) {
  const asked = { ...kind, sort: "since", count: "exact" };
  const { body } = await get(PATH, { ...asked, fields: "since", limit: 200 }, { signal });
  const waits = body.data.map((row) => Math.max(0, (now - Date.parse(row.since)) / 1_000));
  // how many have waited less than each bound, the last of which is none
  const younger = await Promise.all(AGES.map(async ([, below]) => {
    if (!Number.isFinite(below)) return body.total_count;
    if (!body.has_more) return waits.filter((wait) => wait < below).length;
    const since = new Date(now - below * 1_000).toISOString();
    return (await get(PATH, { ...asked, "since[gt]": since, limit: 1 }, { signal })).body.total_count;
  }));
  const ages = AGES.map(([name, , tone], n) => ({ name, tone, value: younger[n] - (n ? younger[n - 1] : 0) }));
  return { ...kind, count: body.total_count, ages, oldest: body.data[0], longest: waits[0] };
}
