// The segments of an instance: over time, and as a list.

import { html, useMemo, useState } from "../../html.js";
import { bytes, count, micros, moment, span } from "../../format.js";
import { Link, go } from "../../location.js";
import { Moment } from "../../parts/moment.js";
import { Scroll } from "../../parts/scroll.js";
import { brief } from "../../parts/text.js";
import { zone } from "../../preferences.js";
import { useStore } from "../../store.js";

/** How many are listed at first. */
const SHOWN = 10;

/** The timeline's own units: it is stretched to the width there is. */
const WIDE = 1000;
const TALL = 64;

/** Where each segment is on a line of time: `{segment, x, width, height}`, of those that hold something; the oldest first. */
export function bars(segments) {
  const filled = segments.filter(({ first }) => first !== null).reverse();
  if (filled.length === 0) return [];
  const begin = micros(filled[0].first);
  const whole = Math.max(1, ...filled.map(({ last }) => micros(last) - begin));
  const largest = Math.max(...filled.map((segment) => segment.bytes));
  return filled.map((segment) => {
    const x = ((micros(segment.first) - begin) / whole) * WIDE;
    const end = ((micros(segment.last) - begin) / whole) * WIDE;
    // Neighbours are told apart, and none is too small to be seen.
    const width = Math.max(1.5, end - x - 1);
    return { segment, x: Math.min(x, WIDE - width), width, height: Math.max(3, (segment.bytes / largest) * TALL) };
  });
}

const stretchOf = (instance, { first, last }) => ({ page: "live", instance, from: micros(first), to: micros(last) });

/** What a segment is shown as. */
const KINDS = ["live", "rotated", "archived", "damaged"];

function kindOf({ state, damaged, unreadable }) {
  return state === "missing" || damaged > 0 || unreadable !== null ? "damaged" : state;
}

export function Timeline({ instance, segments }) {
  const times = useStore(zone);
  const shown = useMemo(() => bars(segments), [segments]);
  if (shown.length === 0) return html`<p class="empty">Nothing is recorded yet.</p>`;
  const [first, last] = [shown[0].segment.first, shown.at(-1).segment.last].map(micros);
  const title = ({ segment }) => `${segment.state}, ${count(segment.events)} entries, ${bytes(segment.disk_bytes)}\n${moment(micros(segment.first), times)} to ${moment(micros(segment.last), times)}`;
  return html`
    <svg class="timeline" viewBox=${`0 0 ${WIDE} ${TALL}`} height=${TALL} preserveAspectRatio="none" role="img" aria-label=${`${count(shown.length)} segments over ${span(Math.max(1, (last - first) / 1e6))}`}>
      ${shown.map((bar) => html`
        <rect key=${bar.segment.name} class=${`segment-${kindOf(bar.segment)}`} x=${bar.x} width=${bar.width} y=${TALL - bar.height} height=${bar.height} onClick=${() => go(stretchOf(instance, bar.segment))}>
          <title>${title(bar)}</title>
        </rect>
      `)}
    </svg>
    <div class="timeline-ends quiet"><${Moment} at=${first} /><${Moment} at=${last} /></div>
    <div class="legend">
      ${KINDS.filter((kind) => shown.some(({ segment }) => kindOf(segment) === kind)).map((kind) => html`<span key=${kind} class=${`segment-${kind}`}>${kind}</span>`)}
      <span class="why">Each from its first entry to its last, as high as it is large</span>
    </div>
  `;
}

export function SegmentList({ instance, segments, hasMore }) {
  const [isAll, setAll] = useState(false);
  const shown = isAll ? segments : segments.slice(0, SHOWN);
  return html`
    <${Scroll} label="Segments">
      <table class="many">
        <thead><tr>
          <th scope="col">Segment</th><th scope="col">State</th><th scope="col">From</th><th scope="col">For</th>
          <th scope="col" class="number">Entries</th><th scope="col" class="number">Unpacked</th><th scope="col" class="number">On disk</th><th scope="col">Checked</th>
        </tr></thead>
        <tbody>${shown.map((segment) => html`<${Segment} key=${segment.name} instance=${instance} segment=${segment} />`)}</tbody>
      </table>
    <//>
    ${segments.length > SHOWN && html`<button onClick=${() => setAll(!isAll)}>${isAll ? "Show fewer" : `Show all ${count(segments.length)}`}</button>`}
    ${hasMore && html` <span class="quiet">and older ones</span>`}
  `;
}

function Segment({ instance, segment }) {
  const { name, state, first, last, events, scrubbed } = segment;
  return html`
    <tr>
      <th scope="row" class="mono">${name}</th>
      <td><span class=${`badge ${state === "missing" ? "failed" : state === "live" ? "running" : ""}`}>${state}</span><${Damage} segment=${segment} /></td>
      <td>${first !== null && html`<${Link} to=${stretchOf(instance, segment)}><${Moment} at=${first} /><//>`}</td>
      <td>${first !== null && span((micros(last) - micros(first)) / 1e6)}</td>
      <td class="number">${count(events)}</td>
      <td class="number">${bytes(segment.bytes)}</td>
      <td class="number">${bytes(segment.disk_bytes)}</td>
      <td>${scrubbed === null ? html`<span class="quiet">${state === "live" ? "" : "not yet"}</span>` : html`<${Moment} at=${scrubbed} as="ago" />`}</td>
    </tr>
  `;
}

/** Where a segment is damaged, and why it can't be read. */
export function Damage({ segment: { damage, damaged, unreadable } }) {
  return html`
    ${unreadable !== null && html`<div class="why bad">cannot be read: ${brief(unreadable)}</div>`}
    ${damage.map(({ position, bytes: size, accepted }) => html`<div key=${position} class=${`why ${accepted ? "" : "bad"}`}>${bytes(size)} at ${count(position)}${accepted ? ", accepted" : ""}</div>`)}
    ${damaged > damage.length && html`<div class="why bad">and ${count(damaged - damage.length)} places more</div>`}
  `;
}
