// The log as it comes, and as it was: a histogram, the entries, one of them opened.

import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { count, moment, parseMoment, rate } from "../format.js";
import { useKeys } from "../keys.js";
import { Link, change, go, useHere } from "../location.js";
import { zone } from "../preferences.js";
import { useStore } from "../store.js";
import { Problem } from "../parts/problem.js";
import { Entry } from "./live/entry.js";
import { Chip, FILTERS, Filters } from "./live/filters.js";
import { Histogram } from "./live/histogram.js";
import { List } from "./live/list.js";
import { Log } from "./live/log.js";

/** The page is drawn anew that often at most, however much comes. */
const DRAW_MILLIS = 100;

/** Stretches of the past that the histogram shows. */
const SPANS = [["5 min", 300], ["15 min", 900], ["1 h", 3600], ["6 h", 21_600], ["1 d", 86_400], ["7 d", 604_800]];

export function Live() {
  const here = useHere();
  const times = useStore(zone);
  const instance = here.instance ?? "error_logger";
  const at = here.at === undefined ? undefined : Number(here.at);
  const [from, to] = ["from", "to"].map((name) => (here[name] === undefined ? undefined : parseMoment(here[name], times) ?? undefined));
  const span = Number(here.span ?? 900);
  const filters = Object.fromEntries(FILTERS.map((name) => [name, here[name]]));
  const { log, drawn, again } = useLog({ instance, filters, from, to, at, span: span * 1e6 }, [here.from, here.to]);
  const [selected, setSelected] = useState(at ?? null);
  const [isHeld, setHeld] = useState(false);

  const open = (at) => change({ at }, { replace: here.at !== undefined });
  const close = () => {
    if (here.at === undefined) return false;
    change({ at: undefined });
  };
  const live = () => {
    setHeld(false);
    setSelected(null);
    go({ page: "live", instance, ...filters, span: here.span });
    // Also where the address is that already.
    again();
  };
  const move = (step) => () => {
    const { rows } = log;
    const length = rows.length - (isHeld ? log.held : 0);
    if (length === 0) return;
    const index = selected === null ? length - (step > 0 ? 1 : 0) : rows.find(selected);
    const next = rows.at(Math.max(0, Math.min(length - 1, index + (selected === null && step > 0 ? 0 : step))));
    setSelected(next.at);
    if (here.at !== undefined) open(next.at);
  };
  useKeys({
    j: move(1),
    k: move(-1),
    ArrowDown: move(1),
    ArrowUp: move(-1),
    o: () => (selected === null ? false : open(selected)),
    Enter: () => (selected === null ? false : open(selected)),
    Escape: close,
    ".": live,
    p: () => setHeld(!isHeld),
  });

  return html`
    <main class="live" id="content">
      <h1 class="unseen">Live: ${instance}</h1>
      <div class="live-head">
        <${Filters} instance=${instance} error=${log.error} />
        <div class="bar live-bar">
          <${Jump} instance=${instance} />
          <select aria-label="Stretch of the histogram" value=${String(span)} onChange=${(event) => change({ span: event.target.value === "900" ? undefined : event.target.value, from: undefined, to: undefined })}>
            ${SPANS.map(([name, seconds]) => html`<option key=${name} value=${String(seconds)}>${name}</option>`)}
          </select>
          ${(from !== undefined || to !== undefined) && html`
            <${Chip} label=${`${from === undefined ? "" : `from ${moment(from, times)} `}${to === undefined ? "" : `to ${moment(to, times)}`}`} onRemove=${() => change({ from: undefined, to: undefined, at: undefined })} />
          `}
          ${from !== undefined && to !== undefined && html`<${Link} class="button" to=${{ page: "explain", instance, from, to }}>Explain this<//>`}
          <span class="grow"></span>
          <span class="quiet live-state">${state(log)}</span>
          <button aria-pressed=${isHeld} onClick=${() => setHeld(!isHeld)}>${isHeld ? "Go on" : "Pause"}</button>
          <button aria-pressed=${log.isLive && log.isWatched && !isHeld} onClick=${live}>Live</button>
        </div>
        <div class="histogram">${log.bins && html`<${Counted} log=${log} drawn=${drawn} onRange=${(from, to) => change({ from, to, at: undefined })} />`}</div>
      </div>
      <${Problem} error=${log.error} again=${again} />
      <div class=${`live-body${at === undefined ? "" : " opened"}`}>
        <div class="live-list">
          <${List} log=${log} drawn=${drawn} isHeld=${isHeld} selected=${selected} onSelect=${setSelected} onOpen=${open} />
          ${log.rows.length === 0 && !log.isLoading && log.error === null && html`<${Nothing} instance=${instance} filters=${filters} />`}
          ${log.unseen > 0 && html`<button class="primary new" data-new onClick=${live}>${count(log.unseen)} new</button>`}
        </div>
        ${at !== undefined && html`<${Entry} key=${`${instance}/${at}`} instance=${instance} at=${at} onClose=${close} />`}
      </div>
    </main>
  `;
}

/** The log of a selection, and a number that changes whenever it has. `written`: the moments as they stand in the address. */
function useLog(selection, written) {
  const [drawn, setDrawn] = useState(0);
  const [round, setRound] = useState(0);
  const key = JSON.stringify([selection.instance, selection.filters, written, selection.span, round]);
  const current = useRef({ key: null, log: null });
  const { at } = selection;
  const { rows, isLoading } = current.current.log ?? {};
  const isElsewhere = at !== undefined && current.current.key === key && !isLoading && rows.at(rows.find(at))?.at !== at && current.current.at !== at;
  if (current.current.key !== key || isElsewhere) {
    current.current.log?.close();
    const log = new Log(selection, () => schedule());
    current.current = { key, log, at };
  }
  const timer = useRef(null);
  const schedule = () => {
    timer.current ??= setTimeout(() => {
      timer.current = null;
      setDrawn((drawn) => drawn + 1);
    }, DRAW_MILLIS);
  };
  useEffect(() => {
    const clock = setInterval(() => {
      current.current.log.measure();
      if (!document.hidden) setDrawn((drawn) => drawn + 1);
    }, 1000);
    return () => {
      clearInterval(clock);
      clearTimeout(timer.current);
      current.current.log.close();
    };
  }, []);
  return { log: current.current.log, drawn, again: () => setRound((round) => round + 1) };
}

/** The histogram follows the clock where it has no end, a step at a time. */
function Counted({ log, drawn, onRange }) {
  const { from, to, isOpen } = log.counted;
  const step = log.bins.step;
  const end = isOpen ? Math.max(to, Math.floor((Date.now() * 1000) / step) * step) : to;
  const begin = isOpen && log.isSliding ? from + (end - to) : from;
  if (isOpen) log.bins.forget(begin - step);
  const version = useMemo(() => ({}), [Math.floor(drawn / 5), log.isCounting, end]);
  return html`
    <${Histogram} bins=${log.bins} from=${begin} to=${end} version=${version} onRange=${onRange} />
    ${log.isCounting && html`<span class="unseen" role="status">Counting</span>`}
  `;
}

function state(log) {
  if (log.isLoading) return "loading…";
  const held = `${count(log.rows.length)} entries`;
  return log.isLive ? `${rate(log.pace)}/s · ${held}` : held;
}

function Jump({ instance }) {
  const times = useStore(zone);
  const [isWrong, setWrong] = useState(false);
  const jump = (event) => {
    event.preventDefault();
    const field = event.target.elements.moment;
    const found = parseMoment(field.value, times);
    setWrong(found === null);
    if (found === null) return;
    field.value = "";
    change({ at: undefined, from: found, to: undefined });
  };
  return html`
    <form class="jump" onSubmit=${jump}>
      <input name="moment" aria-label="Jump to a time" aria-invalid=${isWrong} placeholder="jump to: 14:02, 15m, 2026-11-29 14:02" autocomplete="off"
        title=${isWrong ? "Write 14:02, 15m (ago), 2026-11-29 14:02:11 or microseconds since 1970" : undefined} />
    </form>
  `;
}

function Nothing({ instance, filters }) {
  const isFiltered = Object.values(filters).some((value) => value !== undefined);
  return html`
    <div class="empty">
      ${isFiltered
        ? html`Nothing in ${instance} matches. <button onClick=${() => go({ page: "live", instance })}>Remove the filters</button>`
        : html`Nothing is in ${instance} yet. What nodes report appears here by itself.`}
    </div>
  `;
}
