// One instance: what comes, what is kept for how long, its segments, who reads it and how far they are, whom it captures from.

import { get, usePolled } from "../api.js";
import { html, useEffect, useState } from "../html.js";
import { bytes, count, micros, span } from "../format.js";
import { Link, useHere } from "../location.js";
import { Facts } from "../parts/facts.js";
import { Handlers } from "../parts/handlers.js";
import { useItems } from "../parts/items.js";
import { Moment } from "../parts/moment.js";
import { Problem } from "../parts/problem.js";
import { Recording, RecordingTrouble } from "../parts/recording.js";
import { record } from "../rates.js";
import { Pace } from "./instance/pace.js";
import { Cursors, Sessions } from "./instance/readers.js";
import { Retention } from "./instance/retention.js";
import { Damage, SegmentList, Timeline } from "./instance/segments.js";

/** Rates are worth looking at more often than lists. */
const RATE_MILLIS = 2000;

const pathOf = (name, list = "") => `instances/${encodeURIComponent(name)}${list}`;

async function load(name, signal) {
  const instance = await get(pathOf(name), {}, { signal });
  const at = Date.now();
  return { instance, at, samples: record(`instance ${name}`, at, instance) };
}

async function loadLists(name, signal) {
  const list = (what, parameters = {}) => get(pathOf(name, `/${what}`), parameters, { signal });
  const [segments, damaged, cursors] = await Promise.all([list("segments"), list("segments", { damaged: true, limit: 100 }), list("cursors", { limit: 1000 })]);
  return { segments, damaged, cursors };
}

export function Instance() {
  const { instance: name = "error_logger" } = useHere();
  const [isNone, setNone] = useState(false);
  const { data, error, again } = usePolled((signal) => load(name, signal), name, isNone ? null : RATE_MILLIS);
  const isThere = data !== null;
  const lists = usePolled((signal) => (isThere ? loadLists(name, signal) : null), `${name} ${isThere}`);
  // What is not there by its name will not be there the next moment.
  useEffect(() => setNone(error?.status === 404), [error]);
  useItems();
  return html`
    <main class="page" id="content">
      <div class="bar instance-title">
        <h1>${name}</h1>
        ${data !== null && html`<${Recording} recording=${data.instance.recording} />`}
        <span class="grow"></span>
        <${Link} class="button" to=${{ page: "live", instance: name }}>Live<//>
        <${Link} class="button" to=${{ page: "explain", instance: name }}>Explain<//>
        <${Link} class="button" to=${{ page: "instances" }}>All instances<//>
      </div>
      <${Problem} error=${error ?? lists.error} again=${error === null ? lists.again : again} />
      ${data !== null && html`<${About} ...${data} name=${name} lists=${lists.data} />`}
    </main>
  `;
}

function About({ name, instance, samples, at, lists }) {
  const segments = lists?.segments;
  return html`
    <${RecordingTrouble} recording=${instance.recording} />
    <div class="halves">
      <section class="card" aria-labelledby="pace">
        <h2 id="pace">What comes</h2>
        <${Pace} samples=${samples} at=${at} />
      </section>
      <section class="card" aria-labelledby="numbers">
        <h2 id="numbers">What is there</h2>
        <${Numbers} instance=${instance} />
      </section>
    </div>
    ${lists !== null && lists.damaged.segments.length > 0 && html`<${Found} damaged=${lists.damaged} />`}
    <section class="card" aria-labelledby="retention">
      <h2 id="retention">Limits</h2>
      <${Retention} instance=${instance} segments=${segments} />
    </section>
    <section class="card" aria-labelledby="segments">
      <h2 id="segments">Segments <span class="quiet">${count(instance.segments + instance.archives)}</span></h2>
      ${segments !== undefined && html`
        <${Timeline} instance=${name} segments=${segments.segments} />
        <${SegmentList} instance=${name} segments=${segments.segments} hasMore=${segments.next !== null} />
      `}
    </section>
    <section class="card" aria-labelledby="sessions">
      <h2 id="sessions">Sessions <span class="quiet">${count(instance.sessions.length)}</span></h2>
      <${Sessions} sessions=${instance.sessions} />
    </section>
    <section class="card" aria-labelledby="cursors">
      <h2 id="cursors">Durable cursors ${lists !== null && html`<span class="quiet">${count(lists.cursors.cursors.length)}</span>`}</h2>
      ${lists !== null && html`
        <${Cursors} instance=${name} cursors=${lists.cursors.cursors} hasMore=${lists.cursors.next !== null} sessions=${instance.sessions} exactFrom=${instance.cache_interval === null ? 0 : micros(instance.cache_interval.first)} />
      `}
    </section>
    <section class="card" aria-labelledby="handlers">
      <h2 id="handlers">Handlers <span class="quiet">${count(instance.handlers.length)}</span></h2>
      ${instance.handlers.length === 0
        ? html`<p class="empty">It captures from no node; events are cast or appended to it.</p>`
        : html`<${Handlers} handlers=${instance.handlers} label=${({ node, place }) => `${node}: ${place}`} />`}
    </section>
  `;
}

const STARTED = {
  new: "with a new log",
  clean: "where it had been stopped in order",
  kill: "where a process had been killed",
  power_loss: "after a loss of power, or nobody can tell",
};

/** How long something took: half of the times, and all but one in a hundred. */
function took({ count: times, median_micros: median, p99_micros: p99 }) {
  const short = (micros) => (micros < 1000 ? `${micros} µs` : span(micros / 1e6));
  return times > 0 && median !== null && p99 !== null ? `${short(median)}, all but 1 % within ${short(p99)}` : null;
}

function Numbers({ instance }) {
  const { interval, cache_interval: cached, global_alias: alias } = instance;
  const bad = [["dropped", "dropped"], ["refused", "refused"], ["unknown", "not understood"]].filter(([name]) => instance[name] > 0);
  return html`
    <${Facts} facts=${[
      ["Entries", `${count(instance.events)}, ${bytes(instance.bytes)}`],
      ["From", interval !== null && html`<${Moment} at=${interval.first} />`],
      ["To", interval !== null && html`<${Moment} at=${interval.last} />`],
      ["In RAM", cached === null ? "nothing" : html`${count(instance.cache_events)}, from <${Moment} at=${cached.first} />`],
      ["Pending", instance.pending_bytes > 0 && bytes(instance.pending_bytes)],
      ["Appended in", took(instance.append)],
      ["Synced in", took(instance.sync)],
      ["Delivered in", took(instance.delivery)],
      ["Lost", bad.length > 0 && html`<span class="bad">${bad.map(([name, words]) => `${count(instance[name])} ${words}`).join(", ")}</span>`],
      ["Peers paused", instance.blocked > 0 && html`<span class="warn">${count(instance.blocked)} times, as the recorder was behind</span>`],
      ["Known as", alias === null
        ? html`<span class=${instance.global_aliases_exhausted ? "bad" : "quiet"}>${instance.global_aliases_exhausted ? "nothing: all ten global names belong to others" : "nothing yet"}</span>`
        : html`<code>{${alias.instance},${alias.number}}</code>`],
      ["Began", STARTED[instance.started]],
      ["In", html`<span class="mono">${instance.data_dir}</span>`],
    ]} />
  `;
}

function Found({ damaged }) {
  return html`
    <section class="card trouble" aria-labelledby="damage">
      <h2 id="damage">Damage</h2>
      <p>Readers step over it. Look for these files in a backup; <code>logmachine verify --accept</code> says that there is none, and it is not told any more.</p>
      <ul class="handlers">
        ${damaged.segments.map((segment) => html`
          <li key=${segment.name}><code>${segment.name}</code> <span class="quiet">${segment.state}, ${count(segment.events)} entries</span><${Damage} segment=${segment} /></li>
        `)}
      </ul>
      ${damaged.next !== null && html`<p class="quiet">and more</p>`}
    </section>
  `;
}
