// Who reads an instance: sessions that run, and what was acknowledged under which name.

import { html } from "../../html.js";
import { count, span } from "../../format.js";
import { Link } from "../../location.js";
import { Moment } from "../../parts/moment.js";
import { Scroll } from "../../parts/scroll.js";
import { brief, visible } from "../../parts/text.js";

const behind = (seconds) => (seconds < 0.001 ? html`<span class="good">up to date</span>` : span(seconds));

export function Sessions({ sessions }) {
  if (sessions.length === 0) return html`<p class="empty">Nobody is subscribed.</p>`;
  const sorted = [...sessions].sort((a, b) => b.lag - a.lag);
  return html`
    <${Scroll} label="Sessions">
      <table class="many">
        <thead><tr>
          <th scope="col">Subscriber</th><th scope="col">Behind</th><th scope="col">Position</th><th scope="col" class="number">Sent</th>
          <th scope="col" class="number"><span title="Events that its match specification has looked at">Looked at</span></th><th scope="col">Cursor</th><th scope="col">State</th>
        </tr></thead>
        <tbody>
          ${sorted.map((session) => html`
            <tr key=${session.pid}>
              <th scope="row" class="mono">${brief(session.subscriber)}</th>
              <td>${behind(session.lag / 1e6)}</td>
              <td><${Position} at=${session.position} /></td>
              <td class="number">${count(session.sent)}</td>
              <td class="number">${session.filtered > 0 && count(session.filtered)}</td>
              <td class="mono">${session.cursor !== null && brief(session.cursor)}</td>
              <td><${State} session=${session} /></td>
            </tr>
          `)}
        </tbody>
      </table>
    <//>
  `;
}

/** A position before there was anything is none that anybody wants to see. */
function Position({ at }) {
  return at.startsWith("1970-01-01T00:00:00") ? html`<span class="quiet">the beginning</span>` : html`<${Moment} at=${at} />`;
}

function State({ session }) {
  return html`
    ${session.waits_for_credit && html`<span class="badge waiting" title="Its subscriber allows no more for now">waits for credit</span> `}
    ${session.exhausted && html`<span class="badge failed" title="Its match specification took too many steps for the newest event, which was withheld">out of budget</span> `}
    ${session.unfiltered > 0 && html`<span class="why bad">${count(session.unfiltered)} withheld</span>`}
  `;
}

export function Cursors({ instance, cursors, hasMore, sessions, exactFrom }) {
  if (cursors.length === 0) return html`<p class="empty">Nobody has acknowledged anything. A subscriber with the option <code>cursor</code> goes on where it was.</p>`;
  const used = new Map(sessions.filter(({ cursor }) => cursor !== null).map((session) => [session.cursor, session.subscriber]));
  return html`
    <${Scroll} label="Durable cursors">
      <table class="many">
        <thead><tr>
          <th scope="col">Name</th><th scope="col">Behind</th><th scope="col" class="number">Entries behind</th><th scope="col">Acknowledged up to</th><th scope="col">Session</th>
        </tr></thead>
        <tbody>
          ${cursors.map((cursor) => html`
            <tr key=${cursor.id}>
              <th scope="row" class="mono">${visible(cursor.name)}</th>
              ${cursor.position === null
                ? html`<td colspan="3" class="bad">its position was lost to damage; <code>positions</code> in the directory of cursors has the line to take out</td>`
                : html`
                  <td>${behind(cursor.lag_seconds)}</td>
                  <td class="number">${cursor.lag_events !== null && `${cursor.position_micros < exactFrom && cursor.lag_events > 0 ? "≤ " : ""}${count(cursor.lag_events)}`}</td>
                  <td><${Link} to=${{ page: "live", instance, at: cursor.position_micros }}><${Moment} at=${cursor.position} /><//>${!cursor.stored && html` <span class="badge waiting">not stored yet</span>`}</td>
                `}
              <td class="mono">${used.has(cursor.name) ? brief(used.get(cursor.name)) : html`<span class="quiet">none</span>`}</td>
            </tr>
          `)}
        </tbody>
      </table>
    <//>
    ${hasMore && html`<p class="quiet">There are more; the API lists them all.</p>`}
  `;
}
