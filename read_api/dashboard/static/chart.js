// Charts: uPlot on a canvas, and the same numbers as a table for whoever cannot see or would rather read them.
import uPlot from "./vendor/uplot.js";
import { html, useEffect, useRef, useState } from "./view.js";

const HEIGHT = 190;
const WHOLE = [1, 2, 5].flatMap((n) => Array.from({ length: 12 }, (_, zeros) => n * 10 ** zeros)).sort((a, b) => a - b);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** The theme that is shown; charts take their colours anew when it changes. */
function useTheme() {
  const [theme, setTheme] = useState(0);
  useEffect(() => {
    const changed = () => setTheme((n) => n + 1);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", changed);
    addEventListener("prejoin:theme", changed);
    return () => {
      dark.removeEventListener("change", changed);
      removeEventListener("prejoin:theme", changed);
    };
  }, []);
  return theme;
}

/**
 * A chart of one or more series over the same places, under a `title`. `whole`: values are whole numbers. `x`: the places (numbers), `labels`: their texts, `series`:
 * [{name, values, tone, bars}], `tell`: a value as text, `short`: one as an axis has room for.
 */
export function Chart({ name, title = name, unit, x, labels, series, tell, short = tell, height = HEIGHT, xTitle, top = 0, whole }) {
  const place = useRef(null);
  const plot = useRef(null);
  const [at, setAt] = useState(null);
  const theme = useTheme();
  const shown = useRef({ labels, short });
  shown.current = { labels, short };
  const form = JSON.stringify([series.map((s) => [s.name, s.tone, s.bars]), height, top]);
  useEffect(() => {
    const element = place.current;
    const options = optionsOf(series, { shown, height, top, whole, setAt });
    plot.current = new uPlot({ ...options, width: element.clientWidth || 300 }, [x, ...series.map((s) => s.values)], element);
    const watcher = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height }));
    watcher.observe(element);
    return () => {
      watcher.disconnect();
      plot.current.destroy();
      plot.current = null;
    };
  }, [form, theme]);
  useEffect(() => plot.current?.setData([x, ...series.map((s) => s.values)]), [x, ...series.map((s) => s.values)]);
  const told = at !== null && at < labels.length ? at : null;
  return html`<figure class="chart">
    <figcaption><h3>${title}${unit && html` <span class="unit">${unit}</span>`}</h3><span class="reading number" aria-hidden="true">${
      told === null
        ? series.length > 1 && series.map((s) => html`<span key=${s.name} class="key" data-tone=${s.tone}>${s.name}</span>`)
        : html`<b>${labels[told]}</b>${series.map((s) => html`<span key=${s.name} class="key" data-tone=${s.tone}>${
            series.length > 1 ? `${s.name} ` : ""}${tell(s.values[told])}</span>`)}`
    }</span></figcaption>
    <div ref=${place} class="plot" role="img" aria-label=${`${name}: a chart of ${labels.length} values; the numbers follow as a table`}></div>
    <details class="numbers"><summary>Numbers</summary>
      <div class="scroll low" tabindex="0" role="region" aria-label=${`Numbers of ${name}`}><table class="compact">
        <thead><tr><th scope="col">${xTitle}</th>${series.map((s) => html`<th key=${s.name} scope="col" class="right">${s.name}</th>`)}</tr></thead>
        <tbody>${labels.map((label, n) => html`<tr key=${n}><th scope="row">${label}</th>
          ${series.map((s) => html`<td key=${s.name} class="right number">${tell(s.values[n])}</td>`)}</tr>`)}</tbody>
      </table></div>
    </details>
  </figure>`;
}

function optionsOf(series, { shown, height, top, whole, setAt }) {
  const axis = { stroke: colour("--muted"), font: "11px system-ui, sans-serif", ticks: { show: false } };
  const grid = { stroke: colour("--line"), width: 1 };
  const bars = series.some((s) => s.bars);
  return {
    height,
    legend: { show: false },
    padding: [8, 8, 0, 0],
    cursor: { y: false, points: { show: !bars }, drag: { x: false, y: false } },
    scales: {
      x: { time: false, range: (_u, low, high) => (bars ? [low - 0.6, high + 0.6] : [low, high]) },
      y: { range: (_u, _low, high) => [0, Math.max((high ?? 0) * 1.08, top, 1e-9)] },
    },
    axes: [
      { ...axis, grid: { show: false }, size: 24, space: 64, values: (_u, splits) => splits.map((n) => labelAt(shown.current.labels, n, _u.data[0])) },
      { ...axis, grid, size: 46, space: 36, incrs: whole ? WHOLE : undefined, values: (_u, splits) => splits.map((n) => shown.current.short(n)) },
    ],
    series: [{}, ...series.map((s) => ({
      stroke: colour(`--${s.tone}`),
      fill: s.bars ? colour(`--${s.tone}`) : `${colour(`--${s.tone}`)}22`,
      width: s.bars ? 0 : 1.5,
      points: { show: false },
      paths: s.bars ? uPlot.paths.bars({ size: [0.72, 40], radius: 0.15 }) : undefined,
    }))],
    hooks: { setCursor: [(u) => setAt(u.cursor.left < 0 ? null : (u.cursor.idx ?? null))] },
  };
}

function labelAt(labels, value, places) {
  const index = places.indexOf(value);
  return index < 0 ? "" : labels[index].replace(/,? \d{4}$/, "");
}

/** A line without axes, for the cell of a table. */
export function Spark({ values, name }) {
  const greatest = Math.max(...values, 1e-9);
  const points = values.map((v, n) => `${((n / Math.max(values.length - 1, 1)) * 96 + 2).toFixed(1)},${(20 - (v / greatest) * 16).toFixed(1)}`);
  return html`<svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label=${name}>
    <polyline points=${points.join(" ")} /></svg>`;
}
