// How recording goes in an instance: loudly, where it does not.

import { html } from "../html.js";
import { brief } from "./text.js";

/** The state of the recorder, in a word. */
export function Recording({ recording }) {
  return html`<span class=${`badge ${recording.state}`}>${recording.state === "running" ? "recording" : recording.state}</span>`;
}

/** What is wrong with it; nothing if all is well. `name`: of the instance, where it isn't clear. */
export function RecordingTrouble({ name, recording }) {
  if (recording.state === "running") return null;
  const says = recording.state === "failed"
    ? "Recording has failed; nothing more is taken in until the node is started again"
    : "Recording waits; events are kept in memory meanwhile, then dropped";
  return html`<div class="problem" role="alert">${name !== undefined && html`<strong>${name}</strong>: `}${says}: ${brief(recording.reason ?? "", 500)}</div>`;
}
