// How much comes to an instance, as a chart that goes on.

import { html, useMemo } from "../../html.js";
import { bytes, rate } from "../../format.js";
import { Chart, colour } from "../../parts/chart.js";
import { now, series } from "../../rates.js";

/** How far back it goes, in seconds. */
const BACK = 300;

/** What is between two ticks of bytes. */
const POWERS = Array.from({ length: 50 }, (_, exponent) => 2 ** exponent);

const wholeBytes = (number) => bytes(Math.round(number));

/** `samples`: of the instance's counters; `at`: when the last one was taken, in milliseconds. */
export function Pace({ samples, at }) {
  const data = useMemo(() => [
    samples.slice(1).map((sample) => sample.at / 1000),
    series(samples, "received"),
    series(samples, "received_bytes"),
  ], [samples, at]);
  const options = () => ({
    cursor: { drag: { x: false, y: false }, points: { size: 6 } },
    scales: {
      x: { time: true, range: () => [Date.now() / 1000 - BACK, Date.now() / 1000] },
      y: { range: (_, __, most) => [0, Math.max(1, most ?? 0) * 1.1] },
      bytes: { range: (_, __, most) => [0, Math.max(1024, most ?? 0) * 1.1] },
    },
    axes: [
      { size: 28 },
      { size: 48, values: (_, ticks) => ticks.map(rate) },
      { side: 1, scale: "bytes", size: 60, grid: { show: false }, incrs: POWERS, values: (_, ticks) => ticks.map(wholeBytes) },
    ],
    series: [
      {},
      { label: "events/s", stroke: colour("--accent"), width: 1.5, fill: `color-mix(in srgb, ${colour("--accent")} 15%, transparent)`, points: { show: false } },
      { label: "bytes/s", scale: "bytes", stroke: colour("--notice"), width: 1.5, points: { show: false } },
    ],
  });
  const [events, size] = [now(samples, "received"), now(samples, "received_bytes")];
  const words = events === null ? "…" : `${rate(events)} events/s, ${wholeBytes(size)}/s`;
  return html`
    <div class="legend"><span class="line-accent">events/s</span><span class="line-notice">bytes/s</span><span class="grow"></span><strong>${words}</strong></div>
    <${Chart} data=${data} options=${options} height=${220} label=${`What comes, over the last minutes: now ${words}`} />
  `;
}
