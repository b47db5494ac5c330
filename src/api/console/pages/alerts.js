// What somebody has to be told of: alerts that fire, those that did, and the rules that say so.

import { get, may, usePolled } from "../api.js";
import { count, micros, span } from "../format.js";
import { html, useState } from "../html.js";
import { Link, change, useHere } from "../location.js";
import { alertsOf, paired } from "./alerts/history.js";
import { Level } from "../parts/level.js";
import { Moment } from "../parts/moment.js";
import { useMoves } from "../parts/moves.js";
import { Problem } from "../parts/problem.js";
import { SilenceDialog, Silences } from "./alerts/silences.js";
import { plain } from "../parts/term.js";
import { brief, visible } from "../parts/text.js";

/** Entries of the history at once; most alerts have two. */
const LIMIT = 100;

/** What is shown of a stretch before an alert, and behind it. */
const BEFORE = 60e6;
const AFTER = 5e6;

export function Alerts() {
  const { rule, cursor, alert: open } = useHere();
  const load = async (signal) => {
    const all = ["alerts", "rules", "silences"].map((path) => get(path, path === "alerts" ? { limit: 500 } : {}, { signal }));
    const [alerts, rules, silences] = await Promise.all(all);
    return { alerts: alerts.alerts, isMore: alerts.next !== null, rules: rules.rules, silences: silences.silences };
  };
  const { data, error, again } = usePolled(load, "alerts", 5000);
  const [silencing, setSilencing] = useState(null);
  useMoves("summary");
  if (data === null) {
    return html`
      <main class="page" id="content">
        <h1>Alerts</h1>
        ${error?.status === 404 ? html`<p class="empty">This node keeps no alerts.</p>` : html`<${Problem} error=${error} again=${again} />`}
        ${error === null && html`<p class="quiet">Loading…</p>`}
      </main>
    `;
  }
  const rules = new Map(data.rules.map((one) => [one.name, one]));
  const done = (isSet) => {
    setSilencing(null);
    if (isSet) again();
  };
  return html`
    <main class="page" id="content">
      <h1>Alerts</h1>
      <${Problem} error=${error} again=${again} />
      <div class="split alerts">
        <div>
          <${Firing} alerts=${data.alerts} isMore=${data.isMore} rules=${rules} open=${open} silence=${setSilencing} />
          <${History} rule=${rule} cursor=${cursor} rules=${rules} open=${data.alerts.some(({ id }) => id === open) ? undefined : open} />
        </div>
        <div>
          <${Rules} rules=${data.rules} shown=${rule} />
          <${Silences} silences=${data.silences} changed=${again} begin=${setSilencing} />
        </div>
      </div>
      ${silencing !== null && html`<${SilenceDialog} ...${silencing} rules=${[...rules.keys()]} done=${done} />`}
    </main>
  `;
}

function Firing({ alerts, isMore, rules, open, silence }) {
  return html`
    <section class="card" aria-labelledby="firing">
      <h2 id="firing">${alerts.length === 0 ? "Nothing fires" : `${count(alerts.length)}${isMore ? " and more" : ""} firing`}</h2>
      ${alerts.length === 0 && html`<p class="quiet">${rules.size === 0 ? html`There is no rule. <code>[[rule]]</code> in the configuration says what somebody is to be told of.` : "All rules are quiet."}</p>`}
      ${alerts.map((alert) => {
        const by = alert.by === null ? null : plain(alert.by);
        const about = { ...alert, by, from: alert.micros, to: null, entry: alert.entry === null ? null : micros(alert.entry) };
        return html`
          <${Alert} key=${alert.id} alert=${about} rule=${rules.get(alert.rule)} isOpen=${alert.id === open} isSilenced=${alert.silenced}>
            ${may("admin") && html`<button onClick=${() => silence({ rule: alert.rule, by: by ?? "" })}>Silence…</button>`}
          <//>
        `;
      })}
    </section>
  `;
}

/** One alert, on a line that opens to why it fired; which one is open, the address knows. `children`: what else can be done. */
function Alert({ alert, rule, isOpen, isSilenced = false, children }) {
  const { id, severity, text, by, from, to } = alert;
  const toggle = (event) => {
    event.preventDefault();
    change({ alert: isOpen ? undefined : id }, { replace: true });
  };
  return html`
    <details class="alert-line" open=${isOpen}>
      <summary onClick=${toggle}>
        <span class="severity"><${Level} level=${severity} /></span>
        <span class="what">${brief(text, 400)} <span class="quiet small">${visible(alert.rule)}${by !== null && `, ${brief(by, 100)}`}</span></span>
        ${isSilenced && html`<span class="badge">silenced</span>`}
        <span class="when">
          <${Moment} at=${from} /> <span class="quiet lasted">${to === null ? html`<${Moment} at=${from} as="ago" />` : `for ${span((to - from) / 1e6)}`}</span>
        </span>
      </summary>
      <div class="cause">
        <h3>Why it fired</h3>
        <p>${alert.explanation === null ? html`<span class="quiet">The event that says so is further back in the history.</span>` : visible(alert.explanation)}</p>
        <p class="quiet small">
          ${rule !== undefined && `${rule.condition} of ${rule.instance}. `}${count(alert.count)} ${alert.count === 1 ? "event" : "events"}${to === null ? " so far" : ""}.
          Since <${Moment} at=${from} />${to !== null && html` until <${Moment} at=${to} />`}. Times in the text are UTC.
        </p>
        <div class="bar">
          <${Link} class="button" to=${inTheLog(alert)}>See it in the log<//>
          ${isOfFault(alert, rule) && html`<${Link} class="button" to=${{ page: "fault", id: by }}>The fault<//>`}
          ${children}
        </div>
      </div>
    </details>
  `;
}

/** Alerts about faults have one for each, by its id. */
function isOfFault({ by }, rule) {
  return by !== null && /^[0-9a-f]{16}$/.test(by) && rule !== undefined && /\b(new|regressed) faults\b/.test(rule.condition);
}

/** The live page with the time around an alert, on its node if it is of one. */
function inTheLog({ instance, by, from, to, entry }) {
  const begin = Math.min(from, entry ?? from) - BEFORE;
  const node = by !== null && /^[^@\s]+@[^@\s]+$/.test(by) ? by : undefined;
  return { page: "live", instance, from: begin, to: (to ?? from) + AFTER, node };
}

function Rules({ rules, shown }) {
  return html`
    <section class="card at-rules" aria-labelledby="rules">
      <h2 id="rules">Rules</h2>
      ${rules.length === 0 && html`<p class="quiet">None.</p>`}
      <ul class="plain-list">
        ${rules.map((rule) => html`
          <li key=${rule.name} class="rule">
            <div class="bar">
              <strong class="grow">${visible(rule.name)}</strong>
              <${Level} level=${rule.severity} />
              <span class=${`badge ${rule.firing > 0 ? "firing" : "resolved"}`}>${rule.firing > 0 ? `${count(rule.firing)} firing` : "quiet"}</span>
            </div>
            <div>${visible(rule.condition)} <span class="quiet">of</span> <${Link} to=${{ page: "live", instance: rule.instance }}>${rule.instance}<//></div>
            <div class="quiet small">
              fired ${count(rule.fired)} times for ${count(rule.events)} events; ${rule.behind_seconds < 2 ? "up to date" : html`<strong class="late">${span(rule.behind_seconds)} behind</strong>, at <${Moment} at=${rule.position} />`}
            </div>
            <div class="quiet small">${rule.notify.length === 0 ? "tells nobody" : `tells ${visible(rule.notify.join(", "))}`}</div>
            ${shown !== rule.name && html`<button class="ghost small" onClick=${() => change({ rule: rule.name, cursor: undefined })}>Its history</button>`}
          </li>
        `)}
      </ul>
    </section>
  `;
}

/** What was: events of the instance `alerts`, the latest first. */
function History({ rule, cursor, rules, open }) {
  const parameters = { match: alertsOf(rule), order: "desc", limit: LIMIT, cursor };
  const load = (signal) => get("instances/alerts/entries", parameters, { signal });
  const { data, error, again } = usePolled(load, `${rule} ${cursor}`, cursor === undefined ? 5000 : null);
  const names = [...new Set([...rules.keys(), ...(rule === undefined ? [] : [rule])])];
  const alerts = data === null ? [] : paired(data.entries);
  return html`
    <section class="card at-history" aria-labelledby="history">
      <div class="bar">
        <h2 id="history" class="grow">History</h2>
        <label class="field">of <select value=${rule ?? ""} onChange=${(event) => change({ rule: event.target.value || undefined, cursor: undefined })}>
          <option value="">all rules</option>
          ${names.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
        </select></label>
      </div>
      <${Problem} error=${error} again=${again} />
      ${data !== null && alerts.length === 0 && html`<p class="empty">${cursor === undefined ? "No alert has fired yet." : "There are no older alerts."}</p>`}
      ${alerts.map((alert) => html`<${Alert} key=${`${alert.id} ${alert.from}`} alert=${alert} rule=${rules.get(alert.rule)} isOpen=${alert.id === open} />`)}
      <div class="bar pages">
        ${cursor !== undefined && html`<button onClick=${() => change({ cursor: undefined })}>Newest</button>`}
        ${data !== null && data.next !== null && html`<button onClick=${() => change({ cursor: data.next })}>Older</button>`}
      </div>
    </section>
  `;
}
