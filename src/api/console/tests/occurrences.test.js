import assert from "node:assert/strict";
import { test } from "node:test";
import { arranged, isFound, ratePerMinute, rise, steps } from "../pages/fault/occurrences.js";

const NOW = Date.parse("2026-11-29T20:30:30Z") * 1000;
const at = (time, count) => ({ ts: `2026-11-29T${time}:00.000000Z`, count });

test("the rate is that of five minutes, of which the last one is not over", () => {
  const lastHour = new Array(60).fill(0);
  assert.equal(ratePerMinute(lastHour, NOW), 0);
  lastHour.splice(-5, 5, 2, 2, 2, 2, 1);
  assert.equal(ratePerMinute(lastHour, NOW), 2);
});

test("minutes become steps, and what is ahead of the clock is of now", () => {
  const [times, counts] = steps([at("20:01", 3), at("20:02", 4), at("20:31", 1), at("18:00", 9)], 3600e6, 600e6, NOW);
  assert.deepEqual(counts, [0, 0, 7, 0, 0, 1]);
  assert.equal(times.at(-1), Date.parse("2026-11-29T20:30:00Z") / 1000);
});

test("a rise is found where the half hour before was quietest", () => {
  const minutes = [at("10:00", 5), at("10:20", 5), at("18:00", 40), at("18:10", 50), at("18:40", 60)];
  const found = rise({ minutes }, NOW);
  assert.equal(found.from, Date.parse("2026-11-29T17:58:00Z") * 1000);
  assert.ok(found.to > found.from && found.to <= NOW);
  assert.equal(rise({ minutes: [{ ts: "2026-11-20T10:00:00Z", count: 1 }] }, NOW), null);
});

test("a search finds what has all its words anywhere", () => {
  const fault = {
    id: "f0", title: "{badmatch,x} in shop_cart:load/1", instance: "error_logger", kind: "crash", level: "error",
    nodes: { "a@host": 1 }, modules: ["shop_cart"], first_version: { application: "shop", version: "1.4.2" }, last_version: null,
  };
  for (const search of ["", "BADMATCH", "host cart", "1.4.2"]) assert.ok(isFound(fault, search), search);
  assert.ok(!isFound(fault, "badmatch b@host"));
});

test("what is before the reader keeps its place", () => {
  const ids = (faults) => faults.map(({ id }) => id).join("");
  const faults = ["c", "a", "d"].map((id) => ({ id }));
  assert.equal(ids(arranged(faults, [])), "cad");
  assert.equal(ids(arranged(faults, ["a", "b", "c"])), "acd");
});
