import assert from "node:assert/strict";
import test from "node:test";

import { goneNodes, readChange } from "../pages/nodes/history.js";

const atom = (name) => ({ $atom: name });
const event = (change, node, about) => ({ $tuple: [atom("node"), atom(change), atom(node), { $map: about }] });
const since = { $tuple: [1795, 982_594, 285_384] };

test("comings and goings are read", () => {
  const down = readChange({ micros: 7, event: event("down", "a@h", { since, reason: atom("net_tick_timeout"), detail: "nothing heard for 60s" }) });
  assert.deepEqual(down, {
    at: 7, change: "down", node: "a@h", since: 1_795_982_594_285_384, release: null, reason: "net_tick_timeout", detail: "nothing heard for 60s",
  });
  const up = readChange({ micros: 8, event: event("up", "a@h", { since, otp_release: "27" }) });
  assert.deepEqual([up.change, up.release, up.reason, up.detail], ["up", "27", null, null]);
  for (const other of [null, "text", { $tuple: [atom("node"), atom("up")] }, { $tuple: [atom("quote"), 1, 2, 3] }]) {
    assert.equal(readChange({ micros: 1, event: other }), null);
  }
});

test("a node is gone whose last change is known and that is not connected", () => {
  const of = (node, change, at) => ({ node, change, at });
  const history = [of("a", "up", 9), of("b", "down", 8), of("a", "down", 7), of("c", "up", 6), of("b", "up", 5)];
  assert.deepEqual(goneNodes(history, ["a"]), [history[1], history[3]]);
  assert.deepEqual(goneNodes(history, ["a", "b", "c"]), []);
});
