// Severities, as `logger` has them.

import { html } from "../html.js";

/** The most severe one first. */
export const LEVELS = ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"];

/** Shown by its colour and its word. */
export function Level({ level }) {
  if (!level) return html`<span class="level none">event</span>`;
  return html`<span class=${`level ${level}`}>${level}</span>`;
}
