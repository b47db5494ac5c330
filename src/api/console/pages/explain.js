import { html } from "../html.js";

export function Explain() {
  return html`<main class="page" id="content"><h1>Explain</h1></main>`;
}
