import assert from "node:assert/strict";
import { test } from "node:test";
import { erlang, fields, plain, stamp } from "../parts/term.js";

test("terms are written as Erlang writes them", () => {
  const check = (term, expected) => assert.equal(erlang(term), expected);
  check({ $tuple: [{ $atom: "ok" }, 1, 1.5] }, "{ok,1,1.5}");
  check("a\"b", '<<"a\\"b">>');
  check({ $atom: "a b" }, "'a b'");
  check({ $atom: "end" }, "'end'");
  check({ $atom: "shop@10.0.0.7" }, "'shop@10.0.0.7'");
  check([true, null, { $string: "it's\n" }], '[true,null,"it\'s\\n"]');
  check({ $map: { level: { $atom: "error" } } }, "#{level => error}");
  check({ $map: [[1, { $atom: "a" }]] }, "#{1 => a}");
  check({ k: 1 }, '#{<<"k">> => 1}');
  check({ $improper: [1, 2] }, "[1|2]");
  check({ $pid: ["a@b", 41, 0, 17] }, "<a@b.41.0>");
  check({ $fun: ["lists", "map", 2] }, "fun lists:map/2");
  check({ $etf: "g3A" }, "...");
});

test("a term that is too deep is cut", () => {
  let term = 1;
  for (let depth = 0; depth < 2000; depth += 1) term = [term];
  assert.match(erlang(term), /^\[+\.\.\.\]+$/);
});

test("people see names and texts without quotes", () => {
  assert.equal(plain({ $atom: "shop@host" }), "shop@host");
  assert.equal(plain("kettle"), "kettle");
  assert.equal(plain({ $tuple: ["kettle", 1] }), '{<<"kettle">>,1}');
});

test("what is no timestamp and no map is taken for nothing", () => {
  assert.equal(stamp({ $tuple: [1795, 982536, 8322] }), 1795982536008322);
  for (const term of ["soon", { $tuple: [1, 2] }, { $tuple: ["1", "2", "3"] }, null, undefined]) assert.equal(stamp(term), null);
  for (const term of ["text", { $map: [[1, 2]] }, null, [1]]) assert.deepEqual(fields(term), {});
});
