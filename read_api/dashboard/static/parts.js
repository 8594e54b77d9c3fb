// The parts that pages are made of. Values are text nodes only: whatever a name holds, it stays a name.
import { count, country, duration, money, time, title } from "./format.js";
import { href } from "./route.js";
import { Fragment, html, useTick } from "./view.js";

/** A name as somebody wrote it: any length, either direction. */
export const Name = ({ value, none = "not known yet" }) =>
  value ? html`<bdi class="name" dir="auto" title=${value}>${value}</bdi>` : html`<span class="faint">${none}</span>`;

export const Money = ({ amount, currency }) =>
  html`<span class="number">${money(amount)}${currency && html` <span class="unit">${currency}</span>`}</span>`;

export const Time = ({ at }) =>
  at ? html`<time class="number" datetime=${at} title="${at}">${time(at)}</time>` : html`<span class="faint">–</span>`;

/** How long ago a moment of this machine's clock was, counting. */
export function Ago({ at }) {
  useTick(1_000);
  return html`<span class="number">${duration(Math.floor((Date.now() - at) / 1_000))}</span>`;
}

export const Country = ({ code }) =>
  code ? html`<span class="country"><abbr title=${country(code)}>${code}</abbr></span>` : html`<span class="faint">–</span>`;

/** A state, told by its word; the colour of the dot only repeats it. */
export const Status = ({ value }) => html`<span class="status" data-status=${value}>${title(value)}</span>`;

export const Link = ({ to, query, children, ...more }) => html`<a href=${href(to, query)} ...${more}>${children}</a>`;
const OrderLink = ({ id }) => html`<${Link} to=${["order", id]} class="id">${id}<//>`;
export const CustomerLink = ({ id, name }) => html`<${Link} to=${["customer", id]}><${Name} value=${name} none=${id} /><//>`;

/** A titled part of a page. `aside` stands at the right of the title. */
export function Panel({ name, aside, note, wide, children, busy }) {
  const id = `panel-${name.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
  return html`<section class=${`panel ${wide ? "wide" : ""}`} aria-labelledby=${id} aria-busy=${busy ? "true" : "false"}>
    <header><h2 id=${id}>${name}</h2>${aside && html`<div class="aside">${aside}</div>`}</header>
    ${children}
    ${note && html`<p class="note">${note}</p>`}
  </section>`;
}

/** One figure: a word, the figure, and what it is measured against. */
export const Figure = ({ name, value, unit, note, tone }) => html`<div class="figure" data-tone=${tone}>
  <dt>${name}</dt>
  <dd><span class="value number">${value}</span>${unit && html` <span class="unit">${unit}</span>`}</dd>
  ${note && html`<dd class="note">${note}</dd>`}
</div>`;

/** What stands in place of rows: what went wrong, that they are on their way, or that there are none. */
export function Instead({ query, none = "Nothing here.", rows = 4 }) {
  if (query.error) return html`<p class="empty" role="alert">${query.error.message}</p>`;
  if (query.loading && !query.data) {
    return html`<div class="loading" role="status"><span class="hidden">Loading</span>
      ${Array.from({ length: rows }, (_, n) => html`<i key=${n} class=${`bone bone-${n % 4}`}></i>`)}</div>`;
  }
  return html`<p class="empty">${none}</p>`;
}

/**
 * A table. `columns`: [{name, cell(row), number?, wide?, hide?}], `hide`: left out where there is little room.
 * `fresh`: keys of rows that have just come or changed.
 */
export function Table({ label, columns, rows, keyOf, fresh, compact }) {
  const kind = (c) => [c.number && "right", c.wide && "grow", c.hide && "spare"].filter(Boolean).join(" ") || undefined;
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${label}>
    <table class=${compact ? "compact" : undefined}>
      <thead><tr>${columns.map((c) => html`<th key=${c.name} scope="col" class=${kind(c)}>${c.name}</th>`)}</tr></thead>
      <tbody>${rows.map((row) => {
        const key = keyOf(row);
        return html`<tr key=${key} class=${fresh?.has(key) ? "fresh" : undefined}>
          ${columns.map((c) => html`<td key=${c.name} class=${kind(c)}>${c.cell(row)}</td>`)}
        </tr>`;
      })}</tbody>
    </table>
  </div>`;
}

/** What leads on behind the rows that are shown; `more` as `useMore` has it. */
export const More = ({ more }) => html`
  ${more.cursor && html`<p class="more"><button onClick=${more.load} disabled=${more.loading}>${more.loading ? "Loading…" : "Show more"}</button></p>`}
  ${more.error && html`<p class="empty" role="alert">${more.error.message}</p>`}`;

/** A bar of parts of a whole: [{name, value, tone}]. The numbers stand beside it, so it is not read aloud. */
export function Bar({ parts, whole }) {
  const all = whole ?? parts.reduce((sum, part) => sum + part.value, 0);
  return html`<span class="bar" aria-hidden="true">${parts.filter((part) => part.value).map((part) => html`
    <i key=${part.name} data-tone=${part.tone} title="${title(part.name)}: ${count(part.value)}"
      style=${{ width: `${(100 * part.value) / Math.max(all, 1)}%` }}></i>`)}</span>`;
}

/** A choice among a few; `options`: [[value, text]]. */
export const Choice = ({ name, options, value, onChoose }) => html`<fieldset class="choice">
  <legend class="hidden">${name}</legend>
  ${options.map(([given, text]) => html`<label key=${given}>
    <input type="radio" name=${name} checked=${given === value} onChange=${() => onChoose(given)} /><span>${text}</span>
  </label>`)}
</fieldset>`;

/** A value to be chosen from many; `options`: [[value, text]]. */
export const Select = ({ name, options, value, onChoose, visible }) => html`<label class="select">
  <span class=${visible ? undefined : "hidden"}>${name}</span>
  <select value=${value} onChange=${(event) => onChoose(event.target.value)}>
    ${options.map(([given, text]) => html`<option key=${given} value=${given} selected=${given === value}>${text}</option>`)}
  </select>
</label>`;

/** Text with `<em>` around what was found, as the API marks it: split, never parsed as HTML. */
export const Highlighted = ({ text }) => html`<bdi class="name" dir="auto" title=${text.replaceAll(/<\/?em>/g, "")}>${
  text.split(/<em>(.*?)<\/em>/s).map((part, n) => (n % 2 ? html`<mark>${part}</mark>` : html`<${Fragment}>${part}<//>`))
}</bdi>`;

/** The columns of a list of orders; pages leave out what they tell elsewhere. */
export const orderColumns = {
  order: { name: "Order", cell: (o) => html`<${OrderLink} id=${o.order_id} />` },
  customer: { name: "Customer", wide: true, cell: (o) => html`<${CustomerLink} id=${o.customer_id} name=${o.customer_name} />` },
  country: { name: "Country", hide: true, cell: (o) => html`<${Country} code=${o.customer_country} />` },
  total: { name: "Total", number: true, cell: (o) => html`<${Money} amount=${o.total} currency=${o.currency} />` },
  status: { name: "Status", cell: (o) => html`<${Status} value=${o.status} />` },
  placed: { name: "Placed (UTC)", hide: true, cell: (o) => html`<${Time} at=${o.placed_at} />` },
};
