import { html } from "../html.js";

export function Alerts() {
  return html`<main class="page" id="content"><h1>Alerts</h1></main>`;
}
