// How many entries of each level there were, step by step, over the stretch of time that the histogram shows.

import { LEVELS } from "../../parts/level.js";

/** Steps of a histogram, about. */
const STEPS = 120;

const SECOND = 1_000_000;

/** Lengths of a step, in seconds, that clocks show as round numbers. */
const ROUND = [0.001, 0.01, 0.1, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 7 * 86_400];

/** The length of a step, in microseconds, for a stretch of so many. */
export function stepFor(span) {
  const least = span / STEPS / SECOND;
  return (ROUND.find((seconds) => seconds >= least) ?? ROUND.at(-1)) * SECOND;
}

/** As the API takes it. */
export const stepText = (step) => `${step}us`;

/** What is told apart: the most severe first, then what has no level. */
export const GROUPS = [...LEVELS, "none"];

export class Bins {
  #counts = new Map();

  constructor(step) {
    this.step = step;
  }

  /** Counts one entry. */
  add(at, level) {
    this.#bin(Math.floor(at / this.step))[GROUPS.indexOf(level ?? "none")] += 1;
  }

  /** Takes what the API counted: `[{micros, by}]`, steps of the same length. */
  take(steps) {
    for (const { micros, by } of steps) {
      const bin = this.#bin(Math.floor(micros / this.step));
      for (const [level, count] of Object.entries(by ?? {})) {
        const group = GROUPS.indexOf(level);
        bin[group === -1 ? GROUPS.length - 1 : group] += count;
      }
    }
  }

  /** Forgets what is before a moment. */
  forget(before) {
    const first = Math.floor(before / this.step);
    for (const bin of this.#counts.keys()) if (bin < first) this.#counts.delete(bin);
  }

  /**
   * As a chart takes it: the beginning of each step, in seconds, and for each group the sum of it and of all more severe ones.
   */
  stacked(from, to) {
    const [first, last] = [Math.floor(from / this.step), Math.floor(to / this.step)];
    const times = [];
    const sums = GROUPS.map(() => []);
    for (let bin = first; bin <= last; bin += 1) {
      times.push((bin * this.step) / SECOND);
      const counts = this.#counts.get(bin);
      let sum = 0;
      for (let group = 0; group < GROUPS.length; group += 1) {
        sum += counts?.[group] ?? 0;
        sums[group].push(sum);
      }
    }
    return [times, ...sums];
  }

  #bin(number) {
    let bin = this.#counts.get(number);
    if (bin === undefined) {
      bin = new Float64Array(GROUPS.length);
      this.#counts.set(number, bin);
    }
    return bin;
  }
}
