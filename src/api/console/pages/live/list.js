// The entries, of which only those in sight are drawn: as many as the page holds can be scrolled through.

import { html, useEffect, useLayoutEffect, useRef, useState } from "../../html.js";
import { day, timeOfDay } from "../../format.js";
import { zone } from "../../preferences.js";
import { useStore } from "../../store.js";

/** Rows drawn beyond those in sight. */
const MARGIN = 12;

/** Older and newer ones are asked for when fewer rows than these are left in that direction. */
const AHEAD = 80;

/** `isHeld`: the reader wants the list to stand still. `drawn` changes whenever the log has. */
export function List({ log, drawn, isHeld, selected, onSelect, onOpen }) {
  const place = useRef(null);
  const shown = useRef({ shift: 0, log: null, sticks: true, isPlaced: false });
  const [sight, setSight] = useState({ top: 0, height: 600, row: 24 });
  const times = useStore(zone);

  useEffect(() => {
    const list = place.current;
    // It may be gone before it was painted.
    if (list === null) return undefined;
    const measure = () => {
      const row = parseFloat(getComputedStyle(list).getPropertyValue("--row"));
      setSight((sight) => ({ ...sight, height: list.clientHeight, row }));
    };
    const sized = new ResizeObserver(measure);
    sized.observe(list);
    return () => sized.disconnect();
  }, []);

  // Before it is painted: what came in front, or went there, moves nothing that is in sight.
  useLayoutEffect(() => {
    const list = place.current;
    const state = shown.current;
    if (state.log !== log) Object.assign(state, { log, shift: log.shift, sticks: !log.isAnchored, isPlaced: false });
    if (!state.isPlaced && log.rows.length > 0 && !log.isLoading) {
      state.isPlaced = true;
      state.shift = log.shift;
      if (log.isAnchored) {
        list.scrollTop = log.anchor === undefined ? 0 : log.rows.find(log.anchor) * sight.row - list.clientHeight / 2;
      }
    }
    if (state.sticks && !isHeld) list.scrollTop = list.scrollHeight;
    else if (log.shift !== state.shift) list.scrollTop += (log.shift - state.shift) * sight.row;
    state.shift = log.shift;
    look();
  }, [log, drawn, log.shift, isHeld, sight.row, sight.height]);

  const look = () => {
    const list = place.current;
    const { scrollTop: top, clientHeight: height, scrollHeight } = list;
    const isAtEnd = scrollHeight - top - height < 2 * sight.row;
    if (shown.current.isPlaced) shown.current.sticks = isAtEnd && (log.isLive || !log.isAnchored);
    const isWatched = !isHeld && isAtEnd && log.isLive;
    if (isWatched !== log.isWatched && !log.isLoading) log.isWatched = isWatched;
    if (top < AHEAD * sight.row) log.older();
    if (scrollHeight - top - height < AHEAD * sight.row) log.newer();
    setSight((sight) => (sight.top === top && sight.height === height ? sight : { ...sight, top, height }));
  };

  // What is selected by key is in sight.
  useEffect(() => {
    if (selected === null || log.rows.length === 0) return;
    const list = place.current;
    const index = log.rows.find(selected);
    if (log.rows.at(index)?.at !== selected) return;
    const [top, bottom] = [index * sight.row, (index + 1) * sight.row];
    if (top < list.scrollTop) list.scrollTop = top;
    else if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight;
  }, [selected]);

  // Where there is room for what comes it is not shown either while the list stands still.
  const total = log.rows.length - (isHeld ? log.held : 0);
  const first = Math.max(0, Math.floor(sight.top / sight.row) - MARGIN);
  const last = Math.min(total, Math.ceil((sight.top + sight.height) / sight.row) + MARGIN);
  const today = day(Date.now() * 1000, times);
  const isSelectedDrawn = log.rows.slice(first, last).some(({ at }) => at === selected);
  return html`
    <div class="rows" ref=${place} onScroll=${look} data-rows role="listbox" tabindex="0" aria-label="Entries, oldest first"
      aria-activedescendant=${isSelectedDrawn ? `row-${selected}` : undefined}>
      <div class="rows-all" role="presentation" style=${{ height: `${total * sight.row}px` }}>
        ${log.rows.slice(first, last).map((row, number) => html`
          <${Row} key=${row.at} row=${row} index=${first + number} height=${sight.row} total=${total} isSelected=${row.at === selected}
            today=${today} zone=${times} onSelect=${onSelect} onOpen=${onOpen} />
        `)}
      </div>
    </div>
  `;
}

function Row({ row, index, height, total, isSelected, today, zone, onSelect, onOpen }) {
  const { at, level, kind, node, text } = row;
  const on = day(at, zone);
  return html`
    <div class=${`row ${level ?? "none"}${isSelected ? " selected" : ""}`} id=${`row-${at}`} data-at=${at} role="option" aria-selected=${isSelected}
      aria-posinset=${index + 1} aria-setsize=${total} style=${{ transform: `translateY(${index * height}px)` }}
      onClick=${() => { onSelect(at); onOpen(at); }}>
      <span class="row-time">${on === today ? "" : `${on.slice(5)} `}${timeOfDay(at, zone)}</span>
      <span class=${`level ${level ?? "none"}`}>${level ?? "event"}</span>
      <span class="row-node">${node ?? ""}</span>
      <span class="row-text">${kind !== null && kind !== "log" && html`<span class="row-kind">${kind}</span> `}${text}</span>
    </div>
  `;
}
