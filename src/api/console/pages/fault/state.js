// The state of a fault, and how people change it.

import { call } from "../../api.js";
import { html, useState } from "../../html.js";
import { Moment } from "../../parts/moment.js";
import { visible } from "../../parts/text.js";

export const STATES = ["new", "regressed", "ongoing", "resolved", "muted"];

/** Those that somebody should look at. */
export const OPEN_STATES = ["new", "regressed", "ongoing"];

/** The state, in its colour. */
export function State({ state }) {
  return html`<span class=${`badge ${STATES.includes(state) ? state : ""}`}>${state}</span>`;
}

/** What goes with the state, in words: until when, by whom. */
export function StateNote({ fault }) {
  const parts = [];
  if (fault.state === "muted") parts.push(fault.until === null ? "until further notice" : html`until <${Moment} at=${fault.until} />`);
  if (fault.state === "resolved" && fault.in_next_version) parts.push("in the next version");
  if (fault.by !== null) parts.push(`by ${visible(fault.by)}`);
  if (parts.length === 0) return null;
  return html`<span class="quiet">${parts.map((part, at) => [at > 0 && " ", part])}</span>`;
}

/** What can be decided: `[label, body]`, in the groups in which it is shown. */
const DECISIONS = [
  [null, [["Resolve", { state: "resolved" }], ["Resolve in next version", { state: "resolved", in_next_version: true }]]],
  ["Mute", [
    ["for 1 h", { state: "muted", for: "1h" }],
    ["1 d", { state: "muted", for: "1d" }],
    ["7 d", { state: "muted", for: "7d" }],
    ["until further notice", { state: "muted" }],
  ]],
  [null, [["Back to ongoing", { state: "ongoing" }]]],
];

/**
 * Buttons that decide about faults. `faults`: which; `decided(fault)` is told of each as it is afterwards.
 *
 * One after the other is decided, so that many of them take nobody else's turn; what failed is said for each.
 */
export function Decide({ faults, decided, disabled = false }) {
  const [progress, setProgress] = useState(null);
  const [failed, setFailed] = useState([]);
  const decide = async (body) => {
    const failures = [];
    setFailed([]);
    for (const [at, fault] of faults.entries()) {
      setProgress(`${at} of ${faults.length}`);
      try {
        decided(await decision(fault, body));
      } catch (error) {
        failures.push({ fault, error });
      }
    }
    setProgress(null);
    setFailed(failures);
  };
  const isOff = disabled || faults.length === 0 || progress !== null;
  return html`
    <div class="decide" role="group" aria-label="Decide">
      ${DECISIONS.map(([title, choices]) => html`
        <span class="choices" key=${choices[0][0]}>
          ${title && html`<span class="quiet">${title}</span>`}
          ${choices.map(([label, body]) => html`
            <button key=${label} disabled=${isOff} onClick=${() => decide(body)} aria-label=${title ? `${title} ${label}` : undefined}>${label}</button>
          `)}
        </span>
      `)}
      <span class="quiet" role="status">${progress !== null && faults.length > 1 && `deciding: ${progress}`}</span>
    </div>
    ${failed.length > 0 && html`
      <div class="problem" role="alert">
        ${failed.length === 1 ? "This was not decided:" : `${failed.length} were not decided:`}
        <ul>${failed.map(({ fault, error }) => html`<li key=${fault.id}>${visible(fault.title.slice(0, 200))}: ${error.message}</li>`)}</ul>
        <button onClick=${() => setFailed([])}>Close</button>
      </div>
    `}
  `;
}

/** Decides, and returns the fault as it is then. A node that has no time is asked once more. */
async function decision(fault, body) {
  const ask = () => call("PATCH", `faults/${encodeURIComponent(fault.id)}`, {}, { body });
  let answer;
  try {
    answer = await ask();
  } catch (error) {
    if (error.status !== 429 && error.status !== 503) throw error;
    await new Promise((resolve) => setTimeout(resolve, 1000));
    answer = await ask();
  }
  // Without an answer it is recorded, and shows later.
  return answer ?? { ...fault, state: body.state, by: null, until: null, in_next_version: body.in_next_version ?? false };
}
