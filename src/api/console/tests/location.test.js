import assert from "node:assert/strict";
import test from "node:test";

import { address, parse } from "../location.js";

test("what an address says is what it was made of", () => {
  for (const parameters of [
    { page: "live" },
    { page: "fault", id: "00f0345979ddc09c" },
    { page: "live", grep: "a&b=c#d %20 + <script>", match: "[{{'$1',\"ä\"},[],['$_']}]" },
  ]) {
    assert.deepEqual(parse(address(parameters).replace("./", "")), parameters);
  }
});

test("an address is relative and has nothing that is empty", () => {
  assert.equal(address({ page: "live" }), "./");
  assert.equal(address({ page: "live", level: "", node: undefined, grep: null }), "./");
  assert.equal(address({ page: "nodes", at: 0 }), "?page=nodes&at=0");
});
