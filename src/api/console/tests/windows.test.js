import assert from "node:assert/strict";
import test from "node:test";

import { columns, constant, figure, isCandle, number, readWindow, rowsOf } from "../pages/analyses/windows.js";

const stamp = (second) => ({ $tuple: [1795, second, 0] });
const atom = (name) => ({ $atom: name });

const row = (second, values) => ({
  micros: 1_795_000_000_000_000 + (second + 1) * 1e6,
  event: { $tuple: [atom("analysis"), atom("candles"), "ACME", { $tuple: [stamp(second), stamp(second + 1)] }, { $map: values }] },
});

test("a row is read, and what is none is left out", () => {
  const read = readWindow(row(5, { open: 1.5, n: 3 }));
  assert.deepEqual(read, { at: 1_795_000_006_000_000, key: "ACME", from: 1_795_000_005_000_000, to: 1_795_000_006_000_000, values: { open: 1.5, n: 3 } });
  for (const event of [{ $tuple: [atom("quote"), "ACME", 1, 2, 3] }, "text", null, { $tuple: [atom("analysis"), atom("c"), 1, 2, {}] }]) {
    assert.equal(readWindow({ micros: 1, event }), null);
  }
});

test("columns have a gap where windows are missing, and for what is no number", () => {
  const windows = [row(1, { n: 1 }), row(2, { n: atom("none") }), row(6, { n: { $int: "9007199254740993" } })].map(readWindow);
  const base = 1_795_000_000;
  assert.deepEqual(columns(windows, ["n"], 1), [[base + 1, base + 2, base + 3, base + 6], [1, null, null, 9007199254740992]]);
  assert.deepEqual(columns([], ["a", "b"], 1), [[], [], []]);
});

test("candles are told by the names of their values", () => {
  assert.ok(isCandle(["close", "high", "low", "n", "open"]));
  assert.ok(!isCandle(["high", "low", "n"]));
});

test("a key is written so that a match specification takes it", () => {
  const check = (term, expected) => assert.equal(constant(term), expected);
  check("ACME", '<<"ACME"/utf8>>');
  check('a"b\\', '<<"a\\"b\\\\"/utf8>>');
  check(atom("Tea pot"), "'Tea pot'");
  check(atom("_"), "'_'");
  check(true, "true");
  check(1.5, "1.5");
  check(1e22, "1.0e+22");
  check({ $int: "9007199254740993" }, "9007199254740993");
  check({ $tuple: [atom("a"), ["x"]] }, '{a,[<<"x"/utf8>>]}');
  check({ $pid: ["a@h", 1, 0, 7] }, null);
  check({ $tuple: [{ $etf: "g3A" }] }, null);
  assert.equal(rowsOf(null), "[{{analysis,'_','$1','_','_'},[],['$_']}]");
  assert.equal(rowsOf("'_'"), "[{{analysis,'_','$1','_','_'},[{'==','$1',{const,'_'}}],['$_']}]");
});

test("figures are as exact as anybody reads", () => {
  assert.equal(figure(12.3456789), "12.3457");
  assert.equal(figure(1234567), "1,234,570");
  assert.equal(figure(atom("kettle")), "kettle");
  assert.equal(figure(undefined), "");
  assert.equal(number({ $int: "16#ff" }), null);
});
