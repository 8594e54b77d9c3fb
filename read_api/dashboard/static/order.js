// One order: what was told of it, in the order in which it happens, with its customer, lines and money.
import { rowPath, useQuery } from "./api.js";
import { count, money, title, words } from "./format.js";
import { Bar, Country, CustomerLink, Instead, Link, Money, Name, Panel, Status, Table, Time } from "./parts.js";
import { useChanges } from "./stream.js";
import { html, useEffect, useState } from "./view.js";

export function Order({ parts }) {
  const id = parts[1] ?? "";
  const query = useQuery(rowPath("v1/orders", id));
  const next = useQuery(rowPath("v1/fulfilment", id));
  const [told, setTold] = useState(null);
  useEffect(() => setTold(null), [query.data]);
  useChanges("v1/orders", { order_id: id }, (changes) => {
    const own = changes?.filter(({ key }) => key.order_id === id);
    if (own?.length === 0) return;
    if (own?.at(-1).row) setTold(own.at(-1).row);
    else query.reload();
    next.reload();
  });
  const order = told ?? query.data;
  if (!order || query.error?.status === 404) {
    const missing = query.error?.status === 404;
    return html`<h1>Order <span class="id">${id}</span></h1>${missing
      ? html`<p class="empty" role="alert">No order has this id: it was not placed yet, or the id is mistyped.</p>`
      : html`<${Panel} name="Order"><${Instead} query=${query} rows=${6} /><//>`}`;
  }
  return html`
    <header class="page"><div><p class="crumb"><${Link} to=${["search", "orders"]}>Orders<//></p>
      <h1>Order <span class="id">${order.order_id}</span></h1></div>
      <div class="aside"><${Status} value=${order.status} /><b class="total"><${Money} amount=${order.total} currency=${order.currency} /></b></div></header>
    <div class="grid order">
      <${Timeline} order=${order} next=${next.data} />
      <div class="stack"><${Customer} order=${order} /><${Paid} order=${order} /></div>
      <${Lines} order=${order} />
    </div>`;
}

function Customer({ order }) {
  return html`<${Panel} name="Customer"><p class="lead"><${CustomerLink} id=${order.customer_id} name=${order.customer_name} /></p>
    <dl class="facts"><dt>Id</dt><dd class="id">${order.customer_id}</dd>
      <dt>E-mail</dt><dd><${Name} value=${order.customer_email} none="–" /></dd>
      <dt>Country</dt><dd><${Country} code=${order.customer_country} /></dd>
      <dt>Segment</dt><dd>${title(order.customer_segment)}</dd></dl><//>`;
}

function Paid({ order }) {
  const [paid, back, total] = [order.paid_amount, order.refunded_amount, order.total].map(Number);
  const parts = [{ name: "kept", value: Math.max(paid - back, 0), tone: "good" }, { name: "refunded", value: back, tone: "returned" }];
  return html`<${Panel} name="Payment" aside=${html`<${Status} value=${order.payment_status} />`}>
    <${Bar} parts=${parts} whole=${Math.max(total, paid)} />
    <dl class="facts"><dt>Total</dt><dd><${Money} amount=${order.total} currency=${order.currency} /></dd>
      <dt>Paid</dt><dd><${Money} amount=${order.paid_amount} currency=${order.currency} /></dd>
      <dt>Refunded</dt><dd><${Money} amount=${order.refunded_amount} currency=${order.currency} /></dd></dl><//>`;
}

/** The steps as far as the view keeps them: some have a time, of others it is only known that they happened. */
function stepsOf(order) {
  const paying = { none: ["open", "Not paid yet"], authorized: ["open", "Payment authorized"], failed: ["bad", "Payment failed"] }[order.payment_status];
  const stock = { none: ["open", "Stock not asked for yet"], reserved: ["done", "Stock reserved"], failed: ["bad", "Stock could not be reserved"], released: ["bad", "Stock released"] }[order.stock_status];
  const gone = order.dispatched_at !== null;
  return [
    { tone: "done", name: "Placed", at: order.placed_at, detail: `${count(order.line_count)} ${order.line_count === 1 ? "line" : "lines"}, ${money(order.total, order.currency)}` },
    paying ? { tone: paying[0], name: paying[1] } : { tone: "done", name: "Paid", detail: money(order.paid_amount, order.currency) },
    { tone: stock[0], name: stock[1] },
    { tone: gone ? "done" : "open", name: gone ? "Dispatched" : "Not dispatched yet", at: order.dispatched_at, detail: order.carrier ? `by ${order.carrier}` : null },
    { tone: order.delivered_at ? "done" : "open", name: order.delivered_at ? "Delivered" : "Not delivered yet", at: order.delivered_at },
    order.shipment_status === "returned" && { tone: "bad", name: "Came back" },
    Number(order.refunded_amount) > 0 && { tone: "bad", name: order.payment_status === "refunded" ? "Refunded" : "Refunded in part", detail: money(order.refunded_amount, order.currency) },
    order.status === "cancelled" && { tone: "bad", name: "Cancelled", detail: order.cancel_reason },
  ].filter(Boolean);
}

function Timeline({ order, next }) {
  const steps = stepsOf(order).filter((step) => order.status !== "cancelled" || step.tone !== "open");
  return html`<${Panel} name="Timeline" note="Payment and stock are kept by their state, without a time of their own.">
    <ol class="timeline">${steps.map((step) => html`<li key=${step.name} data-tone=${step.tone}>
      <div><b>${step.name}</b>${step.detail && html` <bdi class="detail" dir="auto">${step.detail}</bdi>`}</div>
      ${step.at && html`<${Time} at=${step.at} />`}</li>`)}</ol>
    <p class="waits">${next?.waiting_for
      ? html`Waits for <b>${words(next.waiting_for)}</b> since <${Time} at=${next.since} />.`
      : next ? "Waits for nothing more." : ""} <span class="faint">Last event <${Time} at=${order.updated_at} />.</span></p>
  <//>`;
}

function Lines({ order }) {
  const columns = [
    { name: "#", number: true, cell: (l) => l.line },
    { name: "Product", wide: true, cell: (l) => html`<${Name} value=${l.product_name} none=${l.product_id} /> <span class="id faint">${l.product_id}</span>` },
    { name: "Category", hide: true, cell: (l) => html`<${Name} value=${l.category} none="–" />` },
    { name: "Quantity", number: true, cell: (l) => html`<span class="number">${count(l.quantity)}</span>` },
    { name: "Unit price", number: true, hide: true, cell: (l) => html`<${Money} amount=${l.unit_price} />` },
    { name: "Discount", number: true, hide: true, cell: (l) => (Number(l.discount) ? `${+(100 * Number(l.discount)).toFixed(2)} %` : "–") },
    { name: "Amount", number: true, cell: (l) => html`<${Money} amount=${l.amount} currency=${order.currency} />` },
  ];
  return html`<${Panel} name="Lines" wide><${Table} label="Lines of the order" columns=${columns} rows=${order.lines ?? []} keyOf=${(l) => l.line} /><//>`;
}
