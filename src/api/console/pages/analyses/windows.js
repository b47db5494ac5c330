// Rows of windows, `{analysis, Name, By, {From, To}, #{...}}`, as an analysis records them: what they say, and as columns of a chart.

import { atom, elements, erlang, fields, name, stamp } from "../../parts/term.js";

/** The number that a term is; null if it is none, or larger than doubles are. */
export function number(term) {
  if (typeof term === "number") return term;
  const digits = term?.$int;
  return typeof digits === "string" && /^[+-]?\d{1,300}$/.test(digits) ? Number(digits) : null;
}

/** What an entry says: `{at, key, from, to, values}`, the values by their names, as terms; null if it is no row. */
export function readWindow({ micros, event }) {
  const [tag, , key, times, values] = elements(event);
  const [from, to] = elements(times).map(stamp);
  if (atom(tag) !== "analysis" || from === undefined || from === null || to === null) return null;
  return { at: micros, key, from, to, values: fields(values) };
}

/** Whether values of these names are a candle. */
export const isCandle = (names) => CANDLE.every((name) => names.includes(name));

export const CANDLE = ["open", "high", "low", "close"];

/**
 * Columns for a chart: when windows began, in seconds, and each value's numbers. What is no number is null, and so is the window
 * that would be next where some are missing, so that no line leads over them. `every`: seconds from one window to the next.
 */
export function columns(windows, names, every) {
  const all = [[], ...names.map(() => [])];
  const add = (at, values) => {
    all[0].push(at);
    names.forEach((name, column) => all[column + 1].push(values === null ? null : number(values[name])));
  };
  for (const { from, values } of windows) {
    const at = from / 1e6;
    const last = all[0].at(-1);
    if (last !== undefined && at > last + 1.5 * every) add(last + every, null);
    add(at, values);
  }
  return all;
}

/** A term as a match specification may have it, exactly; null if that can't be written, as of pids. */
export function constant(term) {
  if (typeof term === "string") return `${erlang(term).slice(0, -2)}/utf8>>`;
  if (typeof term === "number") return String(term).replace(/^(-?\d+)e/, "$1.0e");
  const named = atom(term);
  if (named !== null) return name(named);
  if (typeof term?.$int === "string" || typeof term?.$string === "string") return erlang(term);
  if (Array.isArray(term)) return within("[", term, "]");
  return Array.isArray(term?.$tuple) ? within("{", term.$tuple, "}") : null;
}

function within(open, terms, close) {
  const written = terms.map(constant);
  return written.includes(null) ? null : `${open}${written.join(",")}${close}`;
}

/** A match specification that takes rows, those of a key if there is one (a `constant`). */
export function rowsOf(key) {
  const guard = key === null ? "" : `{'==','$1',{const,${key}}}`;
  return `[{{analysis,'_','$1','_','_'},[${guard}],['$_']}]`;
}

/** One that takes the keys alone. */
export const KEYS = "[{{analysis,'_','$1','_','_'},[],['$1']}]";

const figures = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });

/** A number, or whatever a value is, for people. */
export function figure(term) {
  if (term === undefined || term === null) return "";
  const it = number(term);
  return it === null ? erlang(term) : figures.format(it);
}
