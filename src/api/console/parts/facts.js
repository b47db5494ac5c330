// Terms and what is to be said of them, one below the other.

import { html } from "../html.js";

/** `facts`: `[term, content]`; what has no content is left out. */
export function Facts({ facts }) {
  const shown = facts.filter(([, content]) => content !== null && content !== undefined && content !== false);
  return html`<dl class="facts short">${shown.map(([term, content]) => html`<dt key=${term}>${term}</dt><dd>${content}</dd>`)}</dl>`;
}
