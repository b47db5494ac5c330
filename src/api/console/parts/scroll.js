// A box for what may be wider than the page, such as a table: it scrolls sideways, also by keyboard.

import { html } from "../html.js";

export function Scroll({ label, children }) {
  return html`<div class="scroll" tabindex="0" role="group" aria-label=${label}>${children}</div>`;
}
