// Something that is different about a stretch of time, as a card.

import { count, micros, rate } from "../../format.js";
import { html } from "../../html.js";
import { Link } from "../../location.js";
import { Level } from "../../parts/level.js";
import { Moment } from "../../parts/moment.js";
import { certainty, odds } from "./stretch.js";
import { brief } from "../../parts/text.js";

/** `finding`: as the API tells it; `explanation`: of which it is; `rank`: from 1. */
export function Finding({ finding, explanation, rank }) {
  const { fault, deployed, direction, node } = finding;
  return html`
    <li class=${`card finding ${direction}`} id=${`finding-${rank}`}>
      <header>
        <span class="rank" aria-hidden="true">${rank}</span>
        <h3><${What} finding=${finding} explanation=${explanation} /></h3>
        <${Change} finding=${finding} />
      </header>
      ${deployed !== null && html`
        <p class="deployed">
          <strong>${brief(`${deployed.application} ${deployed.version}`, 100)}</strong> runs ${node !== null && html`on ${brief(node, 100)} `}since${" "}
          <${Moment} at=${deployed.since} />; ${brief(deployed.before, 60)} before.
        </p>
      `}
      <dl class="measures">
        <div><dt>now</dt><dd>${count(finding.count)} <span class="quiet">${rate(finding.per_minute)} a minute</span></dd></div>
        <div><dt>before</dt><dd>${count(finding.baseline_count)} <span class="quiet">${rate(finding.baseline_per_minute)} a minute</span></dd></div>
        <div><dt>since</dt><dd><${Moment} at=${finding.since} as="time" /></dd></div>
        <div><dt>this change is</dt><dd title="A bound on the probability that chance changed anything as much">${certainty(finding.significance)} <span class="quiet">${odds(finding.significance)}</span></dd></div>
        <div><dt>of all that changed</dt><dd><${Share} share=${finding.share} /></dd></div>
      </dl>
      ${fault !== null && html`
        <p class="small">${finding.is_new ? html`<span class="badge new">new</span> ` : ""}<${Link} to=${{ page: "fault", id: fault.id }}>Fault ${fault.id}<//>, first seen <${Moment} at=${fault.first_seen} />${fault.first_version !== null && ` in version ${brief(fault.first_version, 60)}`}</p>
      `}
      <${Samples} finding=${finding} instance=${explanation.instance} />
      <p class="small"><${Link} class="see" to=${inTheLog(finding, explanation)}>See all of them in the log<//></p>
    </li>
  `;
}

/** What the occurrences have in common. */
function What({ finding, explanation }) {
  const { conditions, fault } = finding;
  if (conditions.length === 0) return "Events of all sorts";
  const from = micros(explanation.from);
  const to = micros(explanation.to);
  return conditions.map(({ dimension, value }) => {
    const isFault = dimension === "fault";
    const target = isFault ? { page: "fault", id: value } : { page: "live", instance: explanation.instance, from, to, [dimension]: value };
    return html`<${Link} key=${dimension} class="condition" to=${target}><span class="dimension">${dimension}</span> ${brief(isFault ? fault?.title ?? value : value, 200)}<//>`;
  });
}

/** By how much, with an arrow. */
function Change({ finding }) {
  const { direction, ratio, count: now, is_new: isNew } = finding;
  const arrow = direction === "up" ? "▲" : "▼";
  let words;
  if (direction === "up" && ratio === null) words = isNew ? "never before" : "none before";
  else if (direction === "down" && now === 0) words = "stopped";
  else words = `${ratio >= 9.95 ? count(ratio) : ratio.toFixed(ratio < 0.095 ? 2 : 1)} times`;
  return html`<span class=${`turn ${direction}`}><span aria-hidden="true">${arrow}</span><span class="unseen">${direction === "up" ? "more" : "less"}: </span> ${words}</span>`;
}

function Share({ share }) {
  const percent = Math.round(100 * Math.min(1, Math.max(0, share)));
  return html`<span class="share"><span class="whole" aria-hidden="true"><span class="part" style=${{ width: `${percent}%` }}></span></span>${percent} %</span>`;
}

function Samples({ finding, instance }) {
  if (finding.samples.length === 0) return null;
  return html`
    <ul class="samples" aria-label="Samples">
      ${finding.samples.map((sample) => html`
        <li key=${sample.micros}>
          <${Link} to=${{ page: "live", instance, at: sample.micros }}><${Moment} at=${sample.micros} as="time" /><//>
          <span><${Level} level=${sample.level} /></span>
          <span class="line">${brief(sample.message, 300)}</span>
        </li>
      `)}
    </ul>
  `;
}

/** The live page with what it is about; where there is less of something, that which was before. */
function inTheLog({ conditions, direction, count: now }, { instance, from, to, baseline }) {
  const filters = Object.fromEntries(conditions.map(({ dimension, value }) => [dimension, value]));
  const isGone = direction === "down" && now === 0;
  return { page: "live", instance, from: micros(isGone ? baseline : from), to: micros(to), ...filters };
}
