import assert from "node:assert/strict";
import test from "node:test";

import { limitsOf, otherLimits } from "../pages/instance/limits.js";

const at = (seconds) => new Date(1_700_000_000_000 + seconds * 1000).toISOString();
const now = (1_700_000_000 + 1000) * 1e6;

const unlimited = {
  segment_bytes: null, reopen_period_seconds: null, archive_after_seconds: null, delete_after_seconds: null, max_bytes: null,
  min_free_bytes: null, scrub_period_seconds: null, cache_bytes: null, evict_after_seconds: null,
};

const instance = (retention) => ({
  bytes: 500, cache_bytes: 10, free_bytes: 4096, interval: { first: at(0), last: at(1000) }, retention: { ...unlimited, ...retention },
});

const segments = { oldest: { state: "rotated", first: at(0), last: at(100) }, live: { state: "live", first: at(900), last: at(1000), disk_bytes: 50 } };

test("a limit says how much is used and when something goes", () => {
  const check = (retention, expected) => {
    const [limit] = limitsOf(instance(retention), segments, now);
    assert.deepEqual([limit.name, limit.used, limit.most, limit.then], expected);
  };
  check({ max_bytes: 1000 }, ["Size", 500, 1000, "then the oldest segments are deleted, in about 16 min 40 s at this pace"]);
  check({ max_bytes: 400 }, ["Size", 500, 400, "then the oldest segments are deleted"]);
  check({ delete_after_seconds: 1200 }, ["Age", 1000, 1200, "the oldest segment is deleted in 5 min"]);
  check({ delete_after_seconds: 600 }, ["Age", 1000, 600, "the oldest segment is deleted at the next look"]);
  check({ segment_bytes: 100 }, ["Live segment", 50, 100, "then it is rotated"]);
  check({ reopen_period_seconds: 1800 }, ["Its age", 100, 1800, "then it is rotated"]);
  check({ cache_bytes: 20, evict_after_seconds: 60 }, ["Cache", 10, 20, "entries leave it after 1 min, too"]);
});

test("without limits everything is kept, also of an instance that holds nothing", () => {
  const empty = { ...instance({}), interval: null };
  assert.deepEqual(limitsOf(empty, { oldest: undefined, live: undefined }, now), []);
  assert.deepEqual(otherLimits(empty)[0], ["Deleted", "never: everything is kept"]);
  assert.deepEqual(otherLimits(instance({ max_bytes: 1, min_free_bytes: 1024 })).at(-1), ["Disk", "4.0 KiB free; recording waits below 1.0 KiB"]);
});
