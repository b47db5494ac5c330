// All instances: how much comes, how much is kept, and whether it is recorded.

import { get, usePolled } from "../api.js";
import { html } from "../html.js";
import { ago, bytes, count, micros, rate, span } from "../format.js";
import { Link, useHere, change } from "../location.js";
import { Facts } from "../parts/facts.js";
import { useItems } from "../parts/items.js";
import { Problem } from "../parts/problem.js";
import { Recording, RecordingTrouble } from "../parts/recording.js";
import { Sparkline } from "../parts/sparkline.js";
import { now, record, series } from "../rates.js";

/** Of so many polls the rate is shown. */
const BARS = 40;

async function load(signal) {
  const { instances } = await get("instances", {}, { signal });
  const at = Date.now();
  return instances.map((instance) => ({ ...instance, samples: record(`instance ${instance.name}`, at, instance) }));
}

/** What needs somebody first, then what has most to do. */
function compare(a, b) {
  const trouble = ({ recording }) => (recording.state === "running" ? 0 : 1);
  return trouble(b) - trouble(a) || a.name.localeCompare(b.name);
}

export function Instances() {
  const { data, error, again } = usePolled(load, "instances");
  const { find = "" } = useHere();
  useItems();
  const all = data ?? [];
  const shown = all.filter(({ name }) => name.toLowerCase().includes(find.toLowerCase())).sort(compare);
  return html`
    <main class="page" id="content">
      <div class="bar">
        <h1>Instances</h1>
        <span class="grow"></span>
        <input data-search type="search" aria-label="Find an instance" placeholder="Find an instance" value=${find} onInput=${(event) => change({ find: event.target.value }, { replace: true })} />
      </div>
      <${Problem} error=${error} again=${again} />
      ${all.map(({ name, recording }) => html`<${RecordingTrouble} key=${name} name=${name} recording=${recording} />`)}
      ${data !== null && shown.length === 0 && html`<p class="empty">No instance has a name with “${find}” in it.</p>`}
      <ul class="cards instances">
        ${shown.map((instance) => html`<${Card} key=${instance.name} instance=${instance} />`)}
      </ul>
    </main>
  `;
}

function Card({ instance }) {
  const { name, samples, handlers, sessions, interval } = instance;
  const events = now(samples, "received");
  const arriving = series(samples, "received").slice(-BARS);
  const size = now(samples, "received_bytes");
  const padded = [...Array(Math.max(0, BARS - arriving.length)).fill(0), ...arriving.map((number) => number ?? 0)];
  const installed = handlers.filter(({ state }) => state === "installed").length;
  return html`
    <li class="card">
      <header class="instance-head">
        <h2><${Link} data-item to=${{ page: "instance", instance: name }}>${name}<//></h2>
        <${Recording} recording=${instance.recording} />
        <span class="grow"></span>
        <${Link} class="button" to=${{ page: "live", instance: name }} aria-label=${`Live: ${name}`}>Live<//>
      </header>
      <div class="instance-rate">
        <${Sparkline} counts=${padded} width=${200} height=${36} label=${`Events a second over the last polls, at most ${rate(Math.max(0, ...padded))}`} />
        <div class="number">
          <strong>${events === null ? "…" : rate(events)}</strong> <span class="quiet">events/s</span><br />
          <span class="quiet">${size === null ? "" : `${bytes(Math.round(size))}/s`}</span>
        </div>
      </div>
      <${Facts} facts=${[
        ["Kept", interval === null
          ? "nothing yet"
          : html`${count(instance.events)} entries, ${bytes(instance.bytes)}, of ${span(Math.max(1, (micros(interval.last) - micros(interval.first)) / 1e6))}`],
        ["Newest", interval !== null && ago(micros(interval.last))],
        ["Segments", `${count(instance.segments)}${instance.archives > 0 ? ` and ${count(instance.archives)} archives` : ""}`],
        ["Cache", `${count(instance.cache_events)} entries, ${bytes(instance.cache_bytes)}`],
        ["Sessions", sessions.length > 0 && `${count(sessions.length)}, the slowest ${span(Math.max(...sessions.map(({ lag }) => lag)) / 1e6)} behind`],
        ["Handlers", handlers.length > 0 && html`<span class=${installed < handlers.length ? "warn" : ""}>${count(installed)} of ${count(handlers.length)} installed</span>`],
        ["Lost", counted(instance, [["dropped", "dropped"], ["refused", "refused"]])],
        ["Damage", counted(instance, [["damaged", "places"], ["missing", "segments missing"], ["unreadable", "segments unreadable"]])],
      ]} />
    </li>
  `;
}

/** What should not have happened, and how often: `names` are `[counter, words]`. Nothing if it has not. */
function counted(instance, names) {
  const found = names.filter(([name]) => instance[name] > 0);
  return found.length > 0 && html`<span class="bad">${found.map(([name, words]) => `${count(instance[name])} ${words}`).join(", ")}</span>`;
}
