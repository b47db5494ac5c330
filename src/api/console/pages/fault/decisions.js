// What was told and decided about a fault: events of the instance `faults`, as docs/analysis.md has them.

import { atom, elements, fields, plain, stamp } from "../../parts/term.js";

/**
 * What one entry says: `{micros, state, by, until, inNextVersion, version, node}`; null if it is nothing of this form.
 *
 * `micros` is when it was said. Anybody may cast there, so nothing is taken for granted.
 */
export function telling({ micros, event }) {
  const [tag, , state, about] = elements(event);
  if (atom(tag) !== "fault" || atom(state) === null) return null;
  const { by, until, in_next_version, version, node } = fields(about);
  const text = (term) => (term === undefined ? null : plain(term));
  return {
    micros,
    state: atom(state),
    by: text(by),
    until: stamp(until),
    inNextVersion: in_next_version === true || atom(in_next_version) === "true",
    version: text(version),
    node: text(node),
  };
}

/** The match specification of all that is said about a fault. An id is 16 hexadecimal digits; what is not has nothing said of it. */
export function about(id) {
  return `[{{fault,<<"${id.replace(/[^0-9a-f]/g, "")}">>,'_','_'},[],['$_']}]`;
}
