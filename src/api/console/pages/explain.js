// What is different about a stretch of time.

import { get, usePolled } from "../api.js";
import { count, micros, span } from "../format.js";
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { Link, change, useHere } from "../location.js";
import { Chart, colour } from "../parts/chart.js";
import { Copy } from "../parts/copy.js";
import { Finding } from "./explain/finding.js";
import { Moment } from "../parts/moment.js";
import { useMoves } from "../parts/moves.js";
import { Problem } from "../parts/problem.js";
import { BASELINES, PRESETS, baselineOf, momentOf, stepOf, written } from "./explain/stretch.js";
import { visible } from "../parts/text.js";
import uPlot from "../vendor/uplot.js";

export function Explain() {
  const { instance = "error_logger", from = "1h", to = "", baseline = "" } = useHere();
  const [round, setRound] = useState(0);
  const again = () => setRound(round + 1);
  const question = { instance, from, to, baseline };
  useMoves(".finding .see");
  return html`
    <main class="page" id="content">
      <h1>Explain</h1>
      <p class="quiet">What is different about a stretch of time from the one before it.</p>
      <${Choice} key=${`${from} ${to}`} ...${question} again=${again} />
      <${Explained} key=${JSON.stringify([question, round])} question=${question} again=${again} />
    </main>
  `;
}

/** The answer to one question, asked once. */
function Explained({ question, again }) {
  const { instance, from, to, baseline } = question;
  const [state, setState] = useState({ phase: "asking" });
  const asked = useRef(null);
  useEffect(() => {
    const { signal } = (asked.current = new AbortController());
    get("explain", { instance, from, to, baseline: baselineOf(from, baseline) }, { signal }).then(
      (answer) => setState({ phase: "told", answer }),
      (error) => setState(signal.aborted ? { phase: "cancelled" } : { phase: "failed", error }),
    );
    return () => asked.current.abort();
  }, []);
  return html`
    <${Stretches} ...${question} answer=${state.answer} />
    <div aria-live="polite">
      <${Answer} state=${state} cancel=${() => asked.current.abort()} again=${again} />
    </div>
  `;
}

function Choice({ instance, from, to, baseline, again }) {
  const { data } = usePolled((signal) => get("instances", {}, { signal }), "instances", null);
  const [begin, setBegin] = useState(written(from));
  const [end, setEnd] = useState(written(to));
  const names = [...new Set([...(data?.instances ?? []).map(({ name }) => name), instance])].sort();
  const submit = (event) => {
    event.preventDefault();
    const next = { from: moment(begin, from), to: moment(end, to) };
    // The same question again is meant as one: time has passed.
    if (next.from === from && (next.to ?? "") === to) again();
    else change(next);
  };
  const others = BASELINES.some(([name]) => name === baseline) ? [] : [[baseline, `from ${written(baseline)}`]];
  return html`
    <form class="bar" onSubmit=${submit}>
      <label class="field">of <select value=${instance} onChange=${(event) => change({ instance: event.target.value })}>
        ${names.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
      </select></label>
      <span class="choices" role="group" aria-label="The last">
        <span class="quiet">the last</span>
        ${PRESETS.map(([value, label]) => html`<button type="button" key=${value} aria-pressed=${from === value && to === ""} onClick=${() => change({ from: value, to: undefined })}>${label}</button>`)}
      </span>
      <label class="field">or from <input data-search class="stretch-moment" value=${begin} onInput=${(event) => setBegin(event.target.value)} placeholder="15m" title="15m, 2h (ago), 2026-11-29 14:02:11 (UTC), RFC 3339, microseconds since 1970" /></label>
      <label class="field">to <input class="stretch-moment" value=${end} onInput=${(event) => setEnd(event.target.value)} placeholder="now" title="As from; now, if it is empty" /></label>
      <label class="field">compared with <select value=${baseline} onChange=${(event) => change({ baseline: event.target.value || undefined })}>
        ${[...BASELINES, ...others].map(([value, label]) => html`<option key=${value} value=${value}>${label}</option>`)}
      </select></label>
      <button class="primary">Explain</button>
    </form>
  `;
}

/** What a field says, for the address; what was not changed stays as exact as it was. */
function moment(field, before) {
  if (field === written(before)) return before || undefined;
  return field.trim() || undefined;
}

/** Both stretches, beside each other; a part of them can be drawn over, to be explained instead. */
function Stretches({ instance, from, to, baseline, answer }) {
  // The counts are there before the explanation is, if we can tell what is asked for.
  const guess = useMemo(() => guessed(from, to, baseline), []);
  const exact = useMemo(() => known(answer), [answer]);
  const ends = exact ?? guess;
  const { step, asked } = stepOf(ends === null ? 1e6 : ends.to - ends.baseline);
  const { data, error } = usePolled(async (signal) => {
    if (ends === null) return null;
    const parameters = { from: Math.floor(ends.baseline / step) * step, to: Math.floor(ends.to), step: asked };
    const { histogram } = await get(`instances/${encodeURIComponent(instance)}/histogram`, parameters, { signal });
    return histogram;
  }, ends === null ? "unknown" : "known", null);
  const bars = useMemo(() => (data === null || ends === null ? null : divided(data, ends, step)), [data, ends]);
  if (error !== null) return html`<p class="quiet">Counts: ${error.message}</p>`;
  if (ends === null) return null;
  const since = (answer?.findings ?? []).map((finding) => micros(finding.since) / 1e6);
  return html`
    <section class="card" aria-label="Counts">
      <div class="bar small">
        <span><span class="swatch before" aria-hidden="true"></span> compared with: <${Moment} at=${ends.baseline} />, ${span((ends.from - ends.baseline) / 1e6)}</span>
        <span><span class="swatch now" aria-hidden="true"></span> explained: <${Moment} at=${ends.from} /> to <${Moment} at=${ends.to} />, ${span((ends.to - ends.from) / 1e6)}</span>
        <span class="grow"></span>
        <${Link} to=${{ page: "live", instance, from: Math.floor(ends.from), to: Math.floor(ends.to) }}>See it in the log<//>
      </div>
      ${bars === null
        ? html`<div class="chart-place"><p class="quiet">Counting…</p></div>`
        : html`<${Chart} data=${bars} height=${140} shape=${`${step} ${since.join(" ")}`} options=${() => drawn(step / 1e6, since)} label=${spoken(bars)} />`}
      <p class="quiet small">Draw over a part of it to explain that.</p>
    </section>
  `;
}

/** Where both stretches begin and end, as the node said. */
function known(answer) {
  if (answer === undefined) return null;
  return { baseline: micros(answer.baseline), from: micros(answer.from), to: micros(answer.to) };
}

/** The same before it did; null if only the node can tell. */
function guessed(from, to, baseline) {
  const now = Date.now() * 1000;
  const begin = momentOf(from, now);
  const end = to === "" ? now : momentOf(to, now);
  if (begin === null || end === null || begin >= end) return null;
  const asked = baselineOf(from, baseline, now);
  const before = asked === undefined ? begin - (end - begin) : momentOf(String(asked), now);
  return before === null || before >= begin ? null : { baseline: before, from: begin, to: end };
}

/** Counts of the baseline and of the stretch, one column each. */
function divided(histogram, { baseline, from, to }, step) {
  const counts = new Map(histogram.map(({ micros, count }) => [micros, count]));
  const times = [];
  // The log may begin later than the baseline.
  for (let at = Math.floor(baseline / step) * step; at <= to; at += step) times.push(at);
  const isBefore = (at) => at + step / 2 < from;
  return [
    times.map((at) => at / 1e6),
    times.map((at) => (isBefore(at) ? counts.get(at) ?? 0 : null)),
    times.map((at) => (isBefore(at) ? null : counts.get(at) ?? 0)),
  ];
}

function spoken([, before, now]) {
  const sum = (counts) => count(counts.reduce((sum, one) => sum + (one ?? 0), 0));
  return `${sum(now)} entries in the stretch, ${sum(before)} before`;
}

/** How the columns are drawn. `since`: seconds at which findings begin, the first one first. */
function drawn(seconds, since) {
  const column = (name) => ({ fill: colour(name), stroke: colour(name), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.85, 40], align: 1 }) });
  const chosen = (chart) => {
    const { left, width } = chart.select;
    if (width < 4) return;
    const at = (position) => Math.round(chart.posToVal(position, "x") * 1e6);
    change({ from: at(left), to: at(left + width) });
  };
  return {
    cursor: { drag: { x: true, y: false, setScale: false }, points: { show: false }, y: false },
    scales: { x: { time: true, range: (chart, min, max) => [min, max + seconds] }, y: { range: (chart, min, max) => [0, Math.max(4, max * 1.1)] } },
    series: [{}, column("--quiet"), column("--accent")],
    axes: [{ size: 28 }, { size: 48, values: (chart, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? count(tick) : "")) }],
    hooks: { setSelect: [chosen], draw: [(chart) => marked(chart, since)] },
  };
}

/** A line where each of the first findings begins, with its rank. */
function marked(chart, since) {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.strokeStyle = colour("--warning");
  ctx.fillStyle = colour("--warning");
  ctx.font = `${11 * devicePixelRatio}px system-ui`;
  ctx.textAlign = "center";
  const labelled = [];
  for (const [at, seconds] of since.slice(0, 5).entries()) {
    const x = Math.round(chart.valToPos(seconds, "x", true));
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    // The rank of the more striking one stays where two begin together.
    if (labelled.some((other) => Math.abs(other - x) < 10 * devicePixelRatio)) continue;
    labelled.push(x);
    ctx.fillText(String(at + 1), x, bbox.top - 4 * devicePixelRatio);
  }
  ctx.restore();
}

function Answer({ state, cancel, again }) {
  const { phase, answer, error } = state;
  if (phase === "asking") return html`<${Asking} cancel=${cancel} />`;
  if (phase === "cancelled") return html`<p class="empty">Cancelled. <button onClick=${again}>Explain it after all</button></p>`;
  if (phase === "failed") return html`<${Problem} error=${error} again=${again} />`;
  const { findings, text, count: now, baseline_count: before } = answer;
  const isQuiet = findings.length === 0;
  return html`
    <section class=${`card said ${isQuiet ? "calm" : ""}`} aria-label="Explanation">
      <blockquote>${isQuiet && now > 0 && before > 0 && html`<span class="mark-good" aria-hidden="true">✓ </span>`}${quoted(text)}</blockquote>
      <div class="bar">
        <${Copy} text=${text} label="Copy the text" />
        <${Copy} text=${() => location.href} label="Copy a link" />
        <span class="quiet small">Times in the text are UTC.</span>
      </div>
    </section>
    ${isQuiet && html`<p class="quiet">${advice(answer)}</p>`}
    ${!isQuiet && html`
      <h2>${findings.length === 1 ? "One finding" : `${findings.length} findings, the most striking first`}</h2>
      <ol class="findings">
        ${findings.map((finding, at) => html`<${Finding} key=${at} finding=${finding} explanation=${answer} rank=${at + 1} />`)}
      </ol>
    `}
  `;
}

/** It may take seconds. */
function Asking({ cancel }) {
  const [quarters, setQuarters] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setQuarters((quarters) => quarters + 1), 250);
    return () => clearInterval(timer);
  }, []);
  // Most answers are there before anybody has read this.
  if (quarters === 0) return null;
  const seconds = Math.floor(quarters / 4);
  return html`
    <div class="card asking">
      <p>Every entry of both stretches is read and compared. ${seconds > 1 && html`<span class="quiet" aria-hidden="true">${seconds} s</span>`}</p>
      <button onClick=${cancel}>Cancel</button>
    </div>
  `;
}

/** What is between backticks is of the log. */
function quoted(text) {
  return visible(text).split("`").map((part, at) => (at % 2 === 1 ? html`<code key=${at}>${part}</code>` : part));
}

function advice({ count: now, baseline_count: before }) {
  if (now === 0 && before === 0) return "There are no entries in either stretch. Choose a longer one, or another instance.";
  if (now + before < 50) return "There is little to compare. A longer stretch may tell more.";
  return "What differs is within what chance does. Something rare shows in a longer stretch, something short in a shorter one.";
}
