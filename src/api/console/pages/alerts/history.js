// What fired and was resolved: events of the instance `alerts`, as docs/alerts.md has them.

import { atom, elements, fields, plain, stamp } from "../../parts/term.js";

/** The match specification of alerts; `rule`: of this one alone. */
export function alertsOf(rule) {
  const name = rule === undefined ? "'_'" : `'${rule.replace(/[\\']/g, "\\$&")}'`;
  return `[{{alert,${name},'_','_'},[],['$_']}]`;
}

/** What one entry tells; null if it is nothing of this form, because anybody may cast there. */
export function alertOf({ micros, event }) {
  const [tag, rule, phase, about] = elements(event);
  if (atom(tag) !== "alert" || atom(rule) === null || !["firing", "resolved"].includes(atom(phase))) return null;
  const { id, at, severity, instance, by, text, count, entry, firing_at, explanation } = fields(about);
  if (typeof id !== "string") return null;
  const string = (term) => (term === undefined ? null : plain(term));
  return {
    micros,
    id,
    rule: atom(rule),
    phase: atom(phase),
    at: stamp(at) ?? micros,
    severity: string(severity) ?? "error",
    instance: string(instance) ?? "",
    by: string(by),
    text: string(text) ?? "",
    count: typeof count === "number" ? count : 0,
    entry: stamp(entry),
    firingAt: stamp(firing_at),
    explanation: string(explanation),
  };
}

/**
 * Alerts of entries, which come newest first: one for both of its events, `{id, rule, ..., from, to, explanation}`.
 *
 * `from` is when it began to fire, `to` when it was resolved: null if it was not, so far. What is resolved tells itself when it had
 * begun to fire; why is known only if the other event is among the entries.
 */
export function paired(entries) {
  const alerts = [];
  const resolved = new Map();
  for (const told of entries.map(alertOf)) {
    if (told === null) continue;
    const { id, phase } = told;
    if (phase === "resolved") {
      const alert = { ...told, from: told.firingAt ?? told.at, to: told.at };
      alerts.push(alert);
      // Later ones of the same id come earlier.
      resolved.set(id, alert);
      continue;
    }
    const later = resolved.get(id);
    if (later !== undefined && later.from === told.at) {
      later.explanation ??= told.explanation;
      later.severity = told.severity;
      resolved.delete(id);
    } else {
      alerts.push({ ...told, from: told.at, to: null });
    }
  }
  return alerts.sort((a, b) => b.from - a.from);
}
