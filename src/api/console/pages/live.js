import { html } from "../html.js";

export function Live() {
  return html`<main class="page" id="content"><h1>Live</h1></main>`;
}
