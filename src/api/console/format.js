// Numbers and moments, for people.

/** `12,345`; from a million on `1.23 M`. */
export function count(number) {
  if (number >= 1e9) return `${(number / 1e9).toFixed(2)} G`;
  if (number >= 1e6) return `${(number / 1e6).toFixed(2)} M`;
  return Math.round(number).toLocaleString("en");
}

/** Per second or so: `0.03`, `1.4`, `532`. */
export function rate(number) {
  if (number === 0) return "0";
  if (number < 0.095) return number.toFixed(2);
  if (number < 10) return number.toFixed(1);
  return count(number);
}

/** `17 B`, `4.2 KiB`, `1.0 GiB`. */
export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? number : number.toFixed(number < 10 ? 1 : 0)} ${units[unit]}`;
}

/** A length of time, in its two largest units: `3 d 4 h`, `12 s`, `80 ms`. */
export function span(seconds) {
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  const whole = Math.round(seconds);
  const units = [["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => whole >= size);
  const parts = [];
  let left = whole;
  for (const [name, size] of units.slice(first, first + 2)) {
    const number = Math.floor(left / size);
    left -= number * size;
    if (number > 0) parts.push(`${number} ${name}`);
  }
  return parts.join(" ");
}

/** Microseconds since 1970 of a moment as the API writes it. All of them are exact in a double until 2255. */
export function micros(rfc3339) {
  const whole = Date.parse(`${rfc3339.slice(0, 19)}Z`) * 1000;
  const fraction = /^\.(\d{1,6})/.exec(rfc3339.slice(19))?.[1] ?? "";
  return whole + Number(fraction.padEnd(6, "0"));
}

const two = (number) => String(number).padStart(2, "0");

function parts(micros, zone) {
  const date = new Date(Math.floor(micros / 1000));
  const get = (part) => (zone === "utc" ? date[`getUTC${part}`]() : date[`get${part}`]());
  const day = `${get("FullYear")}-${two(get("Month") + 1)}-${two(get("Date"))}`;
  const time = `${two(get("Hours"))}:${two(get("Minutes"))}:${two(get("Seconds"))}`;
  return { day, time, fraction: String(micros % 1_000_000).padStart(6, "0") };
}

/** `14:02:11.123`. */
export function timeOfDay(micros, zone) {
  const { time, fraction } = parts(micros, zone);
  return `${time}.${fraction.slice(0, 3)}`;
}

/** `2026-11-29`. */
export const day = (micros, zone) => parts(micros, zone).day;

/** `2026-11-29 14:02:11`, and `.123456` where that matters. */
export function moment(micros, zone, { exact = false } = {}) {
  const { day, time, fraction } = parts(micros, zone);
  return `${day} ${time}${exact ? `.${fraction}` : ""}`;
}

/** How long ago: `3 min`, `2 d 1 h`; `now` within a second. */
export function ago(micros, now = Date.now() * 1000) {
  const seconds = (now - micros) / 1e6;
  return seconds < 1 ? "now" : `${span(seconds)} ago`;
}

const SPANS = { s: 1, m: 60, min: 60, h: 3600, d: 86_400 };

/**
 * The moment that somebody wrote, in microseconds; null if it is none: microseconds since 1970, `15m` (ago), `14:02` of today,
 * `2026-11-29 14:02:11` in the reader's zone, RFC 3339.
 */
export function parseMoment(written, zone, now = Date.now()) {
  const text = written.trim();
  if (text === "now") return now * 1000;
  if (/^\d{13,16}$/.test(text)) return Number(text);
  const back = /^(\d+(?:\.\d+)?) ?(s|m|min|h|d)(?: ago)?$/.exec(text);
  if (back !== null) return Math.round(now * 1000 - Number(back[1]) * SPANS[back[2]] * 1e6);
  const today = day(now * 1000, zone);
  const whole = /^\d{1,2}:\d\d/.test(text) ? `${today} ${text.padStart(text.indexOf(":") === 1 ? text.length + 1 : 0, "0")}` : text;
  const found = /^(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d)(:\d\d)?(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?$/.exec(whole);
  if (found === null) return null;
  const [, date, minutes = "00:00", seconds = ":00", fraction = "", offset = zone === "utc" ? "Z" : ""] = found;
  const millis = Date.parse(`${date}T${minutes}${seconds}${offset}`);
  return Number.isNaN(millis) ? null : millis * 1000 + Math.round(Number(`0${fraction}`) * 1e6);
}
