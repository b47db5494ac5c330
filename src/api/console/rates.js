// How fast counters grow, told from what they were at each poll. Pages that look at the same thing share what was seen of it.

/** How many samples of a thing are remembered. */
const KEPT = 300;

const seen = new Map();

/** Remembers counters of a thing, `{name: number}`, as they are at a moment, in milliseconds. The samples of it, oldest first. */
export function record(thing, at, counters) {
  const samples = seen.get(thing) ?? [];
  seen.set(thing, samples);
  const last = samples.at(-1);
  if (last === undefined || at > last.at) samples.push({ at, counters });
  if (samples.length > KEPT) samples.shift();
  return samples;
}

/** By how much a counter grew a second between two samples; null if it began anew, as after a restart, or is not known. */
export function between(before, after, name) {
  if (before === undefined || after === undefined) return null;
  const grown = after.counters[name] - before.counters[name];
  const seconds = (after.at - before.at) / 1000;
  return grown >= 0 && seconds > 0 ? grown / seconds : null;
}

/** How fast a counter grows now; null until that is known. */
export const now = (samples, name) => between(samples.at(-2), samples.at(-1), name);

/** How fast it grew from each sample to the next, oldest first. */
export const series = (samples, name) => samples.slice(1).map((sample, before) => between(samples[before], sample, name));
