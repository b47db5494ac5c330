// When and where a fault occurred: charts of its counts.

import { get, usePolled } from "../../api.js";
import { count } from "../../format.js";
import { html, useMemo } from "../../html.js";
import { change } from "../../location.js";
import { Chart, colour } from "../../parts/chart.js";
import { steps } from "./occurrences.js";
import { Problem } from "../../parts/problem.js";
import { Sparkline } from "../../parts/sparkline.js";
import { visible } from "../../parts/text.js";
import uPlot from "../../vendor/uplot.js";

const MINUTE = 60e6;

/** Over how long, in which steps; `step` is also how the API is asked for one. */
const RANGES = {
  "1h": { label: "1 h", words: "last hour", span: 60 * MINUTE, step: MINUTE, asked: "1m", of: "minutes" },
  "6h": { label: "6 h", words: "last 6 hours", span: 360 * MINUTE, step: 5 * MINUTE, asked: "5m", of: "minutes" },
  "24h": { label: "24 h", words: "last 24 hours", span: 1440 * MINUTE, step: 20 * MINUTE, asked: "20m", of: "minutes" },
  "7d": { label: "7 d", words: "last 7 days", span: 7 * 1440 * MINUTE, step: 120 * MINUTE, asked: "2h", of: "hours" },
  "30d": { label: "30 d", words: "last 30 days", span: 30 * 1440 * MINUTE, step: 480 * MINUTE, asked: "8h", of: "hours" },
};

/** The charts of one fault. `range`: how far back, as the address has it. */
export function Times({ fault, range }) {
  const name = RANGES[range] === undefined ? usual(fault) : range;
  const { words, span, step, of } = RANGES[name];
  const data = useMemo(() => steps(fault[of], span, step), [fault, name]);
  const sum = data[1].reduce((sum, one) => sum + one, 0);
  return html`
    <section class="card" aria-labelledby="times">
      <div class="bar">
        <h2 id="times" class="grow">Occurrences</h2>
        <span class="choices" role="group" aria-label="How far back">
          ${Object.entries(RANGES).map(([key, { label, words }]) => html`
            <button key=${key} aria-pressed=${key === name} title=${words} onClick=${() => change({ range: key }, { replace: true })}>${label}</button>
          `)}
        </span>
      </div>
      <${Chart} data=${data} options=${() => bars(step / 1e6)} shape=${name} height=${150} label=${`${count(sum)} occurrences in the ${words}`} />
      <${ByNode} key=${name} fault=${fault} range=${name} />
    </section>
  `;
}

/** The shortest that shows all of a fault which is not old, else a day. */
function usual({ first_seen_micros }) {
  const age = Date.now() * 1000 - first_seen_micros;
  return ["1h", "6h"].find((name) => age < RANGES[name].span) ?? "24h";
}

/** Bars of so many seconds; whole numbers at the side. */
function bars(seconds) {
  return {
    cursor: { drag: { x: false, y: false }, points: { show: false } },
    scales: { x: { time: true, range: (chart, min, max) => [min, max + seconds] }, y: { range: (chart, min, max) => [0, Math.max(4, max * 1.1)] } },
    series: [{}, { label: "occurrences", fill: colour("--accent"), stroke: colour("--accent"), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.8, 40], align: 1 }) }],
    axes: [{ size: 28 }, { size: 48, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7], values: (chart, ticks) => ticks.map(count) }],
  };
}

/** So many nodes are shown. */
const MAX_NODES = 20;

/**
 * On which node when. The log has to be read for it, so it isn't unless it is short, or somebody asks.
 */
function ByNode({ fault, range }) {
  const { words, span, step, asked } = RANGES[range];
  const isLong = range === "7d" || range === "30d";
  const from = (Math.floor((Date.now() * 1000) / step) + 1) * step - Math.ceil(span / step) * step;
  // Errors alone can be of a fault.
  const parameters = { fault: fault.id, by: "node", level: "error", step: asked, from: Math.max(from, Math.floor(fault.first_seen_micros / step) * step) };
  const load = (signal) => get(`instances/${encodeURIComponent(fault.instance)}/histogram`, parameters, { signal });
  const { data, error, again } = usePolled(load, `${fault.id} ${range}`, isLong ? null : 30_000);
  if (error !== null) return html`<${Problem} error=${error} again=${again} />`;
  if (data === null) return html`<p class="quiet">${isLong ? `Reading the log of the ${words}…` : "Loading…"}</p>`;
  const nodes = perNode(data.histogram, from, step, span);
  if (nodes.length === 0) return html`<p class="quiet">The log has no report of it in the ${words}.</p>`;
  return html`
    <table class="by-node">
      <caption class="unseen">Reports of it by node</caption>
      <thead><tr><th scope="col">Node</th><th scope="col">Reports in the ${words}</th><th scope="col" class="number">Sum</th></tr></thead>
      <tbody>
        ${nodes.slice(0, MAX_NODES).map(({ name, counts, sum }) => html`
          <tr key=${name}>
            <th scope="row">${visible(name)}</th>
            <td class="wide"><${Sparkline} counts=${counts} width=${600} height=${20} label=${`${count(sum)} reports from ${name} in the ${words}`} /></td>
            <td class="number">${count(sum)}</td>
          </tr>
        `)}
      </tbody>
    </table>
    ${nodes.length > MAX_NODES && html`<p class="quiet">and ${nodes.length - MAX_NODES} more nodes</p>`}
  `;
}

/** The counts of each node over the whole stretch, the most frequent first. */
function perNode(histogram, from, step, span) {
  const length = Math.ceil(span / step);
  const nodes = new Map();
  for (const { micros, by } of histogram) {
    const at = Math.min(length - 1, Math.round((micros - from) / step));
    if (at < 0) continue;
    for (const [name, number] of Object.entries(by)) {
      if (!nodes.has(name)) nodes.set(name, { name, counts: new Array(length).fill(0), sum: 0 });
      const node = nodes.get(name);
      node.counts[at] += number;
      node.sum += number;
    }
  }
  return [...nodes.values()].sort((a, b) => b.sum - a.sum);
}
