// What the live page holds and counts: `node --test`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { GROUPS, Bins, stepFor } from "../pages/live/bins.js";
import { MAX_ROWS, Rows } from "../pages/live/rows.js";

const entry = (micros, text = "text") => ({ micros, event: null, view: { kind: "log", level: "info", node: "a@b", reason: null, message: text } });
const entries = (from, to) => Array.from({ length: to - from }, (_, at) => entry(from + at));

test("rows stay in order and are found by their timestamp", () => {
  const rows = new Rows();
  rows.append(entries(100, 200));
  rows.prepend(entries(50, 100));
  assert.deepEqual([rows.length, rows.first.at, rows.last.at], [150, 50, 199]);
  assert.equal(rows.find(120), 70);
  assert.equal(rows.find(1), 0);
  assert.equal(rows.find(1000), 150);
});

test("too many rows go at the front, and who is asked how many says so", () => {
  const rows = new Rows();
  assert.equal(rows.append(entries(0, MAX_ROWS)), 0);
  assert.ok(rows.isFull);
  assert.equal(rows.prepend([entry(-1)]), 0, "there is no room in front");
  const gone = rows.append(entries(MAX_ROWS, MAX_ROWS + 10));
  assert.equal(rows.first.at, gone);
  assert.equal(rows.last.at, MAX_ROWS + 9);
});

test("a long text takes the room of a line", () => {
  const rows = new Rows();
  rows.append([entry(1, "x".repeat(1_000_000))]);
  assert.ok(rows.last.text.length < 500);
});

test("what the API counted and what came since are in the same steps", () => {
  const bins = new Bins(stepFor(900e6));
  assert.equal(bins.step, 10e6);
  bins.take([{ micros: 100e6, by: { error: 2, none: 1 } }, { micros: 110e6, by: {} }]);
  bins.add(105e6, "error");
  bins.add(111e6, null);
  const [times, ...sums] = bins.stacked(95e6, 119e6);
  assert.deepEqual(times, [90, 100, 110]);
  assert.deepEqual(sums[GROUPS.indexOf("error")], [0, 3, 0]);
  assert.deepEqual(sums.at(-1), [0, 4, 1]);
  bins.forget(110e6);
  assert.deepEqual(bins.stacked(95e6, 119e6).at(-1), [0, 0, 1]);
});
