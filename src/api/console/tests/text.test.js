// Text of events, and moments that people write: `node --test`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { micros, parseMoment, span } from "../format.js";
import { EventReader } from "../stream.js";
import { brief, layOut, sections, visible } from "../parts/text.js";

test("what cannot be seen is shown by its number", () => {
  assert.equal(visible("a\u001b[31mb\u202ec\td\n"), "a\\x{1B}[31mb\\x{202E}c\td\n");
  assert.equal(brief("one\n  two\u0000", 20), "one two\\x{0}");
});

test("terms are broken behind commas where they do not fit, and never within texts", () => {
  assert.equal(layOut("{a,[1,2]}", 20), "{a,[1,2]}");
  assert.equal(layOut('{aaaa,"x, [y",[1111,2222],#{k => v}}', 16), '{aaaa,\n "x, [y",\n [1111,2222],\n #{k => v}}');
  assert.equal(layOut("{a,[1,2)}", 4), "{a,[1,2)}", "brackets that do not match are left");
  const deep = "[".repeat(1000) + "]".repeat(1000);
  assert.equal(layOut(deep, 10), deep);
});

test("reports of OTP and Elixir are told apart into their parts", () => {
  const labels = (detail) => sections(detail).map(({ label, text }) => [label, text]);
  assert.deepEqual(
    labels("  crasher:\n    initial call: m:init/1\n    pid: <0.1.0>\n    exception error: bad argument\n      in function  m:f/1\n    ancestors: [a,\n                  b]\n  neighbours:\n"),
    [["initial call", "m:init/1"], ["pid", "<0.1.0>"], ["exception error", "bad argument"], ["calls", "in function  m:f/1"], ["ancestors", "[a,b]"]],
  );
  assert.deepEqual(
    labels("** Generic server web terminating \n** Last message in was {order,1}\n** When Server state == #{a =>\n                           1}\n** Reason for termination ==\n** {badarg,[]}\n"),
    [["Last message", "{order,1}"], ["When Server state", "#{a => 1}"], ["Reason for termination", "{badarg,[]}"]],
  );
  assert.deepEqual(labels("GenServer Shop terminating\n** (RuntimeError) no\nLast message: :stop\nState: %{}\n"), [["Last message", ":stop"], ["State", "%{}"]]);
});

test("server-sent events are read however they are cut", () => {
  const text = 'retry: 1000\n\nid: 1\ndata: {"a":1}\n\n:\n\nid: 2\ndata: {"a":2}\n\nevent: end\ndata: {}\n\n';
  const expected = [["message", "1", '{"a":1}'], ["message", "2", '{"a":2}'], ["end", null, "{}"]];
  for (let size = 1; size < text.length; size += 1) {
    const reader = new EventReader();
    const found = [];
    for (let at = 0; at < text.length; at += size) found.push(...reader.read(text.slice(at, at + size)));
    assert.deepEqual(found.map(({ event, id, data }) => [event, id, data]), expected);
  }
});

test("moments are read as people write them", () => {
  const now = Date.parse("2026-11-29T14:00:00Z");
  const parse = (text) => parseMoment(text, "utc", now);
  assert.equal(parse("2026-11-29T13:59:00.25Z"), now * 1000 - 59_750_000);
  assert.equal(parse("13:59"), now * 1000 - 60e6);
  assert.equal(parse("9:05"), Date.parse("2026-11-29T09:05:00Z") * 1000);
  assert.equal(parse("2026-11-29"), Date.parse("2026-11-29T00:00:00Z") * 1000);
  assert.equal(parse("15m"), now * 1000 - 900e6);
  assert.equal(parse("2 h ago"), now * 1000 - 7200e6);
  assert.equal(parse(String(now * 1000)), now * 1000);
  for (const wrong of ["soon", "25:99", "2026-13-01", ""]) assert.equal(parse(wrong), null, wrong);
  assert.equal(micros("2026-11-29T14:00:00.000123Z"), now * 1000 + 123);
  assert.deepEqual([span(0.08), span(61), span(90_000)], ["80 ms", "1 min 1 s", "1 d 1 h"]);
});
