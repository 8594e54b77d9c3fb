// The frame around every page: where one can go, how fresh the numbers are, and what is wrong if something is.
import { access, ask, connection, freshness, giveKey, hasKey, keepBeating, shop } from "./api.js";
import { Customer } from "./customer.js";
import { clock, duration } from "./format.js";
import { Operations } from "./operations.js";
import { Order } from "./order.js";
import { Overview } from "./overview.js";
import { Ago, Link } from "./parts.js";
import { route } from "./route.js";
import { Search } from "./search.js";
import { hearing } from "./stream.js";
import { Views } from "./views.js";
import { html, render, useEffect, useRef, useState, useStore, useTick } from "./view.js";

const ALL = { search: Search, view: Views, operations: Operations };
const PAGES = shop ? { ...ALL, "": Overview, order: Order, customer: Customer } : ALL;
const FIRST = shop ? "" : "view";
const NAMES = [[FIRST, shop ? "Overview" : "Views"], ["search", "Search"], ["operations", "Operations"]];
const ICONS = {
  "": "M3 13V8h3v5zm5 0V3h3v10zm5 0V6h3v7z",
  view: "M2 3h14v11H2zM2 7h14M7 7v7",
  search: "M8 3a5 5 0 1 1-3.2 8.8L2 14.5M8 3a5 5 0 0 1 4 8",
  operations: "M2 9h3l2-5 4 10 2-5h3",
};
const SLOW = 10; // seconds behind from which the page says so

function Frame() {
  const { parts } = useStore(route);
  const page = PAGES[parts[0] ?? FIRST] ? (parts[0] ?? FIRST) : null;
  const main = useRef(null);
  const first = useRef(true);
  useEffect(() => {
    if (!first.current) {
      main.current.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    first.current = false;
  }, [parts.join("/")]);
  useEffect(focusSearchBySlash, []);
  const Page = page === null ? Missing : PAGES[page];
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>Skip to the content</a>
    <header class="side"><div class="inside">
      <${Link} to=${[]} class="brand"><img src="dashboard/icon.svg" alt="" width="22" height="22" /><span>Prejoin</span><//>
      <nav aria-label="Pages">${NAMES.map(([to, name]) => html`
        <${Link} key=${to} to=${to ? [to] : []} aria-current=${page === to ? "page" : undefined}>
          <svg viewBox="0 0 18 17" aria-hidden="true"><path d=${ICONS[to]} /></svg>${name}<//>`)}
        <a href="docs"><svg viewBox="0 0 18 17" aria-hidden="true"><path d="M4 2h7l3 3v10H4zM11 2v3h3M6.5 8h5M6.5 11h5" /></svg>API</a>
      </nav>
      <div class="foot"><${Freshness} /><${Theme} /></div>
    </div></header>
    <div class="body">
      <${Trouble} />
      <main id="main" ref=${main} tabindex="-1"><${Page} key=${parts.slice(0, 2).join("/")} parts=${parts} /></main>
    </div>
    <${KeyDialog} />`;
}

const Missing = () => html`<h1>Nothing here</h1><p>There is no such page. <${Link} to=${[]}>To the first page<//></p>`;

function focusSearchBySlash() {
  const pressed = (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(input|select|textarea)$/i.test(event.target.tagName)) return;
    event.preventDefault();
    const box = document.querySelector("input[type=search]");
    if (box) box.focus();
    else location.hash = "#/search";
  };
  addEventListener("keydown", pressed);
  return () => removeEventListener("keydown", pressed);
}

/** How fresh the numbers are, by what the newest answer said. */
function Freshness() {
  const { state } = useStore(connection);
  const { asOf, lag, at } = useStore(freshness);
  const { how } = useStore(hearing);
  useTick(1_000);
  const silent = (Date.now() - at) / 1_000;
  const behind = lag === null ? null : lag + (state === "live" && silent < 6 ? 0 : silent);
  const tone = state !== "live" ? "bad" : behind === null || behind > SLOW ? "warn" : "good";
  const text = state === "lost" || state === "unavailable" ? "Disconnected" : behind === null ? "No data yet" : `${duration(behind)} behind`;
  return html`<div class="freshness" data-tone=${tone} title=${asOf ? `Every event that Kafka held at ${asOf} is in these numbers` : "No worker has applied anything yet"}>
    <b class="number">${text}</b>
    <span class="number">as of ${clock(asOf)}<span class="spare"> UTC</span></span>
    <span class="how" data-how=${how}>${{ live: "live", polling: "every 4 s", lost: "reconnecting", connecting: "connecting", off: "" }[how]}</span>
  </div>`;
}

/** What is wrong, in one line at the top; said aloud once when it begins and when it ends. */
function Trouble() {
  const { state, detail, since } = useStore(connection);
  const { asOf, lag, at } = useStore(freshness);
  const broken = state === "lost" || state === "unavailable";
  const behind = state === "live" && lag > SLOW && Date.now() - at < 10_000;
  return html`<div class="trouble" role="status">${
    broken
      ? html`<p data-tone="bad"><b>${state === "lost" ? "Connection lost." : "The database does not answer."}</b> ${detail} What you
          see is of <span class="number">${clock(asOf)} UTC</span>, <${Ago} at=${since} /> ago. Trying again every few seconds.
          <button onClick=${() => ask("livez").catch(() => {})}>Try now</button></p>`
      : behind && html`<p data-tone="warn"><b>The views are ${duration(lag)} behind Kafka.</b> <${Link} to=${["operations"]}>Operations<//> tells more.</p>`
  }</div>`;
}

function Theme() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme ?? "system");
  const choose = (chosen) => {
    if (chosen === "system") {
      localStorage.removeItem("prejoin.theme");
      delete document.documentElement.dataset.theme;
    } else {
      localStorage.setItem("prejoin.theme", chosen);
      document.documentElement.dataset.theme = chosen;
    }
    setTheme(chosen);
    dispatchEvent(new Event("prejoin:theme"));
  };
  return html`<label class="theme"><span class="spare">Theme</span><select value=${theme} onChange=${(e) => choose(e.target.value)}>
    ${[["system", "System"], ["light", "Light"], ["dark", "Dark"]].map(([value, text]) => html`
      <option key=${value} value=${value} selected=${value === theme}>${text}</option>`)}
  </select></label>
  ${hasKey() && html`<button class="plain" onClick=${() => giveKey("")}>Forget the key</button>`}`;
}

/** Asks for the API's key; it is kept for this tab alone, and sent as a bearer token. */
function KeyDialog() {
  const { wanted, refused } = useStore(access);
  const dialog = useRef(null);
  useEffect(() => {
    if (wanted && !dialog.current.open) dialog.current.showModal();
    if (!wanted && dialog.current.open) dialog.current.close();
  }, [wanted]);
  const submit = (event) => {
    event.preventDefault();
    const field = event.target.elements.key;
    if (field.value.trim()) giveKey(field.value.trim());
    field.value = "";
  };
  return html`<dialog ref=${dialog} aria-labelledby="key-title" onCancel=${(event) => event.preventDefault()}>
    <form onSubmit=${submit}>
      <h2 id="key-title">This API asks for a key</h2>
      <p>${refused ? "It refused that one. " : ""}Make one with <code>prejoin keys create</code>. It stays in this tab, and is forgotten with it.</p>
      <label>Key <input name="key" type="password" autocomplete="off" required /></label>
      <button class="main">Continue</button>
    </form>
  </dialog>`;
}

const place = document.getElementById("app");
place.replaceChildren();
render(html`<${Frame} />`, place);
keepBeating();
