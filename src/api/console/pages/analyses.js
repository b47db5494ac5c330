import { html } from "../html.js";

export function Analyses() {
  return html`<main class="page" id="content"><h1>Analyses</h1></main>`;
}
