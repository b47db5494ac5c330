// Terms in the JSON form of docs/json.md, as far as pages look into the events that analysis writes.

/** The elements of a tuple; none if it is no tuple. */
export function elements(term) {
  return Array.isArray(term?.$tuple) ? term.$tuple : [];
}

/** The name of an atom; null if it is none. JSON's own words are atoms, too. */
export function atom(term) {
  if (typeof term?.$atom === "string") return term.$atom;
  return term === true || term === false || term === null ? String(term) : null;
}

/** The values of a map by the names of its keys; nothing if its keys are no atoms. */
export function fields(term) {
  const map = term?.$map;
  return map !== null && typeof map === "object" && !Array.isArray(map) ? map : {};
}

/** Microseconds since 1970 of an `erlang:timestamp()`; null if it is none. */
export function stamp(term) {
  const [mega, second, micro] = elements(term);
  const isStamp = [mega, second, micro].every(Number.isInteger);
  return isStamp ? (mega * 1e6 + second) * 1e6 + micro : null;
}

/** A term for people: names and texts without quotes, others as Erlang writes them. */
export function plain(term) {
  if (term === undefined) return "";
  if (typeof term === "string") return term;
  if (typeof term?.$string === "string") return term.$string;
  return atom(term) ?? erlang(term);
}

/** A term as Erlang writes it. What is deeper than a hundred terms is `...`. */
export function erlang(term, depth = 0) {
  if (depth > 100) return "...";
  const list = (terms) => terms.map((each) => erlang(each, depth + 1)).join(",");
  if (typeof term === "string") return `<<${quoted(term, '"')}>>`;
  if (typeof term === "number") return String(term);
  if (atom(term) !== null) return name(atom(term));
  if (Array.isArray(term)) return `[${list(term)}]`;
  if (Array.isArray(term.$tuple)) return `{${list(term.$tuple)}}`;
  if (Array.isArray(term.$improper)) return `[${list(term.$improper.slice(0, -1))}|${erlang(term.$improper.at(-1), depth + 1)}]`;
  if (typeof term.$string === "string") return quoted(term.$string, '"');
  if (typeof term.$int === "string") return term.$int;
  if (Array.isArray(term.$pid)) return `<${term.$pid.slice(0, 3).join(".")}>`;
  if (Array.isArray(term.$ref)) return `#Ref<${term.$ref.join(".")}>`;
  if (Array.isArray(term.$port)) return `#Port<${term.$port.slice(0, 2).join(".")}>`;
  if (Array.isArray(term.$fun)) return `fun ${name(String(term.$fun[0]))}:${name(String(term.$fun[1]))}/${term.$fun[2]}`;
  const special = Object.keys(term).find((key) => key.startsWith("$"));
  if (special !== undefined && special !== "$map") return "...";
  const pairs = Array.isArray(term.$map)
    ? term.$map.map(([key, value]) => [erlang(key, depth + 1), value])
    : term.$map !== undefined
      ? Object.entries(term.$map).map(([key, value]) => [name(key), value])
      : Object.entries(term).map(([key, value]) => [erlang(key), value]);
  return `#{${pairs.map(([key, value]) => `${key} => ${erlang(value, depth + 1)}`).join(",")}}`;
}

const RESERVED = new Set(
  "after and andalso band begin bnot bor bsl bsr bxor case catch cond div else end fun if let maybe not of or orelse receive rem try when xor".split(" "),
);

/** An atom as Erlang writes it: `ok`, `'a b'`. */
export function name(text) {
  return /^[a-z][\w@]*$/.test(text) && !RESERVED.has(text) ? text : quoted(text, "'");
}

function quoted(text, quote) {
  const escaped = text.replace(/[\\\n\r\t]|["']/g, (found) => {
    if (found === "\n") return "\\n";
    if (found === "\r") return "\\r";
    if (found === "\t") return "\\t";
    return found === "\\" || found === quote ? `\\${found}` : found;
  });
  return `${quote}${escaped}${quote}`;
}
