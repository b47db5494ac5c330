// Preact, its hooks, and templates, from one place.

import { h, render, Fragment, Component } from "./vendor/preact.js";
import htm from "./vendor/htm.js";

export * from "./vendor/preact-hooks.js";
export { render, Fragment, Component };

/** A template: html`<p class="note">${text}</p>`. What is put in is text, never markup. */
export const html = htm.bind(h);
