// Which entries are shown. Each filter is a parameter of the address, and of the API.

import { get, usePolled } from "../../api.js";
import { html, useEffect, useRef, useState } from "../../html.js";
import { change, go, useHere } from "../../location.js";
import { LEVELS } from "../../parts/level.js";

/** Filters as the API takes them, in the address under the same names. */
export const FILTERS = ["level", "node", "grep", "match", "kind", "module", "pid", "fault"];

const KINDS = ["log", "crash", "gen_server", "supervisor", "task", "progress", "alarm", "dropped"];

/** How long somebody has to have stopped writing. */
const WRITTEN_MILLIS = 500;

export function Filters({ instance, error }) {
  const here = useHere();
  const [isOpen, setOpen] = useState(false);
  const instances = useNames();
  const extra = ["kind", "module", "pid", "fault", "match"].filter((name) => here[name] !== undefined);
  const isWrong = (name) => error?.where === name;
  const choose = (name) => (event) => change({ [name]: event.target.value || undefined, at: undefined });
  return html`
    <form class="filters" role="search" aria-label="Entries" onSubmit=${(event) => event.preventDefault()}>
      <select aria-label="Instance" value=${instance} onChange=${(event) => go({ page: "live", instance: event.target.value })}>
        ${(instances.includes(instance) ? instances : [instance, ...instances]).map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
      </select>
      <select aria-label="Level" value=${here.level ?? ""} onChange=${choose("level")}>
        <option value="">every level</option>
        ${LEVELS.map((level) => html`<option key=${level} value=${level}>${level}${level === "emergency" ? "" : " and worse"}</option>`)}
      </select>
      <${Written} name="node" label="Node" hint="node, * for any" value=${here.node} isWrong=${isWrong("node")} />
      <${Written} name="grep" label="Search text" hint="search: a regular expression  ( / )" value=${here.grep} isWrong=${isWrong("grep")} isSearch />
      <button type="button" aria-expanded=${isOpen} onClick=${() => setOpen(!isOpen)}>More${extra.length > 0 && !isOpen ? ` (${extra.length})` : ""}</button>
      ${isOpen && html`
        <div class="filters-more">
          <select aria-label="Kind" value=${here.kind ?? ""} onChange=${choose("kind")}>
            <option value="">every kind</option>
            ${KINDS.map((kind) => html`<option key=${kind} value=${kind}>${kind}</option>`)}
          </select>
          <${Written} name="module" label="Module" hint="module" value=${here.module} isWrong=${isWrong("module")} />
          <${Written} name="pid" label="Process" hint="process: <0.41.0>" value=${here.pid} isWrong=${isWrong("pid")} />
          <${Written} name="fault" label="Fault" hint="id of a fault" value=${here.fault} isWrong=${isWrong("fault")} />
          <${Written} name="match" label="Match specification" hint="match spec: [{{log,'_',error,'_','_'},[],['$_']}]" value=${here.match} isWrong=${isWrong("match")} isLong />
        </div>
      `}
      ${!isOpen && extra.map((name) => html`<${Chip} key=${name} label=${`${name}: ${here[name]}`} onRemove=${() => change({ [name]: undefined, at: undefined })} />`)}
    </form>
  `;
}

/** Something that holds, and can be taken away. */
export function Chip({ label, onRemove }) {
  return html`<span class="chip"><span class="chip-label">${label}</span><button type="button" class="ghost" aria-label=${`Remove ${label}`} onClick=${onRemove}>✕</button></span>`;
}

/** A field whose value counts once its writer has stopped. */
function Written({ name, label, hint, value = "", isWrong, isSearch, isLong }) {
  const [written, setWritten] = useState(value);
  const timer = useRef(null);
  // The address may change by other ways, too.
  useEffect(() => setWritten(value), [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const apply = (text) => {
    clearTimeout(timer.current);
    if (text !== value) change({ [name]: text || undefined, at: undefined });
  };
  const write = (event) => {
    const text = event.target.value;
    setWritten(text);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => apply(text), WRITTEN_MILLIS);
  };
  return html`
    <input class=${`${isSearch ? "search" : ""}${isLong ? "long mono" : ""}`} type=${isSearch ? "search" : "text"} aria-label=${label} placeholder=${hint} value=${written}
      data-search=${isSearch ? "" : undefined} aria-invalid=${isWrong} spellcheck=${false} autocapitalize="off" autocomplete="off"
      onInput=${write} onChange=${(event) => apply(event.target.value)} onKeyDown=${(event) => event.key === "Enter" && apply(event.target.value)} />
  `;
}

function useNames() {
  const { data } = usePolled((signal) => get("instances", {}, { signal }), "names", null);
  return data === null ? [] : data.instances.map(({ name }) => name);
}
