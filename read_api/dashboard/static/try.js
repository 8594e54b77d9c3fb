// What there is to try in the demo. It goes away for good when it is closed.
import { html, useState } from "./view.js";

const KEPT = "prejoin.tried";
const TRIALS = [
  ["Rename a customer", "prejoin demo rename", "The new name reaches all of the customer's orders in one transaction. Search for it, or open one of the orders beforehand and watch."],
  ["Stop Elasticsearch", "prejoin demo search off", "Search goes on, answered by Postgres, and says so. prejoin demo search on brings the index back, with all that it missed."],
  ["Rebuild a view", "prejoin demo rebuild", "A new copy is made from the entities beside the served one, then both switch at once. Nobody here notices; Operations shows how far it is."],
];

export function Try() {
  const [closed, setClosed] = useState(sessionStorage.getItem(KEPT) === "closed");
  if (closed) return null;
  const close = () => {
    sessionStorage.setItem(KEPT, "closed");
    setClosed(true);
  };
  return html`<section class="try" aria-labelledby="try-title">
    <header><h2 id="try-title">Things to try while this runs</h2><button class="plain" onClick=${close}>Close</button></header>
    <ol>${TRIALS.map(([name, command, text]) => html`<li key=${name}>
      <h3>${name}</h3><${Command} text=${command} /><p>${text}</p></li>`)}</ol>
  </section>`;
}

function Command({ text }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard?.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1_500);
  };
  return html`<div class="command"><code>${text}</code>
    ${navigator.clipboard && html`<button class="plain" onClick=${copy} aria-label=${`Copy: ${text}`}>${copied ? "Copied" : "Copy"}</button>`}</div>`;
}
