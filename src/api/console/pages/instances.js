import { html } from "../html.js";

export function Instances() {
  return html`<main class="page" id="content"><h1>Instances</h1></main>`;
}
