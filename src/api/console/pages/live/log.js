// What the live page knows of a log, and how it comes to know it: the newest entries and all that follow, or those around a
// moment and then on in both directions.
//
// # Invariants
//
// - `contiguous`: of what is selected, nothing between the first row and the last one is missing, and nothing is there twice.

import { get } from "../../api.js";
import { follow } from "../../stream.js";
import { Bins, stepFor, stepText } from "./bins.js";
import { Rows } from "./rows.js";

const PAGE = 500;

/** If more came while nobody looked, the page begins anew with the newest ones. */
const MAX_MISSED = 2_000;

/** What of the past is counted first: who looks at a busy log sees that at once. */
const FIRST_PART = 1 / 8;
const QUICK_MILLIS = 200;

/**
 * `selection`: `{instance, filters, from, to, at, span}`, moments in microseconds; `filters` as the API takes them. `changed()` is
 * called whenever there is something new to show.
 */
export class Log {
  rows = new Rows();
  bins = null;
  /** The stretch that is counted, in microseconds. */
  counted = null;
  error = null;
  /** Whether there is nothing older, and whether all that comes is on the page as it comes. */
  isAtBeginning = false;
  isLive = false;
  isLoading = true;
  isCounting = false;
  /** Entries that came since the reader looked away from the newest ones. */
  unseen = 0;
  /** How many of those are among the rows. */
  held = 0;
  /** Whether entries that came are not held, as there are too many: going on means beginning anew. */
  isBehind = false;
  /** How many rows went, or came, at the front: who draws them moves by as many. */
  shift = 0;
  /** Entries a second, lately. */
  pace = 0;
  /** Whether the page begins elsewhere than at the end; and at which entry, if at one. */
  isAnchored = false;
  anchor = undefined;
  /** Whether the stretch that is counted goes with the time. */
  isSliding = false;

  #selection;
  #changed;
  #gone = new AbortController();
  #endStream = () => {};
  #older = null;
  #busy = { older: false, newer: false };
  #watched = true;
  #came = [];

  constructor(selection, changed) {
    this.#selection = selection;
    this.#changed = changed;
    this.#begin().catch((error) => this.#fail(error));
  }

  close() {
    this.#gone.abort();
    this.#endStream();
  }

  /** Whether the reader looks at the newest entries. */
  set isWatched(watched) {
    this.#watched = watched;
    if (!watched) return;
    this.unseen = 0;
    this.held = 0;
    if (this.isBehind) this.restart();
  }

  get isWatched() {
    return this.#watched;
  }

  /** Begins anew, with the newest entries. */
  restart() {
    this.close();
    this.#gone = new AbortController();
    this.rows.clear();
    Object.assign(this, { isLive: false, isLoading: true, isBehind: false, isAtBeginning: false, unseen: 0, held: 0, error: null });
    this.#selection = { ...this.#selection, at: undefined };
    this.#changed();
    this.#begin().catch((error) => this.#fail(error));
  }

  async #begin() {
    const { at, from, to } = this.#selection;
    this.isAnchored = at !== undefined || (from !== undefined && to === undefined);
    this.anchor = at;
    this.isSliding = from === undefined && to === undefined;
    if (to === undefined) {
      // The present: what is at or before it is read, what is behind it is followed.
      const present = await this.#present();
      this.#count(present);
      if (at !== undefined) await this.#around(at);
      else if (from !== undefined) await this.#onwards(from);
      else {
        await this.#load({ order: "desc", to: present });
        this.#follow(present);
      }
    } else {
      this.#count(to);
      if (at === undefined) await this.#load({ order: "desc", from, to });
      else await this.#around(at);
    }
    this.isLoading = false;
    this.#changed();
  }

  async #present() {
    const { next } = await this.#entries({ from: "now", limit: 1, filters: {} });
    return Number(next);
  }

  /** The newest page that ends there. */
  async #load(parameters) {
    const { entries, next } = await this.#entries({ limit: PAGE, ...parameters });
    this.#takeOlder(entries, next);
  }

  /** The entries around a moment. */
  async #around(at) {
    const { from, to } = this.#selection;
    const before = await this.#entries({ order: "desc", from, to: at, limit: PAGE / 2 });
    this.#takeOlder(before.entries, before.next);
    const behind = await this.#entries({ cursor: at, to, limit: PAGE / 2 });
    this.#takeNewer(behind, to);
  }

  async #onwards(from) {
    this.isAtBeginning = true;
    this.#takeNewer(await this.#entries({ from, limit: PAGE }));
  }

  #takeOlder(entries, next) {
    entries.reverse();
    const added = this.rows.prepend(entries);
    this.shift += added;
    this.#older = next;
    this.isAtBeginning = next === null || added < entries.length;
  }

  #takeNewer({ entries, next }, to) {
    this.shift -= this.rows.append(entries);
    this.#newer = next;
    if (entries.length > 0 || to !== undefined || next === null) return;
    // Nothing is left to be read: what comes now is followed.
    this.#follow(Number(next));
  }

  #newer = null;

  /** Reads what is before the first row. */
  async older() {
    if (this.#busy.older || this.isAtBeginning || this.#older === null || this.isLoading) return;
    this.#busy.older = true;
    try {
      const { entries, next } = await this.#entries({ order: "desc", from: this.#selection.from, cursor: this.#older, limit: PAGE });
      this.#takeOlder(entries, next);
      this.#changed();
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#busy.older = false;
    }
  }

  /** Reads what is behind the last row, if it is not followed. */
  async newer() {
    if (this.#busy.newer || this.isLive || this.#newer === null || this.isLoading) return;
    this.#busy.newer = true;
    try {
      const { to } = this.#selection;
      this.#takeNewer(await this.#entries({ cursor: this.#newer, to, limit: PAGE }), to);
      this.#changed();
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#busy.newer = false;
    }
  }

  #follow(cursor) {
    this.isLive = true;
    const { instance, filters } = this.#selection;
    let last = { at: Date.now(), cursor };
    this.#endStream = follow(instance, { ...filters, format: "brief" }, cursor, {
      take: (entries) => this.#take(entries),
      resume: (cursor) => {
        const missed = (this.pace * (Date.now() - last.at)) / 1000;
        if (missed > MAX_MISSED && this.isWatched) {
          this.restart();
          return null;
        }
        return cursor;
      },
      fail: (error) => this.#fail(error),
    });
    const looked = () => (last = { at: Date.now() });
    document.addEventListener("visibilitychange", looked, { signal: this.#gone.signal });
  }

  #take(entries) {
    const now = Date.now();
    this.#came.push([now, entries.length]);
    for (const { micros, view } of entries) this.bins?.add(micros, view?.level);
    if (!this.#watched) this.unseen += entries.length;
    if (!this.#watched && (this.isBehind || this.rows.isFull)) this.isBehind = true;
    else {
      this.shift -= this.rows.append(entries);
      if (!this.#watched) this.held += entries.length;
    }
    this.#changed();
  }

  /** Entries a second over the last five; forgets those before. */
  measure() {
    const since = Date.now() - 5_000;
    while (this.#came.length > 0 && this.#came[0][0] < since) this.#came.shift();
    this.pace = this.#came.reduce((sum, [, count]) => sum + count, 0) / 5;
  }

  #fail(error) {
    if (this.#gone.signal.aborted) return;
    Object.assign(this, { error, isLoading: false });
    this.#changed();
  }

  #entries({ filters = this.#selection.filters, ...parameters }) {
    const { instance } = this.#selection;
    const path = `instances/${encodeURIComponent(instance)}/entries`;
    return get(path, { ...filters, format: "brief", ...parameters }, { signal: this.#gone.signal });
  }

  /** Counts what was, up to the end: the newest part first, as a busy log takes a while. */
  async #count(end) {
    const { instance, filters, from, to, span } = this.#selection;
    const begin = from ?? end - span;
    const step = stepFor(Math.max(1000, end - begin));
    this.counted = { from: begin, to: end, isOpen: to === undefined };
    this.bins = new Bins(step);
    const { signal } = this.#gone;
    const path = `instances/${encodeURIComponent(instance)}/histogram`;
    const bins = this.bins;
    const part = async (from, to) => {
      const parameters = { ...filters, from: Math.round(from), to: Math.round(to), step: stepText(step), by: "level" };
      bins.take((await get(path, parameters, { signal })).histogram);
      this.#changed();
    };
    this.isCounting = true;
    try {
      const cut = Math.floor((end - (end - begin) * FIRST_PART) / step) * step;
      const began = Date.now();
      await part(Math.max(begin, cut), end);
      const isQuick = Date.now() - began < QUICK_MILLIS;
      const parts = isQuick ? 1 : 4;
      for (let number = 1; number <= parts && cut > begin; number += 1) {
        const at = (number) => Math.floor((cut - ((cut - begin) * number) / parts) / step) * step;
        await part(number === parts ? begin : at(number), at(number - 1) - 1);
      }
    } catch (error) {
      // The list says what is wrong with a selection.
      if (signal.aborted) return;
    }
    this.isCounting = false;
    this.#changed();
  }
}
