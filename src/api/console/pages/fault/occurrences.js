// How often a fault occurs: what can be computed of the counts that the API gives.

import { micros } from "../../format.js";

const MINUTE = 60e6;

/** Occurrences a minute now: those of the last five minutes. `lastHour`: counts of 60 minutes, of which the last one is not over. */
export function ratePerMinute(lastHour, now = Date.now() * 1000) {
  const elapsed = (now % MINUTE) / MINUTE;
  const sum = lastHour.slice(-5).reduce((sum, count) => sum + count, 0);
  return sum / (4 + Math.max(0.1, elapsed));
}

/**
 * Counts of equal steps, oldest first, of `[{ts, count}]` in which steps without any are left out: `[[seconds, ...], [count, ...]]`.
 *
 * `span` and `step` are microseconds; the last step holds `now`.
 */
export function steps(counts, span, step, now = Date.now() * 1000) {
  const last = Math.floor(now / step);
  const first = last - Math.ceil(span / step) + 1;
  const sums = new Array(last - first + 1).fill(0);
  for (const { ts, count } of counts) {
    const at = Math.floor(micros(ts) / step) - first;
    // One that is stamped ahead of this machine's clock is of now.
    if (at >= 0) sums[Math.min(at, sums.length - 1)] += count;
  }
  return [sums.map((_, at) => ((first + at) * step) / 1e6), sums];
}

/** Over how long a rise is looked for. */
const RISE = 30 * MINUTE;

/**
 * The stretch in which a fault rose most within the last 24 hours: `{from, to}` in microseconds; null if it did not occur in them.
 *
 * It begins a little before the first minute of the rise, because what is compared with it has to be without.
 */
export function rise({ minutes }, now = Date.now() * 1000) {
  const found = minutes.map(({ ts, count }) => [micros(ts), count]).filter(([at]) => at > now - 1440 * MINUTE);
  if (found.length === 0) return null;
  const within = (from, to) => found.reduce((sum, [at, count]) => (at >= from && at < to ? sum + count : sum), 0);
  let best = { by: -Infinity, at: 0 };
  for (const [at] of found) {
    const by = within(at, at + RISE) - within(at - RISE, at);
    if (by > best.by) best = { by, at };
  }
  const from = best.at - 2 * MINUTE;
  return { from, to: Math.min(now, from + RISE) };
}

/** Whether a fault is found by what somebody searches for: every word is in its title, id, nodes, modules or versions. */
export function isFound(fault, search) {
  const words = search.toLowerCase().split(/\s+/).filter((word) => word !== "");
  if (words.length === 0) return true;
  const version = (it) => (it === null ? "" : `${it.application} ${it.version}`);
  const text = [
    fault.title, fault.id, fault.instance, fault.kind, fault.level, ...Object.keys(fault.nodes), ...fault.modules,
    version(fault.first_version), version(fault.last_version),
  ].join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
}

/**
 * The faults of an answer in the order in which they are shown. `held`: the ids as they stand before the reader, who is not to be
 * confused: what is known stays where it is, and what is new comes behind.
 */
export function arranged(faults, held) {
  const left = new Map(faults.map((fault) => [fault.id, fault]));
  const kept = [];
  for (const id of held) {
    if (!left.has(id)) continue;
    kept.push(left.get(id));
    left.delete(id);
  }
  return [...kept, ...left.values()];
}
