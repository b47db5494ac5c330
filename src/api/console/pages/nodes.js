import { html } from "../html.js";

export function Nodes() {
  return html`<main class="page" id="content"><h1>Nodes</h1></main>`;
}
