// Handlers that instances have on other nodes: how far each has come, and why not farther.

import { html } from "../html.js";
import { brief } from "./text.js";

/** Those that are not well come first. */
const ORDER = ["refused", "waiting", "installing", "installed"];

/** `handlers`: of the API. `label(handler)`: what tells one from another where they are shown. */
export function Handlers({ handlers, label }) {
  if (handlers.length === 0) return html`<span class="quiet">none</span>`;
  const rank = ({ state }) => ORDER.indexOf(state);
  const sorted = [...handlers].sort((a, b) => rank(a) - rank(b) || label(a).localeCompare(label(b)));
  return html`
    <ul class="handlers">
      ${sorted.map((handler) => html`
        <li key=${label(handler)}>
          <span class=${`badge ${handler.state}`}>${handler.state}</span> ${label(handler)}
          ${handler.reason !== null && html`<div class="why">${brief(handler.reason)}</div>`}
        </li>
      `)}
    </ul>
  `;
}
