// What went wrong, and what can be done.

import { html } from "../html.js";

export function Problem({ error, again }) {
  if (!error) return null;
  const where = error.where ? html` <span class="quiet">(${error.where})</span>` : null;
  return html`
    <div class="problem" role="alert">
      ${error.message}${where}
      ${again && html` <button onClick=${again}>Try again</button>`}
    </div>
  `;
}
