// One customer: what its orders add up to, and the orders themselves.
import { rowPath, useMore, useQuery } from "./api.js";
import { count, country, money, time, title } from "./format.js";
import { Figure, Instead, Link, More, Name, Panel, Table, orderColumns as c } from "./parts.js";
import { useChanges } from "./stream.js";
import { html, useThrottled } from "./view.js";

const PAGE = 25;
const FIELDS = "order_id,customer_id,customer_name,total,currency,status,placed_at";

export function Customer({ parts }) {
  const id = parts[1] ?? "";
  const query = useQuery(rowPath("v1/customers", id));
  const asked = { customer_id: id.replaceAll(",", "\\,"), sort: "-placed_at", limit: PAGE, fields: FIELDS };
  const orders = useQuery("v1/orders", asked);
  const anew = useThrottled(() => { query.reload(); orders.reload(); }, 500);
  // a rename, an order, a payment: whatever concerns this customer changes its summary or one of its orders
  useChanges("v1/customers", { customer_id: id }, anew);
  const customer = query.data;
  if (!customer) {
    return html`<h1>Customer <span class="id">${id}</span></h1>${query.error?.status === 404
      ? html`<p class="empty" role="alert">No customer has this id, and no order names it.</p>`
      : html`<${Panel} name="Customer"><${Instead} query=${query} /><//>`}`;
  }
  const values = Object.entries(customer.lifetime_value);
  const facts = [customer.email, customer.country && country(customer.country), customer.segment && title(customer.segment)].filter(Boolean);
  return html`
    <header class="page"><div><p class="crumb"><${Link} to=${["search", "customers"]}>Customers<//> <span class="id">${customer.customer_id}</span></p>
      <h1><${Name} value=${customer.name} none=${customer.erased ? "Erased customer" : "No name here"} /></h1>
      <p class="facts-line">${facts.map((fact) => html`<bdi key=${fact} class="name" dir="auto" title=${fact}>${fact}</bdi>`)}</p></div></header>
    <dl class="figures">
      <${Figure} name="Orders" value=${count(customer.orders)} note=${`${count(customer.cancelled_orders)} cancelled`} />
      <${Figure} name="Open" value=${count(customer.open_orders)} note="pending, paid or shipped" />
      ${values.length ? values.slice(0, 3).map(([currency, value]) => html`<${Figure} key=${currency} name="Lifetime value" value=${money(value)} unit=${currency} note="captures minus refunds" />`)
        : html`<${Figure} name="Lifetime value" value="–" note="nothing captured yet" />`}
      <${Figure} name="Loyalty points" value=${count(customer.loyalty_points)} />
      <${Figure} name="First order" value=${time(customer.first_order_at).slice(0, 10)} note=${customer.last_order_at ? `last ${time(customer.last_order_at).slice(0, 10)}` : undefined} />
    </dl>
    ${values.length > 3 && html`<${Panel} name="Lifetime value by currency"><dl class="facts many">${values.map(([currency, value]) => html`<dt>${currency}</dt><dd class="number">${money(value)}</dd>`)}</dl><//>`}
    <${Orders} key=${id} query=${orders} asked=${asked} />`;
}

function Orders({ query, asked }) {
  const more = useMore("v1/orders", asked, query.data);
  const rows = [...(query.data?.data ?? []), ...more.rows];
  return html`<${Panel} name="Orders" busy=${query.loading}>${rows.length
    ? html`<${Table} label="Orders of the customer" columns=${[c.order, { ...c.placed, hide: false, wide: true }, c.status, c.total]} rows=${rows} keyOf=${(o) => o.order_id} />
      <${More} more=${more} />`
    : html`<${Instead} query=${query} none="No orders yet." />`}<//>`;
}
