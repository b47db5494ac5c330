import { html } from "../html.js";

export function Instance() {
  return html`<main class="page" id="content"><h1>Instance</h1></main>`;
}
