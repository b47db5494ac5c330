// Analyses: which there are and how far each is; and of one of them the windows, as charts that go on.

import { get, usePolled } from "../api.js";
import { html, useMemo, useRef } from "../html.js";
import { count, span } from "../format.js";
import { Link, change, useHere } from "../location.js";
import { useItems } from "../parts/items.js";
import { Moment } from "../parts/moment.js";
import { Problem } from "../parts/problem.js";
import { Scroll } from "../parts/scroll.js";
import { plain } from "../parts/term.js";
import { brief } from "../parts/text.js";
import { useWindows } from "./analyses/follow.js";
import { Plots } from "./analyses/plots.js";
import { CANDLE, KEYS, constant, figure } from "./analyses/windows.js";

/** How many windows are shown, and of how many rows the keys are offered. */
const LENGTHS = [60, 120, 300, 1000];
const USUAL = 120;
const KEY_ROWS = 1000;

/** How often is looked for keys that are new. */
const KEYS_MILLIS = 30_000;
const NO_KEYS = { keys: [], latest: null };

/** How many windows are in the table. */
const LISTED = 20;

/** Being behind by more than this many seconds is worth a colour. */
const LATE = 5;

export function Analyses() {
  const here = useHere();
  const { data, error, again } = usePolled(async (signal) => (await get("analyses", {}, { signal })).analyses, "analyses");
  useItems();
  const chosen = data?.find(({ name }) => name === here.name) ?? (here.name === undefined ? data?.[0] : undefined);
  return html`
    <main class="page" id="content">
      <h1>Charts</h1>
      <${Problem} error=${error} again=${again} />
      ${data !== null && data.length === 0 && html`
        <p class="empty">No analysis is configured. <code>[[analysis]]</code> in the configuration computes candles, counts, averages or quantiles of each minute, hour or other stretch of time.</p>
      `}
      ${data !== null && data.length > 0 && html`<section class="card" aria-label="Analyses"><${List} analyses=${data} chosen=${chosen} /></section>`}
      ${data !== null && data.length > 0 && chosen === undefined && html`<p class="empty">There is no analysis of the name ${brief(here.name)}.</p>`}
      ${chosen !== undefined && html`<${Chosen} key=${chosen.name} analysis=${chosen} />`}
    </main>
  `;
}

function List({ analyses, chosen }) {
  return html`
    <${Scroll} label="Analyses">
      <table class="many">
        <thead><tr>
          <th scope="col">Analysis</th><th scope="col">Of</th><th scope="col">Window</th><th scope="col">Values</th>
          <th scope="col">Behind</th><th scope="col">Last window ended</th><th scope="col" class="number">Open rows</th>
        </tr></thead>
        <tbody>
          ${analyses.map((it) => html`
            <tr key=${it.name} aria-selected=${it === chosen ? "true" : undefined}>
              <th scope="row"><${Link} data-item to=${{ page: "analyses", name: it.name }} aria-current=${it === chosen ? "true" : undefined}>${it.name}<//></th>
              <td><${Link} to=${{ page: "instance", instance: it.from }}>${it.from}<//>${it.by !== null && html` <span class="quiet">by ${it.by}</span>`}</td>
              <td class="fixed">${span(it.window_seconds)}${it.every_seconds !== it.window_seconds && html` <span class="quiet">every ${span(it.every_seconds)}</span>`}</td>
              <td class="mono">${order(Object.keys(it.values)).map((name) => `${name} = ${it.values[name]}`).join(", ")}</td>
              <td class=${`fixed ${it.behind_seconds > LATE ? "warn" : ""}`}>${it.behind_seconds < 1 ? html`<span class="good">up to date</span>` : span(it.behind_seconds)}</td>
              <td class="fixed">${it.last_window === null ? html`<span class="quiet">none yet</span>` : html`<${Moment} at=${it.last_window} />`}</td>
              <td class="number">${count(it.rows)}</td>
            </tr>
          `)}
        </tbody>
      </table>
    <//>
  `;
}

/** The keys that had a window lately: `{keys: [{value, label}], latest}`, in order, and the value of the very last. */
async function loadKeys(name, signal) {
  const { entries } = await get(`instances/${encodeURIComponent(name)}/entries`, { order: "desc", limit: KEY_ROWS, match: KEYS }, { signal });
  const found = new Map();
  for (const { event } of entries) {
    const value = constant(event);
    if (value !== null && !found.has(value)) found.set(value, brief(plain(event), 100));
  }
  const keys = [...found].map(([value, label]) => ({ value, label }));
  const latest = keys[0]?.value ?? null;
  return { keys: keys.sort((a, b) => a.label.localeCompare(b.label, "en", { numeric: true })), latest };
}

function Chosen({ analysis }) {
  const here = useHere();
  const { name, by } = analysis;
  const { data: known, error } = usePolled((signal) => (by === null ? Promise.resolve(NO_KEYS) : loadKeys(name, signal)), name, KEYS_MILLIS);
  const latest = useRef(null);
  latest.current ??= known?.latest ?? null;
  const key = by === null ? null : here.key ?? latest.current;
  const most = LENGTHS.includes(Number(here.last)) ? Number(here.last) : USUAL;
  const isKnown = by === null || key !== null;
  return html`
    <section class="card" aria-labelledby="chart">
      <div class="bar">
        <h2 id="chart">${name}</h2>
        ${by !== null && known !== null && html`<${KeyChoice} keys=${known.keys} chosen=${key} />`}
        <select aria-label="How many windows" value=${String(most)} onChange=${(event) => change({ last: event.target.value === String(USUAL) ? undefined : event.target.value })}>
          ${LENGTHS.map((length) => html`<option key=${length} value=${String(length)}>last ${count(length)} windows</option>`)}
        </select>
        <span class="grow"></span>
        <${Link} class="button" to=${{ page: "live", instance: name }}>All rows<//>
      </div>
      <${Problem} error=${error} />
      ${isKnown ? html`<${Windows} analysis=${analysis} chosen=${key} most=${most} />` : known !== null && html`<p class="empty">No window is over yet.</p>`}
    </section>
  `;
}

/** `chosen` is offered also if it had no window lately. */
function KeyChoice({ keys, chosen }) {
  const all = chosen === null || keys.some(({ value }) => value === chosen) ? keys : [{ value: chosen, label: chosen }, ...keys];
  return html`
    <select data-search aria-label="Key" value=${chosen} onChange=${(event) => change({ key: event.target.value })}>
      ${all.map(({ value, label }) => html`<option key=${value} value=${value}>${label}</option>`)}
    </select>
  `;
}

function Windows({ analysis, chosen, most }) {
  const { windows, error } = useWindows(analysis.name, chosen, most);
  const names = useMemo(() => order(Object.keys(analysis.values)), [Object.keys(analysis.values).join()]);
  if (windows === null) return html`<${Problem} error=${error} />${error === null && html`<p class="quiet">Reading…</p>`}`;
  if (windows.length === 0) return html`<${Problem} error=${error} /><p class="empty">No window is over yet.</p>`;
  return html`
    <${Problem} error=${error} />
    <${Plots} windows=${windows} names=${names} every=${analysis.every_seconds} />
    <h3>Last windows</h3>
    <${Table} analysis=${analysis} windows=${windows.slice(-LISTED).reverse()} names=${names} />
  `;
}

/** Names of values in the order in which people expect them. */
const order = (names) => [...CANDLE.filter((name) => names.includes(name)), ...names.filter((name) => !CANDLE.includes(name))];

function Table({ analysis, windows, names }) {
  return html`
    <${Scroll} label="Last windows">
      <table class="many">
        <thead><tr><th scope="col">From</th>${names.map((name) => html`<th key=${name} scope="col" class="number">${name}</th>`)}</tr></thead>
        <tbody>
          ${windows.map(({ from, to, values }) => html`
            <tr key=${from}>
              <th scope="row"><${Link} to=${{ page: "live", instance: analysis.from, from, to: to - 1 }} title="The entries of this window"><${Moment} at=${from} /><//></th>
              ${names.map((name) => html`<td key=${name} class="number">${brief(figure(values[name]), 60)}</td>`)}
            </tr>
          `)}
        </tbody>
      </table>
    <//>
  `;
}
