// Which errors keep happening: the list, and what people decide about many at once.

import { get, may, usePolled } from "../api.js";
import { count, rate } from "../format.js";
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { useKeys } from "../keys.js";
import { Link, change, go, useHere } from "../location.js";
import { Decide, OPEN_STATES, STATES, State, StateNote } from "./fault/state.js";
import { Level } from "../parts/level.js";
import { Moment } from "../parts/moment.js";
import { arranged, isFound, ratePerMinute } from "./fault/occurrences.js";
import { Problem } from "../parts/problem.js";
import { Sparkline } from "../parts/sparkline.js";
import { brief } from "../parts/text.js";

const LIMIT = 100;

/** What is searched are so many at once: the API does not know titles. */
const SEARCH_LIMIT = 2000;

/** So many rows are drawn at most. */
const MAX_ROWS = 300;

/** How long the order of the list stays after somebody pointed at it, moved in it or decided something. */
const HELD_MILLIS = 10_000;

/** How long what was decided stays in sight, in its new state, though the list may be of other states. */
const DECIDED_MILLIS = 30_000;

const SORTS = [["last_seen", "last seen"], ["first_seen", "first seen"], ["count", "count"]];

const SINCE = [["", "any time"], ["1h", "the last hour"], ["1d", "the last day"], ["7d", "the last 7 days"]];

export function Faults() {
  const { state = OPEN_STATES.join(","), instance = "", sort = "last_seen", search = "", from = "", cursor = "" } = useHere();
  const limit = search === "" ? LIMIT : SEARCH_LIMIT;
  const parameters = { state, instance, sort, from, cursor, limit };
  const key = JSON.stringify(parameters);
  const { data, error, again } = usePolled((signal) => get("faults", parameters, { signal }), key, search === "" ? 5000 : 15_000);
  const [decided, setDecided] = useState(new Map());
  const [selected, setSelected] = useState(new Set());
  const [at, setAt] = useState(null);
  const order = useRef([]);
  const touchedAt = useRef(0);
  const touch = () => (touchedAt.current = Date.now());

  // Another question: what was chosen from the answers to the last one is not seen any more.
  useEffect(() => {
    setDecided(new Map());
    setSelected(new Set());
    setAt(null);
    order.current = [];
  }, [key, search]);

  const shown = useMemo(() => {
    const found = (data?.faults ?? []).map((fault) => latest(fault, decided.get(fault.id)));
    const known = new Set(found.map(({ id }) => id));
    const faults = [...found, ...[...decided.values()].filter(({ id }) => !known.has(id))].filter((fault) => isFound(fault, search));
    const isHeld = selected.size > 0 || Date.now() - touchedAt.current < HELD_MILLIS;
    const rows = arranged(faults, isHeld ? order.current : []);
    order.current = rows.map(({ id }) => id);
    return rows;
  }, [data, decided, search]);

  const keep = (fault) => {
    touch();
    setDecided((last) => new Map(last).set(fault.id, fault));
    setTimeout(() => setDecided((last) => (last.get(fault.id) === fault ? new Map([...last].filter(([id]) => id !== fault.id)) : last)), DECIDED_MILLIS);
  };
  const rows = shown.slice(0, MAX_ROWS);
  const chosen = shown.filter(({ id }) => selected.has(id));
  const toggle = (id) => setSelected((last) => {
    const next = new Set(last);
    if (!next.delete(id)) next.add(id);
    return next;
  });
  const move = (by) => {
    if (rows.length === 0) return;
    const now = rows.findIndex(({ id }) => id === at);
    const next = rows[Math.min(rows.length - 1, Math.max(0, now === -1 ? 0 : now + by))];
    setAt(next.id);
    touch();
    document.getElementById(`fault-${next.id}`)?.scrollIntoView({ block: "nearest" });
  };
  const open = () => (at === null ? false : go({ page: "fault", id: at }));
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    o: open,
    Enter: open,
    x: () => (at !== null && may("admin") ? toggle(at) : false),
    Escape: () => {
      if (selected.size === 0 && at === null) return false;
      setSelected(new Set());
      setAt(null);
    },
  });

  return html`
    <main class="page wide" id="content">
      <h1>Faults</h1>
      <${Filters} state=${state} instance=${instance} sort=${sort} search=${search} from=${from} />
      ${may("admin") && html`
        <div class="selection" data-any=${chosen.length > 0}>
          <span class="number" role="status">${chosen.length === 0 ? "Select faults to decide about them" : `${count(chosen.length)} selected`}</span>
          <${Decide} faults=${chosen} decided=${keep} />
        </div>
      `}
      <${Problem} error=${error} again=${again} />
      ${data === null && error === null && html`<p class="quiet">Loading…</p>`}
      ${rows.length > 0 && html`
        <${Table} rows=${rows} at=${at} selected=${selected} toggle=${toggle} all=${(ids) => setSelected(new Set(ids))} moved=${touch} />
      `}
      ${data !== null && rows.length === 0 && html`<${Nothing} state=${state} search=${search} cursor=${cursor} isMore=${data.next !== null} />`}
      ${data !== null && html`<${Pages} data=${data} shown=${shown.length} search=${search} cursor=${cursor} />`}
    </main>
  `;
}

/** A fault as it was decided, until the list says something newer. */
function latest(fault, decided) {
  if (decided === undefined) return fault;
  const { state, state_since, by, until, in_next_version } = decided;
  return fault.state_since > (state_since ?? "") && fault.state !== state ? fault : { ...fault, state, state_since, by, until, in_next_version };
}

function Filters({ state, instance, sort, search, from }) {
  const { data } = usePolled((signal) => get("instances", {}, { signal }), "instances", 60_000);
  const names = (data?.instances ?? []).map(({ name }) => name);
  const states = state.split(",");
  const flip = (name) => {
    const next = STATES.filter((it) => (it === name ? !states.includes(it) : states.includes(it)));
    // None of them would be all of them, which nobody means who takes the last one away.
    if (next.length > 0) change({ state: next.join(",") === OPEN_STATES.join(",") ? undefined : next.join(","), cursor: undefined });
  };
  const set = (name) => (event) => change({ [name]: event.target.value || undefined, cursor: undefined });
  const write = (event) => change({ search: event.target.value || undefined, cursor: undefined }, { replace: true });
  return html`
    <div class="bar" role="search" aria-label="Faults">
      <input type="search" data-search class="fault-search" placeholder="Title, module, node, version…  ( / )" aria-label="Search" value=${search} onInput=${write} />
      <span class="choices" role="group" aria-label="States">
        ${STATES.map((name) => html`<button key=${name} aria-pressed=${states.includes(name)} onClick=${() => flip(name)}>${name}</button>`)}
      </span>
      <label class="field">of <select value=${instance} onChange=${set("instance")}>
        <option value="">all instances</option>
        ${[...new Set([...names, ...(instance === "" ? [] : [instance])])].map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
      </select></label>
      <label class="field">seen in <select value=${from} onChange=${set("from")}>
        ${(SINCE.some(([value]) => value === from) ? SINCE : [...SINCE, [from, from]]).map(([value, label]) => html`<option key=${value} value=${value}>${label}</option>`)}
      </select></label>
      <label class="field">sorted by <select value=${sort} onChange=${set("sort")}>
        ${SORTS.map(([value, label]) => html`<option key=${value} value=${value}>${label}</option>`)}
      </select></label>
    </div>
  `;
}

function Table({ rows, at, selected, toggle, all, moved }) {
  const decides = may("admin");
  const every = rows.every(({ id }) => selected.has(id));
  const some = !every && rows.some(({ id }) => selected.has(id));
  const hasDays = rows[0].last_day !== undefined;
  return html`
    <table class="faults" onPointerMove=${moved}>
      <caption class="unseen">Faults, with how often and where they occur</caption>
      <thead>
        <tr>
          ${decides && html`<th><input type="checkbox" aria-label="Select all" checked=${every} indeterminate=${some} onChange=${() => all(every ? [] : rows.map(({ id }) => id))} /></th>`}
          <th scope="col">Fault</th>
          <th scope="col">State</th>
          <th scope="col" class="more">${hasDays ? "Last 24 hours" : "Last hour"}</th>
          <th scope="col" class="number more" title="Of the last five minutes">A minute</th>
          <th scope="col" class="number more">Count</th>
          <th scope="col" class="more">Nodes</th>
          <th scope="col" class="more">First seen</th>
          <th scope="col" class="more">Last seen</th>
        </tr>
      </thead>
      <tbody>
        ${rows.map((fault) => html`<${Row} key=${fault.id} fault=${fault} decides=${decides} isHere=${fault.id === at} isSelected=${selected.has(fault.id)} toggle=${toggle} />`)}
      </tbody>
    </table>
  `;
}

function Row({ fault, decides, isHere, isSelected, toggle }) {
  const now = ratePerMinute(fault.last_hour);
  const title = brief(fault.title, 300);
  const counts = fault.last_day ?? fault.last_hour;
  const sum = counts.reduce((sum, one) => sum + one, 0);
  return html`
    <tr id=${`fault-${fault.id}`} class=${`${isHere ? "here" : ""} ${isSelected ? "chosen" : ""}`}>
      ${decides && html`<td><input type="checkbox" aria-label=${`Select ${title}`} checked=${isSelected} onChange=${() => toggle(fault.id)} /></td>`}
      <td class="title">
        <${Link} to=${{ page: "fault", id: fault.id }}>${title}<//>
        <div class="quiet small">
          <code>${fault.id}</code> ${fault.level !== "error" && html`<${Level} level=${fault.level} /> `}<span>${fault.kind} in ${fault.instance}</span>${version(fault)}
        </div>
        <div class="less small">
          <span class="number">${count(fault.count)} times</span>, last <${Moment} at=${fault.last_seen_micros} as="ago" />${now > 0 && `, ${rate(now)} a minute`}
        </div>
      </td>
      <td class="state"><${State} state=${fault.state} /><div class="small"><${StateNote} fault=${fault} /></div></td>
      <td class="more"><${Sparkline} counts=${counts} label=${`${count(sum)} in the last ${fault.last_day ? "24 hours" : "hour"}`} /></td>
      <td class="number more">${now === 0 ? html`<span class="quiet">0</span>` : rate(now)}</td>
      <td class="number more">${count(fault.count)}</td>
      <td class="more nodes"><${Nodes} nodes=${fault.nodes} /></td>
      <td class="more time"><${Moment} at=${fault.first_seen_micros} as="ago" /></td>
      <td class="more time"><${Moment} at=${fault.last_seen_micros} as="ago" /></td>
    </tr>
  `;
}

function version({ first_version: first, last_version: last }) {
  if (first === null && last === null) return null;
  const of = last ?? first;
  const text = first !== null && last !== null && first.version !== last.version
    ? `${of.application} ${first.version} to ${last.version}`
    : `${of.application} ${of.version}`;
  return html`, <span>${brief(text, 100)}</span>`;
}

/** The two nodes on which it occurs most, and how many others. */
function Nodes({ nodes }) {
  const names = Object.entries(nodes).sort(([, a], [, b]) => b - a).map(([name]) => name);
  return html`
    ${names.slice(0, 2).map((name) => html`<div key=${name}>${brief(name, 60)}</div>`)}
    ${names.length > 2 && html`<div class="quiet">and ${names.length - 2} more</div>`}
  `;
}

function Nothing({ state, search, cursor, isMore }) {
  if (search !== "") return html`<p class="empty">No fault with “${search}” in it${isMore ? " among these. There are more behind them." : " in these states."}</p>`;
  if (cursor !== "") return html`<p class="empty">There are no more faults.</p>`;
  if (state === STATES.join(",")) return html`<p class="empty">No fault at all: nothing of level error was logged yet.</p>`;
  return html`<p class="empty">No fault is ${state.split(",").join(" or ")}. <button onClick=${() => change({ state: STATES.join(",") })}>Show all states</button></p>`;
}

function Pages({ data, shown, search, cursor }) {
  const asked = data.faults.length;
  const said = [
    search !== "" && data.next !== null && `Searched ${count(asked)} of them.`,
    shown > MAX_ROWS && `${count(MAX_ROWS)} of ${count(shown)} are shown: search for less.`,
  ].filter(Boolean);
  if (said.length === 0 && data.next === null && cursor === "") return null;
  return html`
    <div class="bar pages">
      ${cursor !== "" && html`<button onClick=${() => change({ cursor: undefined })}>First page</button>`}
      ${data.next !== null && html`<button onClick=${() => change({ cursor: data.next })}>Next ${count(search === "" ? LIMIT : SEARCH_LIMIT)}</button>`}
      <span class="quiet">${said.join(" ")}</span>
    </div>
  `;
}
