// What nobody is told of for a time: which silences hold, and a dialog that sets one.

import { call, may } from "../../api.js";
import { html, useState } from "../../html.js";
import { Dialog } from "../../parts/dialog.js";
import { Moment } from "../../parts/moment.js";
import { Problem } from "../../parts/problem.js";
import { visible } from "../../parts/text.js";

/** How long: as the API takes it, and in words. */
const LENGTHS = [["30m", "30 minutes"], ["1h", "1 hour"], ["4h", "4 hours"], ["1d", "1 day"], ["7d", "7 days"], ["until", "until a moment"]];

/** `silences`: as the API lists them; `changed()` when one was lifted; `begin(what)` opens the dialog. */
export function Silences({ silences, changed, begin }) {
  const [error, setError] = useState(null);
  const lift = async ({ id }) => {
    try {
      await call("DELETE", `silences/${encodeURIComponent(id)}`);
      setError(null);
    } catch (error) {
      setError(error);
    }
    changed();
  };
  return html`
    <section class="card" aria-labelledby="silences">
      <div class="bar">
        <h2 id="silences" class="grow">Silences</h2>
        ${may("admin") && html`<button onClick=${() => begin({})}>Silence…</button>`}
      </div>
      <${Problem} error=${error} />
      ${silences.length === 0 && html`<p class="quiet">None: whoever a rule names is told of all its alerts.</p>`}
      <ul class="plain-list">
        ${silences.map((silence) => html`
          <li key=${silence.id} class="silence">
            <div class="grow">
              <strong>${silence.rule === null && silence.by === null ? "all alerts" : visible([silence.rule, silence.by].filter((part) => part !== null).join(", "))}</strong>
              <div class="quiet small">until <${Moment} at=${silence.until} />, by ${visible(silence.who)}${silence.reason !== "" && `: ${visible(silence.reason)}`}</div>
            </div>
            ${may("admin") && html`<button onClick=${() => lift(silence)} aria-label=${`Lift the silence of ${silence.rule ?? "all rules"}`}>Lift</button>`}
          </li>
        `)}
      </ul>
    </section>
  `;
}

/** Sets a silence. `rule`, `by`: what it is of, to begin with; `rules`: the names that there are; `done(isSet)`: it is closed. */
export function SilenceDialog({ rule = "", by = "", rules, done }) {
  const [what, setWhat] = useState({ rule, by, length: "1h", until: "", reason: "" });
  const [error, setError] = useState(null);
  const set = (name) => (event) => setWhat({ ...what, [name]: event.target.value });
  const submit = async (event) => {
    event.preventDefault();
    const { length, until, reason } = what;
    const body = { reason, ...(length === "until" ? { until } : { for: length }) };
    if (what.rule !== "") body.rule = what.rule;
    if (what.by !== "") body.by = what.by;
    try {
      await call("POST", "silences", {}, { body });
      done(true);
    } catch (error) {
      setError(error);
    }
  };
  const isAll = what.rule === "" && what.by === "";
  return html`
    <${Dialog} title="Silence" onClose=${() => done(false)}>
      <form class="fields" onSubmit=${submit}>
        <p class="quiet">Alerts fire and are recorded all the same; nobody is told. What still fires when it is over is told then.</p>
        <label for="silence-rule">Rule</label>
        <select id="silence-rule" value=${what.rule} onChange=${set("rule")}>
          <option value="">all rules</option>
          ${rules.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
        </select>
        <label for="silence-by">Only alerts of this node, or other value</label>
        <input id="silence-by" value=${what.by} onInput=${set("by")} placeholder="any" maxlength="1024" />
        <label for="silence-length">For</label>
        <select id="silence-length" value=${what.length} onChange=${set("length")}>
          ${LENGTHS.map(([value, label]) => html`<option key=${value} value=${value}>${label}</option>`)}
        </select>
        ${what.length === "until" && html`
          <label for="silence-until">Until</label>
          <input id="silence-until" value=${what.until} onInput=${set("until")} required placeholder="2026-11-30 08:00:00 (UTC)" />
        `}
        <label for="silence-reason">Why</label>
        <input id="silence-reason" value=${what.reason} onInput=${set("reason")} placeholder="the disks are being moved" maxlength="1024" />
        <${Problem} error=${error} />
        <div class="bar"><button class="primary">${isAll ? "Silence everything" : "Silence"}</button><button type="button" onClick=${() => done(false)}>Cancel</button></div>
      </form>
    <//>
  `;
}
