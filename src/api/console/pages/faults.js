import { html } from "../html.js";

export function Faults() {
  return html`<main class="page" id="content"><h1>Faults</h1></main>`;
}
