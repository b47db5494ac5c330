// An entry, laid out to be read: what happened, why, where, to whom.

import { html } from "../html.js";
import { Link } from "../location.js";
import { Copy } from "./copy.js";
import { Level } from "./level.js";
import { Moment } from "./moment.js";
import { headline, layOut, sections, visible } from "./text.js";

/** Longer texts are cut; copying gives all of it. */
const MAX_SHOWN = 100_000;

/** Modules of OTP that are in every stack, and never to blame. */
const PLATFORM = new Set([
  "application_master", "elixir_compiler", "erl_eval", "erlang", "ets", "gen", "gen_event", "gen_server", "gen_statem", "lists", "maps",
  "proc_lib", "supervisor", "timer", "Elixir.GenServer", "Elixir.Task.Supervised", "Elixir.Enum",
]);

/** `entry`: as the API has it, with `format=json`. */
export function Report({ instance, entry }) {
  const { view, micros } = entry;
  if (view === null) {
    return html`
      <p class="quiet">An event of no known shape, in ${instance} at <${Moment} at=${micros} />.</p>
      <${Text} text=${JSON.stringify(entry.event, null, 2)} />
    `;
  }
  const isPlain = view.kind === "log" && view.reason === null;
  const parts = isPlain ? [] : sections(view.detail).map((part) => asShown(part, view));
  const major = parts.filter(({ minor }) => !minor);
  const minor = parts.filter(({ minor }) => minor);
  return html`
    <article class="report">
      <h2 class="report-title">${headline(entry, 400)}</h2>
      <p class="report-about"><${Level} level=${view.level} /> <span class="badge">${view.kind}</span> <${Moment} at=${micros} /></p>
      <${Facts} instance=${instance} view=${view} />
      ${view.stacktrace.length > 0 && html`<${Stack} frames=${view.stacktrace} />`}
      ${major.map(({ label, text }) => html`<${Section} key=${label} label=${label} text=${text} />`)}
      ${parts.length === 0 && html`<${Text} text=${view.detail || view.message} />`}
      ${minor.length > 0 && html`
        <details><summary>More of it</summary>
          ${minor.map(({ label, text }) => html`<${Section} key=${label} label=${label} text=${text} />`)}
        </details>
      `}
      ${parts.length > 0 && html`<details><summary>As its node would print it</summary><${Text} text=${view.detail} /></details>`}
    </article>
  `;
}

/** What the view says already, stack and all, is not to be read twice. */
function asShown({ label, text, minor }, view) {
  const hasStack = view.stacktrace.length > 0;
  if (/^(pid|registered_name)$/.test(label)) return { label, text, minor: true };
  if (hasStack && /^(reason|Reason for termination)$/.test(label)) return { label, text, minor: true };
  if (/^Client .* stacktrace$/.test(label)) return { label, text, minor: true };
  if (!hasStack && label === "calls") return { label, text, minor: false };
  return { label, text, minor };
}

function Facts({ instance, view }) {
  const { node, pid, registered_name: name, module, line, domain, reason } = view;
  const fact = (label, value) => value && html`<dt>${label}</dt><dd>${value}</dd>`;
  const where = module && html`<code>${module}:${view.function ?? "?"}</code>${line !== null && ` line ${line}`}`;
  return html`
    <dl class="facts">
      ${fact("why", reason && html`<code>${visible(reason.slice(0, 2000))}</code>`)}
      ${fact("where", where)}
      ${fact("node", node && html`<${Link} to=${{ page: "live", instance, node }}>${visible(node)}<//>`)}
      ${fact("process", pid && html`<${Link} to=${{ page: "live", instance, node, pid }}><code>${pid}</code><//>${name && html` <code>${visible(name)}</code>`}`)}
      ${fact("domain", domain.length > 0 && domain.map(visible).join(", "))}
    </dl>
  `;
}

/**
 * The calls that led there, innermost first: those of applications stand out. `modules`: those that are known to be of the
 * application; where none is, all that are not OTP's are.
 */
export function Stack({ frames, modules = [] }) {
  const hasOwn = frames.some(({ module }) => modules.includes(module));
  const isQuiet = (module) => (hasOwn ? !modules.includes(module) : PLATFORM.has(module));
  return html`
    <h3>Stack</h3>
    <ol class="stack">
      ${frames.map(({ module, function: name, arity, file, line }, at) => html`
        <li key=${at} class=${isQuiet(module) ? "platform" : ""}>
          <code>${visible(`${module}:${name}/${arity}`)}</code>${file && html` <span class="quiet">${visible(file)}${line !== null && `:${line}`}</span>`}
        </li>
      `)}
    </ol>
  `;
}

function Section({ label, text }) {
  return html`<h3>${visible(label)}</h3><${Text} text=${text} />`;
}

/** Text as it is, cut where nobody reads on. */
export function Text({ text }) {
  const isCut = text.length > MAX_SHOWN;
  return html`
    <pre class="text" tabindex="0">${visible(text.slice(0, MAX_SHOWN))}</pre>
    ${isCut && html`<p class="quiet">${text.length - MAX_SHOWN} more characters. <${Copy} text=${text} label="Copy all" /></p>`}
  `;
}

/** The event as an Erlang term; `text`: as the API has it, with `format=text`. */
export function ErlangText({ text }) {
  return html`<${Text} text=${layOut(text)} />`;
}
