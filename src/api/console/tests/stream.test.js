import assert from "node:assert/strict";
import test from "node:test";

import { EventReader } from "../stream.js";

const SENT = 'id: 17\ndata: {"a":1}\n\n:\n\nevent: end\ndata: {}\n\nid: 18\ndata: "ä"\n\n';

/** All events of these pieces. */
function read(pieces) {
  const reader = new EventReader();
  return pieces.flatMap((piece) => reader.read(piece));
}

test("events are the same however they were cut", () => {
  const whole = read([SENT]);
  assert.deepEqual(whole, [
    { event: "message", id: "17", data: '{"a":1}' },
    { event: "end", id: null, data: "{}" },
    { event: "message", id: "18", data: '"ä"' },
  ]);
  for (let at = 0; at <= SENT.length; at += 1) assert.deepEqual(read([SENT.slice(0, at), SENT.slice(at)]), whole);
  assert.deepEqual(read([...SENT]), whole);
});

test("what has not come as a whole is no event", () => {
  assert.deepEqual(read(['id: 17\ndata: {"a":1}\n']), []);
});
