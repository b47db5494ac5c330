import assert from "node:assert/strict";
import { test } from "node:test";
import { about, telling } from "../pages/fault/decisions.js";

const event = (state, about) => ({ $tuple: [{ $atom: "fault" }, "f0", { $atom: state }, about] });

test("what was decided is read from its event", () => {
  const until = { $tuple: [1795, 960882, 903234] };
  const said = telling({ micros: 17, event: event("muted", { $map: { by: "ann", until } }) });
  assert.deepEqual(said, { micros: 17, state: "muted", by: "ann", until: 1795960882903234, inNextVersion: false, version: null, node: null });
  assert.equal(telling({ micros: 1, event: event("resolved", { $map: { by: { $atom: "bob" }, in_next_version: true } }) }).inNextVersion, true);
});

test("what anybody casts there does no harm", () => {
  for (const strange of [null, 1, "fault", [], { $tuple: [] }, { $tuple: [{ $atom: "fault" }, "f0", "muted", {}] }, { $atom: "fault" }]) {
    assert.equal(telling({ micros: 1, event: strange }), null);
  }
  assert.equal(telling({ micros: 1, event: event("muted", "nonsense") }).by, null);
});

test("no id ends the text it is put in", () => {
  assert.equal(about('f0">>,'), "[{{fault,<<\"f0\">>,'_','_'},[],['$_']}]");
});
