// Operations: how far the views are behind, how large they are, what is being rebuilt, and what could not be applied.
import { connection, get } from "./api.js";
import { Chart, Spark } from "./chart.js";
import { compact, count, duration, share, time, title, words } from "./format.js";
import { requestsOf } from "./metrics.js";
import { Bar, Figure, Instead, Link, Panel, Status, Table } from "./parts.js";
import { html, useEffect, useMemo, useState, useStore } from "./view.js";

const EVERY = 2_000;
const KEPT = 300; // of what was asked every 2 s: ten minutes
// Kept while the tab lives, so that the lines go on where they were after a look at another page.
let taken = [];

export function Operations() {
  const [found, setFound] = useState({ data: taken.at(-1)?.status ?? null, error: null, loading: true });
  const { epoch } = useStore(connection);
  useEffect(() => {
    const aborter = new AbortController();
    let timer = 0;
    const look = async () => {
      try {
        if (document.visibilityState === "visible") setFound({ data: await take(aborter.signal), error: null, loading: false });
      } catch (error) {
        if (aborter.signal.aborted) return;
        setFound((before) => ({ ...before, error, loading: false }));
      }
      timer = setTimeout(look, EVERY);
    };
    look();
    return () => {
      aborter.abort();
      clearTimeout(timer);
    };
  }, [epoch]);
  const status = found.data;
  if (!status) return html`<h1>Operations</h1><${Panel} name="Status"><${Instead} query=${found} /><//>`;
  return html`<header class="page"><h1>Operations</h1><div class="aside"><${Status} value=${status.paused ? "paused" : status.state} /></div></header>
    <${Figures} status=${status} />
    <div class="grid">
      <${Lately} />
      <${Views} status=${status} />
      <${Topics} status=${status} />
      <div class="stack"><${Workers} status=${status} /><${Letters} status=${status} /><${Requests} /></div>
    </div>`;
}

async function take(signal) {
  const { body: status } = await get("v1/status", {}, { signal });
  const metrics = await requestsOf(signal).catch(() => null);
  taken = [...taken, { at: Date.now(), status, metrics }].slice(-KEPT);
  return status;
}

/** Seconds from a moment to the answer, by the server's clock alone: what As-Of and lag add up to. Null: not known. */
function behind({ as_of: asOf, lag_seconds: lag }, at) {
  return asOf && at ? Math.max(0, lag + (Date.parse(asOf) - Date.parse(at)) / 1_000) : null;
}

const unapplied = (status) => status.partitions.reduce((sum, p) => sum + (p.lag ?? 0), 0);
const toSend = (status) => status.views.reduce((sum, v) => sum + (v.search?.outbox ?? 0), 0);
const searchBehind = (status) => Math.max(0, ...status.views.map((v) => behind(status, v.search?.as_of) ?? 0));

function Figures({ status }) {
  const pending = status.views.reduce((sum, v) => sum + v.pending, 0);
  const searched = status.views.filter((v) => v.search);
  const held = searched.map((v) => v.search.as_of).filter(Boolean).sort()[0];
  const rate = appliedRate();
  return html`<dl class="figures">
    <${Figure} name="Behind Kafka" value=${duration(status.lag_seconds)} note=${`as of ${time(status.as_of).slice(11)} UTC`} tone=${status.lag_seconds > 10 ? "warn" : undefined} />
    <${Figure} name="To apply" value=${count(unapplied(status))} unit="records" note=${rate === null ? "in all partitions" : `${compact(rate)} applied a second`} />
    <${Figure} name="Pending" value=${count(pending)} unit="keys" note="of huge fan-outs, to be refreshed" />
    <${Figure} name="Search behind" value=${duration(behind(status, held))} note=${`${count(toSend(status))} keys to send`} />
    <${Figure} name="Dead letters" value=${count(status.dead_letters)} note=${status.dead_letters ? "prejoin deadletters list" : "nothing was refused"} tone=${status.dead_letters ? "warn" : undefined} />
  </dl>`;
}

/** Records applied a second over the last ten seconds. */
function appliedRate() {
  const sum = ({ status }) => status.partitions.reduce((all, p) => all + (p.position ? Number(p.position.split("@")[1]) : 0), 0);
  const [from, to] = [taken.at(-6) ?? taken[0], taken.at(-1)];
  return to && to.at > from.at ? Math.max(0, (1_000 * (sum(to) - sum(from))) / (to.at - from.at)) : null;
}

function Lately() {
  const x = taken.map((t) => t.at / 1_000);
  const labels = taken.map((t) => new Date(t.at).toISOString().slice(11, 19));
  const lag = [{ name: "Views", values: taken.map((t) => t.status.lag_seconds ?? 0), tone: "accent" }, { name: "Search", values: taken.map((t) => searchBehind(t.status)), tone: "second" }];
  const waiting = [{ name: "Records to apply", values: taken.map((t) => unapplied(t.status)), tone: "accent" }, { name: "Keys to send to search", values: taken.map((t) => toSend(t.status)), tone: "second" }];
  return html`<${Panel} name="The last minutes" wide note="Every 2 s since this page was first opened in this tab, ten minutes at most. Times are UTC."><div class="pair">
    <${Chart} name="Seconds behind" xTitle="Time" x=${x} labels=${labels} series=${lag} tell=${duration} short=${(n) => `${+n.toFixed(1)} s`} height=${170} top=${1} />
    <${Chart} name="On their way" xTitle="Time" x=${x} labels=${labels} series=${waiting} tell=${count} short=${compact} height=${170} top=${10} whole />
  </div><//>`;
}

/** Keys of a view that waited: to be refreshed, and to be sent to search. */
function waited({ views }, name) {
  const v = views.find(({ view }) => view === name);
  return v ? v.pending + (v.search?.outbox ?? 0) : 0;
}

function Views({ status }) {
  const columns = [
    { name: "View", cell: (v) => html`<span class="nowrap"><b>${v.view}</b> <span class="faint number">g${v.generation}</span></span>` },
    { name: "State", cell: (v) => html`<${Status} value=${v.state} />` },
    { name: "Rows", number: true, cell: (v) => html`<span class="number">${count(v.rows)}</span>` },
    { name: "Lately", hide: true, cell: (v) => html`<${Spark} name=${`Pending keys and keys to send of ${v.view}`} values=${taken.slice(-60).map((t) => waited(t.status, v.view))} />` },
    { name: "Pending", number: true, cell: (v) => html`<span class="number">${count(v.pending)}</span>` },
    { name: "Search", cell: (v) => html`<${Searched} search=${v.search} status=${status} />` },
    { name: "Rebuild", wide: true, cell: (v) => html`<${Rebuild} rebuild=${v.rebuild} />` },
  ];
  return html`<${Panel} name="Views" wide aside=${html`<${Link} to=${["view"]}>Their rows<//>`} note="All views are refreshed in the transaction that applies an event, so they share one lag; pending keys and the search index may be behind it.">
    <${Table} label="Views" columns=${columns} rows=${status.views} keyOf=${(v) => v.view} /><//>`;
}

function Searched({ search, status }) {
  if (!search) return html`<span class="faint">not searched</span>`;
  const lag = search.as_of && duration(behind(status, search.as_of));
  return html`<span class="nowrap">${search.backend === "elasticsearch" ? "Elasticsearch" : "Postgres"}${lag && html`, <span class="number">${lag}</span> behind`}${
    search.outbox > 0 && html`, <span class="number">${count(search.outbox)}</span> to send`}${search.refused > 0 && html`, <b class="number">${count(search.refused)} refused</b>`}</span>`;
}

// what a rebuild from events counts; all else are rows
const UNITS = { replaying: "events", "catching up": "events", building: "views" };

function Rebuild({ rebuild }) {
  if (!rebuild) return html`<span class="faint">–</span>`;
  const done = rebuild.expected ? Math.min(1, rebuild.rows / rebuild.expected) : 0;
  return html`<span class="rebuild"><span>${title(rebuild.phase)} generation ${rebuild.generation}</span>
    <${Bar} parts=${[{ name: "done", value: done, tone: "accent" }]} whole=${1} />
    <span class="number faint">${count(rebuild.rows)}${rebuild.expected ? ` of ${count(rebuild.expected)}` : ""} ${UNITS[rebuild.phase] ?? "rows"}${rebuild.seconds_since > 15 ? `, silent for ${duration(rebuild.seconds_since)}` : ""}</span></span>`;
}

function Topics({ status }) {
  const topics = [...Map.groupBy(status.partitions, (p) => p.topic)].map(([topic, partitions]) => ({
    topic, partitions: partitions.length, end: partitions.reduce((sum, p) => sum + (p.end_offset ?? 0), 0), lag: partitions.reduce((sum, p) => sum + (p.lag ?? 0), 0),
  }));
  const columns = [
    { name: "Topic", wide: true, cell: (t) => html`<b>${t.topic}</b>` },
    { name: "Partitions", number: true, cell: (t) => t.partitions },
    { name: "Records", number: true, cell: (t) => html`<span class="number">${count(t.end)}</span>` },
    { name: "To apply", number: true, cell: (t) => html`<span class="number">${count(t.lag)}</span>` },
  ];
  return html`<${Panel} name="Topics">${topics.length ? html`<${Table} label="Topics" columns=${columns} rows=${topics} keyOf=${(t) => t.topic} />` : html`<p class="empty">No worker has seen a topic yet.</p>`}<//>`;
}

function Workers({ status }) {
  return html`<${Panel} name="Workers">${status.workers.length
    ? html`<ul class="plain-list">${status.workers.map((w, n) => html`<li key=${n}><${Status} value=${w.state} /><span class="faint">since <span class="number">${time(w.started_at)}</span>, beat <span class="number">${duration(w.seconds_since)}</span> ago</span></li>`)}</ul>`
    : html`<p class="empty" role="alert">No worker runs: nothing is applied. Start one with <code>prejoin worker</code>.</p>`}<//>`;
}

function Letters({ status }) {
  const reasons = Object.entries(status.dead_letters_by_reason).sort(([, a], [, b]) => b - a);
  return html`<${Panel} name="Dead letters">${status.dead_letters
    ? html`<table class="ranked"><tbody>${reasons.map(([reason, n]) => html`<tr key=${reason}><th scope="row">${words(reason)}</th>
        <td class="grow"><${Bar} parts=${[{ name: reason, value: n, tone: "returned" }]} whole=${reasons[0][1]} /></td><td class="right number">${count(n)}</td></tr>`)}</tbody></table>`
    : html`<p class="empty">None: whatever came was applied.</p>`}<//>`;
}

function Requests() {
  const seen = useMemo(() => taken.filter((t) => t.metrics), [taken.length, taken.at(-1)]);
  const [from, to] = [seen.at(-31) ?? seen[0], seen.at(-1)];
  if (!to || from === to) return null;
  const seconds = (to.at - from.at) / 1_000;
  const [asked, failed, degraded, searches] = ["requests", "failed", "degraded", "searches"].map((n) => to.metrics[n] - from.metrics[n]);
  const mean = asked ? (1_000 * (to.metrics.seconds - from.metrics.seconds)) / asked : null;
  return html`<${Panel} name="API" note=${`Over the last ${duration(seconds)}, of this API process.`}><dl class="facts">
    <dt>Requests</dt><dd class="number">${(asked / seconds).toFixed(1)} a second</dd>
    <dt>Mean time</dt><dd class="number">${mean === null ? "–" : `${mean.toFixed(1)} ms`}</dd>
    <dt>Failed (5xx)</dt><dd class="number">${count(failed)}</dd>
    <dt>Searches</dt><dd class="number">${count(searches)}${degraded ? `, ${share(degraded, searches)} by Postgres in Elasticsearch's place` : ""}</dd></dl><//>`;
}
