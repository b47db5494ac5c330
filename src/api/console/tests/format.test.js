import assert from "node:assert/strict";
import test from "node:test";

import { ago, bytes, count, micros, moment, rate, span, timeOfDay } from "../format.js";

const check = (format, pairs) => {
  for (const [input, expected] of pairs) assert.equal(format(input), expected, `of ${input}`);
};

test("numbers are short, and exact where they are small", () => {
  check(count, [[0, "0"], [999, "999"], [12345, "12,345"], [1_234_000, "1.23 M"], [5_000_000_000, "5.00 G"]]);
  check(rate, [[0, "0"], [0.034, "0.03"], [1.44, "1.4"], [532.4, "532"]]);
  check(bytes, [[17, "17 B"], [4300, "4.2 KiB"], [1 << 30, "1.0 GiB"], [40 * 1024, "40 KiB"]]);
});

test("a length of time has its two largest units", () => {
  check(span, [[0.08, "80 ms"], [0.9999, "1 s"], [12, "12 s"], [61, "1 min 1 s"], [3600, "1 h"], [3 * 86_400 + 4 * 3600 + 59, "3 d 4 h"]]);
  assert.equal(ago(1_000_000, 1_500_000), "now");
  assert.equal(ago(1_000_000, 181_000_000), "3 min ago");
});

test("moments keep their microseconds", () => {
  const at = 1_795_343_462_123_456;
  assert.equal(micros("2026-11-22T10:31:02.123456Z"), at);
  assert.equal(micros("2026-11-22T10:31:02.1Z"), 1_795_343_462_100_000);
  assert.equal(micros("2026-11-22T10:31:02Z"), 1_795_343_462_000_000);
  assert.equal(moment(at, "utc", { exact: true }), "2026-11-22 10:31:02.123456");
  assert.equal(moment(at, "utc"), "2026-11-22 10:31:02");
  assert.equal(timeOfDay(at, "utc"), "10:31:02.123");
});
