// Text of events: whatever a stranger may have logged, made fit to be looked at.

/** Control characters, and those that hide text or turn it around. Tabs and line ends are left. */
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** Text as it is, but for characters that cannot be seen: those become `\x{202E}`, as Erlang writes them. */
export function visible(text) {
  return text.replace(HIDDEN, (found) => `\\x{${found.codePointAt(0).toString(16).toUpperCase()}}`);
}

/** The first so many characters, on one line. */
export function brief(text, most = 300) {
  const line = visible(text.slice(0, most)).replace(/\s+/g, " ").trim();
  // Joined anew: what is cut from a string keeps all of that in memory.
  return text.length > most ? [line, "…"].join("") : line;
}

/** What an entry says, on one line: of a crash who, why and where; else its message. */
export function headline({ view, event }, most) {
  if (view === null) return brief(typeof event === "string" ? event : JSON.stringify(event), most);
  if (view.reason === null || view.kind === "log") return brief(view.message, most);
  const who = view.registered_name ?? view.pid ?? view.kind;
  const where = view.module === null ? "" : ` in ${view.module}:${view.function ?? "?"}${view.line === null ? "" : `:${view.line}`}`;
  return brief(`${who}: ${view.reason}${where}`, most);
}

const OPENING = { "(": ")", "[": "]", "{": "}", "<<": ">>", "#{": "}" };

/** Texts that are longer, or deeper, are left as they are. */
const MAX_LAID_OUT = 200_000;
const MAX_DEPTH = 200;

/** Erlang terms on lines of at most so many characters, where that can be: what does not fit is broken behind its commas. */
export function layOut(text, width = 100) {
  if (text.length > MAX_LAID_OUT) return text;
  const root = nested(text);
  return root === null ? text : written(root, 0, width);
}

/** The terms of a text by their brackets; null if they do not match, or are too deep. */
function nested(text) {
  const root = { open: "", close: "", parts: [""], length: 0 };
  const stack = [root];
  const add = (piece) => {
    const parts = stack.at(-1).parts;
    if (typeof parts.at(-1) === "string") parts[parts.length - 1] += piece;
    else parts.push(piece);
  };
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\[^])*"|'(?:[^'\\]|\\[^])*'|<<|>>|#\{|[[\](){},]|[^"'<>#[\](){},]+|[^]/g)) {
    const close = OPENING[token];
    if (close !== undefined) {
      const group = { open: token, close, parts: [""], length: 0 };
      stack.at(-1).parts.push(group);
      stack.push(group);
      if (stack.length > MAX_DEPTH) return null;
    } else if (token === "]" || token === "}" || token === ")" || token === ">>") {
      const group = stack.pop();
      if (stack.length === 0 || group.close !== token) return null;
      group.length = token.length + group.open.length;
      for (const part of group.parts) group.length += part.length;
    } else {
      add(token);
      if (token === ",") stack.at(-1).parts.push("");
    }
  }
  return stack.length === 1 ? root : null;
}

function flat(part) {
  if (typeof part === "string") return part;
  return part.open + part.parts.map(flat).join("") + part.close;
}

function written(group, indent, width) {
  if (group.open !== "" && group.length + indent <= width) return flat(group);
  const inner = group.open === "" ? indent : indent + group.open.length;
  const lines = [""];
  for (const part of group.parts) {
    if (typeof part === "string") {
      // A new element begins behind a comma.
      const begins = lines.at(-1).endsWith(",") && group.open !== "";
      if (begins && part !== "") lines.push(part.trimStart());
      else lines[lines.length - 1] += part;
    } else {
      if (lines.at(-1).endsWith(",") && group.open !== "") lines.push("");
      lines[lines.length - 1] += written(part, inner + lines.at(-1).length % width, width);
    }
  }
  return group.open + lines.filter((line, at) => line !== "" || at === 0).join(`\n${" ".repeat(inner)}`) + group.close;
}

/** Labels whose values nobody looks for first. */
const MINOR = new Set(["message_queue_len", "messages", "dictionary", "trap_exit", "status", "heap_size", "stack_size", "reductions"]);

/**
 * The parts of a report's text, as OTP and Elixir write it: `[{label, text, minor}]`; empty if it has none.
 *
 * Crash and supervisor reports have lines `    label: value`, servers `** Label == value`, Elixir `Label: value`; what follows, more
 * indented, goes on with the value.
 */
export function sections(detail) {
  const found = [];
  let last = null;
  for (const line of detail.split("\n")) {
    const label = /^ {4}([a-z][\w ]{0,40}): ?(.*)$/i.exec(line) ?? starred(line) ?? /^([A-Z][\w ]{0,30}(?: \(.{0,40}\))?): (.*)$/.exec(line);
    if (label !== null) {
      last = { label: label[1], text: label[2], minor: MINOR.has(label[1]) };
      found.push(last);
    } else if (/^ {6}in (?:function|call from) /.test(line) && last?.label !== "calls") {
      last = { label: "calls", text: line, minor: true };
      found.push(last);
    } else if (last !== null && line.trim() !== "" && !/^ {2}\w+:$/.test(line)) {
      last.text += `${last.text === "" ? "" : "\n"}${line.startsWith("** ") ? line.slice(3) : line}`;
    }
  }
  return found.map((section) => ({ ...section, text: unindented(section.text) })).filter(({ text }) => text !== "");
}

function starred(line) {
  return /^\*\* (.{1,60}?) ==\s*(.*)$/.exec(line) ?? /^\*\* (Last (?:message|event))(?: in)? was (.*)$/.exec(line)
    ?? /^\*\* (Client \S+ stacktrace)()$/.exec(line);
}

/** Without what all lines but the first have in front; terms are laid out anew. */
function unindented(text) {
  if (/^(\[|\{|#\{|<<)/.test(text)) return layOut(text.trim().replace(/(=>|\|)?\s*\n\s*/g, (_, sign) => (sign === undefined ? "" : `${sign} `)));
  const [first, ...rest] = text.split("\n");
  const least = Math.min(...rest.map((line) => line.length - line.trimStart().length));
  return [first, ...rest.map((line) => line.slice(least))].join("\n").trim();
}
