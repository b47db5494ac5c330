import assert from "node:assert/strict";
import test from "node:test";

import { now, record, series } from "../rates.js";

test("a rate is what was counted between two polls, and nothing over a restart", () => {
  assert.equal(now(record("q", 1000, { n: 10 }), "n"), null, "of one sample");
  assert.equal(now(record("q", 3000, { n: 30 }), "n"), 10);
  assert.equal(now(record("q", 4000, { n: 5 }), "n"), null, "it began anew");
  const samples = record("q", 5000, { n: 5 });
  assert.deepEqual(series(samples, "n"), [10, null, 0]);
  assert.deepEqual(series(samples, "other"), [null, null, null]);
  assert.equal(record("q", 5000, { n: 9 }).length, 4, "the same moment again");
  assert.equal(record("other", 1, {}).length, 1);
});

test("no more than so many samples are kept", () => {
  for (let at = 0; at < 1000; at += 1) record("many", at, { n: at });
  assert.equal(record("many", 1000, { n: 1000 }).length, 300);
});
