import assert from "node:assert/strict";
import { test } from "node:test";
import { baselineOf, certainty, lengthOf, momentOf, odds, stepOf, written } from "../pages/explain/stretch.js";

const NOW = Date.parse("2026-11-29T20:30:00Z") * 1000;
const at = (time) => Date.parse(time) * 1000;

test("lengths are read as the API reads them", () => {
  const check = (text, expected) => assert.equal(lengthOf(text), expected, text);
  check("15m", 900e6);
  check("1h 30min", 5400e6);
  check("2days", 172_800e6);
  check("soon", null);
  check("15", null);
  check("5 parsecs", null);
});

test("moments are read as the API reads them, or left to it", () => {
  const check = (text, expected) => assert.equal(momentOf(text, NOW), expected, text);
  check("now", NOW);
  check("15m", NOW - 900e6);
  check("1795982536008322", 1795982536008322);
  check("2026-11-29 20:02:16", at("2026-11-29T20:02:16Z"));
  check("2026-11-29T20:02:16.5+01:00", at("2026-11-29T19:02:16.500Z"));
  check("today", at("2026-11-29T00:00:00Z"));
  check("earliest", null);
});

test("a baseline begins as much earlier as was chosen", () => {
  assert.equal(baselineOf("1h", "", NOW), undefined);
  assert.equal(baselineOf("1h", "1d", NOW), "1d 1h");
  assert.equal(baselineOf(String(NOW), "1d", NOW), NOW - 86_400e6);
  assert.equal(baselineOf("1h", "3h", NOW), "3h");
});

test("a field shows moments as dates", () => {
  assert.equal(written("1795982536008322"), "2026-11-29 20:02:16.008322");
  assert.equal(momentOf(written("1795982536008322")), 1795982536008322);
  assert.equal(written("15m"), "15m");
});

test("steps are of round lengths, and not too many", () => {
  for (const span of [1e6, 600e6, 7200e6, 172_800e6, 60 * 86_400e6, 1000 * 86_400e6]) {
    const { step } = stepOf(span);
    assert.ok(span / step <= 121, String(span));
  }
  assert.equal(stepOf(7200e6).asked, "60s");
});

test("chance is said in words", () => {
  assert.equal(certainty(1e-12), "certain");
  assert.equal(odds(1e-12), "by chance less than once in a billion");
  assert.equal(odds(0.044), "by chance once in 22");
});
