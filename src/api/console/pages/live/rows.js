// The entries that the page holds: a contiguous part of what is selected of the log, oldest first, in little memory.

import { headline } from "../../parts/text.js";

/** Entries held at once. */
export const MAX_ROWS = 100_000;

/** How many go at once when there are too many, so that going is rare. */
const GOING = 5_000;

const MAX_LINE = 400;

export class Rows {
  #rows = [];
  /** Texts that many rows share are kept once. */
  #shared = new Map();

  get length() {
    return this.#rows.length;
  }

  get first() {
    return this.#rows[0];
  }

  get last() {
    return this.#rows.at(-1);
  }

  get isFull() {
    return this.#rows.length >= MAX_ROWS;
  }

  at(index) {
    return this.#rows[index];
  }

  slice(from, to) {
    return this.#rows.slice(from, to);
  }

  clear() {
    this.#rows = [];
    this.#shared.clear();
  }

  /** Adds entries behind all others; says how many went at the front for it. */
  append(entries) {
    for (const entry of entries) this.#rows.push(this.#row(entry));
    if (this.#rows.length <= MAX_ROWS) return 0;
    const gone = this.#rows.length - MAX_ROWS + GOING;
    this.#rows.splice(0, gone);
    return gone;
  }

  /** Adds entries, oldest first, in front of all others, as far as there is room. */
  prepend(entries) {
    const room = MAX_ROWS - this.#rows.length;
    const added = entries.slice(Math.max(0, entries.length - room)).map((entry) => this.#row(entry));
    this.#rows = added.concat(this.#rows);
    return added.length;
  }

  /** The index of the entry stamped then, or of the first one behind. */
  find(at) {
    let low = 0;
    let high = this.#rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#rows[middle].at < at) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #row(entry) {
    const { view, micros } = entry;
    if (view === null) return { at: micros, level: null, kind: null, node: null, text: headline(entry, MAX_LINE) };
    const { level, kind, node } = view;
    return { at: micros, level: this.#once(level), kind: this.#once(kind), node: this.#once(node), text: headline(entry, MAX_LINE) };
  }

  #once(text) {
    if (text === null || this.#shared.size > 10_000) return text;
    const known = this.#shared.get(text);
    if (known !== undefined) return known;
    this.#shared.set(text, text);
    return text;
  }
}
