// What an instance may hold and for how long, how much of that is used, and when something will go.

import { bytes, micros, span } from "../../format.js";

const MICROS = 1e6;

/**
 * The limits that hold: `[{name, used, most, words, then}]`; `used` and `most` are numbers of the same unit, `words` says both,
 * and `then` what happens at the end.
 *
 * `oldest`: the oldest segment, as far as it is known; `live`: the one that is written to; `now`: in microseconds.
 */
export function limitsOf(instance, { oldest, live }, now) {
  const { retention, interval } = instance;
  const limits = [];
  const add = (name, used, most, unit, then) => most !== null && limits.push({ name, used, most, words: `${unit(used)} of ${unit(most)}`, then });
  const age = (at) => (at === null || at === undefined ? 0 : Math.max(0, (now - micros(at)) / MICROS));

  add("Size", instance.bytes, retention.max_bytes, bytes, sizeThen(instance));
  add("Age", age(interval?.first), retention.delete_after_seconds, span, ageThen(retention, oldest, now));
  if (live !== undefined) {
    add("Live segment", live.disk_bytes, retention.segment_bytes, bytes, "then it is rotated");
    add("Its age", age(live.first), retention.reopen_period_seconds, span, "then it is rotated");
  }
  add("Cache", instance.cache_bytes, retention.cache_bytes, bytes, cacheThen(retention));
  return limits;
}

/** When the oldest segment becomes too old: only as a whole is it deleted. */
function ageThen({ delete_after_seconds: after }, oldest, now) {
  if (oldest === undefined || oldest.last === null) return "then the oldest segment is deleted";
  if (oldest.state === "live") return "the live segment is never deleted";
  const left = micros(oldest.last) / MICROS + after - now / MICROS;
  return left > 0 ? `the oldest segment is deleted in ${span(left)}` : "the oldest segment is deleted at the next look";
}

/** When the log is as large as it may be, if it goes on to grow as it did over all that is kept. */
function sizeThen({ interval, bytes: size, retention }) {
  const then = "then the oldest segments are deleted";
  if (interval === null || retention.max_bytes === null || size >= retention.max_bytes) return then;
  const grown = size / Math.max(1, (micros(interval.last) - micros(interval.first)) / MICROS);
  const left = (retention.max_bytes - size) / Math.max(1e-9, grown);
  return left > 100 * 365 * 86_400 ? then : `${then}, in about ${span(left)} at this pace`;
}

const cacheThen = ({ evict_after_seconds: after }) => (after === null ? "then the oldest entries leave it" : `entries leave it after ${span(after)}, too`);

/** What else holds, in words: `[name, words]`. */
export function otherLimits({ retention, free_bytes: free }) {
  const { archive_after_seconds: archived, scrub_period_seconds: checked, min_free_bytes: least, max_bytes: most, delete_after_seconds: after } = retention;
  return [
    ["Deleted", most === null && after === null ? "never: everything is kept" : null],
    ["Archived", archived === null ? "never" : `${span(archived)} after the rotation`],
    ["Checked", checked === null ? "never again" : `checksums are read again within ${span(checked)}`],
    ["Disk", least === null ? null : `${bytes(free)} free; recording waits below ${bytes(least)}`],
  ].filter(([, words]) => words !== null);
}
