import { html } from "../html.js";

export function Fault() {
  return html`<main class="page" id="content"><h1>Fault</h1></main>`;
}
