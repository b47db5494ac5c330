// Stretches of time, as the address and the API write them.

import { micros } from "../../format.js";

/** Stretches that end now: how the API is asked for them, and what they are called. */
export const PRESETS = [["5m", "5 min"], ["15m", "15 min"], ["1h", "1 h"], ["6h", "6 h"], ["1d", "1 d"]];

/** What a stretch is compared with: name in the address, label, how much earlier than the stretch that begins; null: as long. */
export const BASELINES = [["", "as long before", null], ["1d", "the day before", 86_400e6], ["7d", "the 7 days before", 7 * 86_400e6]];

const UNITS = {
  s: 1e6, sec: 1e6, second: 1e6, m: 60e6, min: 60e6, minute: 60e6, h: 3600e6, hr: 3600e6, hour: 3600e6, d: 86_400e6, day: 86_400e6,
  w: 604_800e6, week: 604_800e6,
};

/** Microseconds of a length of time: `15m`, `1h 30min`; null if it is none. */
export function lengthOf(text) {
  const parts = [...text.trim().matchAll(/\s*(\d+)\s*([a-z]+)/gy)];
  if (parts.length === 0 || parts.map(([all]) => all).join("") !== text.trim()) return null;
  let sum = 0;
  for (const [, number, name] of parts) {
    const unit = UNITS[name] ?? UNITS[name.replace(/s$/, "")];
    if (unit === undefined) return null;
    sum += Number(number) * unit;
  }
  return sum;
}

/** Microseconds since 1970 of a moment in the forms that the API takes; null if only the node knows what it is. */
export function momentOf(text, now = Date.now() * 1000) {
  const trimmed = text.trim();
  if (trimmed === "now") return now;
  if (trimmed === "today") return Math.floor(now / 86_400e6) * 86_400e6;
  if (/^\d{10,16}$/.test(trimmed)) return Number(trimmed);
  const length = lengthOf(trimmed);
  if (length !== null) return now - length;
  const date = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(:\d\d)?(\.\d+)?(Z|[+-]\d\d:\d\d)?$/.exec(trimmed);
  if (date === null) return null;
  const [, day, minute, second = ":00", fraction = "", zone = "Z"] = date;
  const found = micros(`${day}T${minute}${second}${fraction}`);
  const ahead = zone === "Z" ? 0 : (zone[0] === "-" ? -1 : 1) * (Number(zone.slice(1, 3)) * 60 + Number(zone.slice(4)));
  return Number.isNaN(found) ? null : found - ahead * 60e6;
}

/** Where the baseline of a stretch begins, to be asked of the API; undefined for one that is as long as the stretch. */
export function baselineOf(from, baseline, now = Date.now() * 1000) {
  const earlier = BASELINES.find(([name]) => name === baseline);
  // One that somebody wrote into the address is a moment.
  if (earlier === undefined) return baseline;
  const at = momentOf(from, now);
  if (earlier[2] === null || at === null) return undefined;
  // Relative to the node's clock, if the stretch is.
  return lengthOf(from) === null ? at - earlier[2] : `${earlier[0]} ${from.trim()}`;
}

/** A moment of the address, as a field shows it: microseconds become a date, in UTC. */
export function written(text) {
  if (!/^\d{13,16}$/.test(text)) return text;
  const number = Number(text);
  const fraction = String(number % 1e6).padStart(6, "0").replace(/0+$/, "");
  const second = new Date(Math.floor(number / 1e6) * 1000).toISOString().slice(0, 19);
  return `${second.replace("T", " ")}${fraction === "" ? "" : `.${fraction}`}`;
}

/** A step, in microseconds, with which a stretch has some 60 of them, and how the API is asked for it. */
export function stepOf(span) {
  const seconds = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400];
  const step = seconds.find((step) => span / (step * 1e6) <= 120) ?? Math.ceil(span / 120e6);
  return { step: step * 1e6, asked: `${step}s` };
}

/** What a bound on the probability that it is chance means, in words. */
export function certainty(significance) {
  if (significance < 1e-9) return "certain";
  if (significance < 1e-4) return "almost certain";
  if (significance < 0.01) return "very likely";
  return "likely";
}

/** The bound itself, as how often chance does that. */
export function odds(significance) {
  if (significance < 1e-9) return "by chance less than once in a billion";
  return `by chance once in ${Math.floor(1 / significance).toLocaleString("en")}`;
}
