import assert from "node:assert/strict";
import { test } from "node:test";
import { alertOf, alertsOf, paired } from "../pages/alerts/history.js";

const time = (seconds) => ({ $tuple: [1795, seconds, 0] });
const micros = (seconds) => (1795e6 + seconds) * 1e6;
const told = (phase, at, about) => ({
  micros: micros(at) + 1,
  event: { $tuple: [{ $atom: "alert" }, { $atom: "many" }, { $atom: phase }, { $map: { id: "a1", at: time(at), severity: { $atom: "critical" }, instance: { $atom: "log" }, ...about } }] },
});

test("firing and resolved are one line, with why", () => {
  const entries = [told("resolved", 20, { firing_at: time(10) }), told("firing", 10, { explanation: "because", by: { $atom: "a@b" } })];
  const [alert, ...others] = paired(entries);
  assert.deepEqual(others, []);
  assert.deepEqual([alert.from, alert.to, alert.explanation, alert.rule], [micros(10), micros(20), "because", "many"]);
});

test("what still fires has no end, and what began before the entries tells when", () => {
  const alerts = paired([told("firing", 30, {}), told("resolved", 20, { firing_at: time(10) })]);
  assert.deepEqual(alerts.map(({ from, to }) => [from, to]), [[micros(30), null], [micros(10), micros(20)]]);
});

test("two alerts with one id are not taken for one", () => {
  const entries = [told("resolved", 40, { firing_at: time(30) }), told("firing", 30, { explanation: "second" }), told("resolved", 20, { firing_at: time(10) }), told("firing", 10, { explanation: "first" })];
  assert.deepEqual(paired(entries).map(({ explanation }) => explanation), ["second", "first"]);
});

test("what anybody casts there does no harm", () => {
  const strange = [
    null, "alert", { $tuple: [] }, { $tuple: [{ $atom: "silence" }, "1", { $atom: "set" }, { $map: {} }] },
    { $tuple: [{ $atom: "alert" }, { $atom: "r" }, { $atom: "firing" }, { $map: {} }] }, { $tuple: [{ $atom: "alert" }, 1, 2, 3] },
  ];
  for (const event of strange) assert.equal(alertOf({ micros: 1, event }), null);
  const poor = { $tuple: [{ $atom: "alert" }, { $atom: "r" }, { $atom: "firing" }, { $map: { id: "1", at: "soon", count: "many" } }] };
  assert.equal(alertOf({ micros: 17, event: poor }).at, 17);
});

test("the name of a rule does not end the text it is put in", () => {
  assert.match(alertsOf("it's"), /'it\\'s'/);
});
