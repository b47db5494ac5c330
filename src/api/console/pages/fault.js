// One fault: what it is, since when and where, what people decided, and the log around it.

import { get, may, usePolled } from "../api.js";
import { count, rate } from "../format.js";
import { html, useEffect, useState } from "../html.js";
import { Link, change, useHere } from "../location.js";
import { Copy } from "../parts/copy.js";
import { about, telling } from "./fault/decisions.js";
import { Decide, State, StateNote } from "./fault/state.js";
import { Times } from "./fault/times.js";
import { Level } from "../parts/level.js";
import { Moment } from "../parts/moment.js";
import { useMoves } from "../parts/moves.js";
import { ratePerMinute, rise } from "./fault/occurrences.js";
import { Problem } from "../parts/problem.js";
import { Report, Stack } from "../parts/report.js";
import { brief, headline, visible } from "../parts/text.js";

/** Entries shown before that of a fault. */
const AROUND = 10;

const MAX_NAMES = 12;

export function Fault() {
  const { id = "", range, sample } = useHere();
  const { data, error, again } = usePolled((signal) => get(`faults/${encodeURIComponent(id)}`, {}, { signal }), id, 10_000);
  const [decided, setDecided] = useState(null);
  // What a decision answers is newer than what was polled before it.
  useEffect(() => setDecided(null), [data]);
  const fault = decided ?? data;
  if (fault === null) {
    return html`
      <main class="page" id="content">
        <h1>Fault</h1>
        ${error?.status === 404 ? html`<p class="empty">There is no fault ${visible(id.slice(0, 40))}. It may have been forgotten for newer ones. <${Link} to=${{ page: "faults" }}>All faults<//></p>` : html`<${Problem} error=${error} again=${again} />`}
        ${error === null && html`<p class="quiet">Loading…</p>`}
      </main>
    `;
  }
  const entries = [...(fault.entries ?? data?.entries ?? [])].sort((a, b) => b.micros - a.micros);
  const latest = entries[0] ?? null;
  return html`
    <main class="page" id="content">
      <p class="small"><${Link} to=${{ page: "faults" }}>Faults<//></p>
      <h1>${visible(fault.title.slice(0, 2000))}</h1>
      <${About} fault=${fault} />
      <${Problem} error=${error} again=${again} />
      ${may("admin") && html`<div class="selection"><${Decide} faults=${[fault]} decided=${(answer) => setDecided({ ...fault, ...answer })} /></div>`}
      <div class="split">
        <div>
          <${Times} fault=${fault} range=${range} />
          <${LatestStack} fault=${fault} entry=${latest} />
          <${Samples} fault=${fault} entries=${entries} open=${sample} />
        </div>
        <div>
          <${Facts} fault=${fault} />
          <${History} fault=${fault} />
        </div>
      </div>
      <${Around} fault=${fault} entry=${latest} />
    </main>
  `;
}

function About({ fault }) {
  const rose = rise(fault);
  const { instance, id } = fault;
  return html`
    <div class="bar">
      <${State} state=${fault.state} />
      <span class="quiet">since <${Moment} at=${fault.state_since} /></span>
      <${StateNote} fault=${fault} />
      <${Level} level=${fault.level} />
      <span class="quiet">${fault.kind}</span>
      <code>${id}</code>
      <${Copy} text=${id} label="Copy id" class="ghost" />
      <span class="grow"></span>
      <${Link} class="button" to=${{ page: "live", instance, fault: id }}>Its entries, live<//>
      ${rose !== null && html`<${Link} class="button" to=${{ page: "explain", instance, ...rose }}>Explain its rise<//>`}
    </div>
  `;
}

function Facts({ fault }) {
  const nodes = Object.entries(fault.nodes).sort(([, a], [, b]) => b - a);
  const version = (it) => it !== null && html` <span class="quiet">in</span> ${visible(`${it.application} ${it.version}`)}`;
  return html`
    <section class="card" aria-labelledby="facts">
      <h2 id="facts">Facts</h2>
      <dl class="facts">
        <dt>count</dt><dd>${count(fault.count)}, <span class="quiet">now</span> ${rate(ratePerMinute(fault.last_hour))} <span class="quiet">a minute</span></dd>
        <dt>first seen</dt><dd><${Moment} at=${fault.first_seen_micros} /> <span class="quiet">(<${Moment} at=${fault.first_seen_micros} as="ago" />)</span>${version(fault.first_version)}</dd>
        <dt>last seen</dt><dd><${Moment} at=${fault.last_seen_micros} /> <span class="quiet">(<${Moment} at=${fault.last_seen_micros} as="ago" />)</span>${version(fault.last_version)}</dd>
        <dt>nodes</dt><dd><${Names} of=${nodes.map(([name, number]) => html`${visible(name)} <span class="quiet">${count(number)}</span>`)} /></dd>
        <dt>modules</dt><dd><${Names} of=${fault.modules.map((name) => html`<code>${visible(name)}</code>`)} otherwise="none that is known" /></dd>
        <dt>versions</dt><dd><${Names} of=${(fault.versions ?? []).map(({ application, version }) => visible(`${application} ${version}`))} otherwise="none that is known" /></dd>
        <dt>instance</dt><dd><${Link} to=${{ page: "live", instance: fault.instance }}>${fault.instance}<//></dd>
      </dl>
    </section>
  `;
}

/** One under the other; of many the first ones. */
function Names({ of, otherwise }) {
  const [all, setAll] = useState(false);
  if (of.length === 0) return html`<span class="quiet">${otherwise}</span>`;
  const shown = all ? of : of.slice(0, MAX_NAMES);
  return html`
    ${shown.map((one, at) => html`<div key=${at}>${one}</div>`)}
    ${shown.length < of.length && html`<button class="ghost" onClick=${() => setAll(true)}>and ${of.length - shown.length} more</button>`}
  `;
}

function LatestStack({ fault, entry }) {
  const view = entry?.view ?? null;
  if (view === null || view.stacktrace.length === 0) return null;
  return html`
    <section class="card" aria-label="Stack of the latest sample">
      ${view.reason !== null && html`<p><code class="reason">${brief(view.reason, 600)}</code></p>`}
      <${Stack} frames=${view.stacktrace} modules=${fault.modules} />
    </section>
  `;
}

/** Entries of it, the latest first; one of them is open. */
function Samples({ fault, entries, open }) {
  useMoves(".sample summary");
  const toggle = (entry) => (event) => {
    event.preventDefault();
    change({ sample: open === String(entry.micros) ? undefined : entry.micros }, { replace: true });
  };
  const missing = fault.samples.length - entries.length;
  return html`
    <section class="card" aria-labelledby="samples">
      <h2 id="samples">Samples</h2>
      ${entries.length === 0 && html`<p class="empty">None of its entries is in the log any more.</p>`}
      ${entries.map((entry) => html`
        <details key=${entry.micros} id=${`sample-${entry.micros}`} class="sample" open=${open === String(entry.micros)}>
          <summary onClick=${toggle(entry)}>
            <${Moment} at=${entry.micros} /> <span class="quiet">${visible(entry.view?.node ?? "")}</span> ${headline(entry, 200)}
          </summary>
          ${open === String(entry.micros) && html`<${Report} instance=${fault.instance} entry=${entry} />`}
          ${open === String(entry.micros) && html`<p><${Link} to=${{ page: "live", instance: fault.instance, at: entry.micros }}>See it in the log<//></p>`}
        </details>
      `)}
      ${entries.length > 0 && missing > 0 && html`<p class="quiet">${missing} more ${missing === 1 ? "is" : "are"} not in the log any more, or too large.</p>`}
    </section>
  `;
}

/** What was said and decided about it, the latest first. */
function History({ fault }) {
  const load = (signal) => get("instances/faults/entries", { match: about(fault.id), order: "desc", limit: 50 }, { signal });
  // A decision is there at once.
  const { data, error, again } = usePolled(load, `${fault.id} ${fault.state} ${fault.state_since}`, 30_000);
  const tellings = (data?.entries ?? []).map(telling).filter((one) => one !== null);
  return html`
    <section class="card" aria-labelledby="history">
      <h2 id="history">History</h2>
      <${Problem} error=${error} again=${again} />
      ${data !== null && tellings.length === 0 && html`<p class="quiet">Nothing is recorded about it any more.</p>`}
      <ol class="tellings">
        ${tellings.map((one) => html`
          <li key=${one.micros}>
            <${State} state=${visible(one.state.slice(0, 40))} /> <${Moment} at=${one.micros} />
            <div class="quiet small">${said(one)}</div>
          </li>
        `)}
      </ol>
    </section>
  `;
}

function said({ state, by, until, inNextVersion, version, node }) {
  const parts = [
    by !== null && `by ${brief(by, 80)}`,
    inNextVersion && "in the next version",
    state === "muted" && (until === null ? "until further notice" : html`until <${Moment} at=${until} />`),
    version !== null && `in version ${brief(version, 80)}`,
    node !== null && `on ${brief(node, 80)}`,
  ].filter(Boolean);
  return parts.map((part, at) => [at > 0 && ", ", part]);
}

/** What the node of the latest sample logged before it. */
function Around({ fault, entry }) {
  const { instance } = fault;
  const node = entry?.view?.node ?? null;
  const key = entry === null ? "none" : `${instance} ${entry.micros}`;
  const { data, error, again } = usePolled(async (signal) => {
    if (entry === null) return null;
    const parameters = { cursor: entry.micros, order: "desc", limit: AROUND, node: node ?? undefined, format: "brief" };
    const { entries } = await get(`instances/${encodeURIComponent(instance)}/entries`, parameters, { signal });
    return entries.reverse();
  }, key, null);
  if (entry === null) return null;
  const at = { page: "live", instance, at: entry.micros, node: node ?? undefined };
  return html`
    <section class="card" aria-labelledby="around">
      <div class="bar">
        <h2 id="around" class="grow">The log before the latest sample${node !== null && html` <span class="quiet">on ${visible(node)}</span>`}</h2>
        <${Link} class="button" to=${at}>See around it<//>
      </div>
      <${Problem} error=${error} again=${again} />
      ${data?.length === 0 && html`<p class="quiet">Nothing was logged before.</p>`}
      <div class="scroll">
        <table class="around">
          <caption class="unseen">Entries before the latest sample, and that one</caption>
          <thead class="unseen"><tr><th scope="col">Time</th><th scope="col">Level</th><th scope="col">What</th></tr></thead>
          <tbody>
            ${[...(data ?? []), entry].map((one) => html`
              <tr key=${one.micros} class=${one === entry ? "chosen" : ""}>
                <td><${Link} to=${{ page: "live", instance, at: one.micros }}><${Moment} at=${one.micros} as="time" /><//></td>
                <td><${Level} level=${one.view?.level} /></td>
                <td class="line">${headline(one, 300)}</td>
              </tr>
            `)}
          </tbody>
        </table>
      </div>
    </section>
  `;
}
