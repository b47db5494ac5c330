// Charts over time, drawn by uPlot in the colours of the page.

import { html, useEffect, useRef } from "../html.js";
import { day, timeOfDay } from "../format.js";
import { theme, zone } from "../preferences.js";
import { useStore } from "../store.js";
import uPlot from "../vendor/uplot.js";

/** A colour of the page: `--accent`. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A moment at the axis, as exact as the steps between. */
function tick(at, zone, step) {
  if (step >= 86_400) return day(at, zone).slice(5);
  const time = timeOfDay(at, zone);
  if (step >= 60) return time.slice(0, 5);
  return step >= 1 ? time.slice(0, 8) : time;
}

/**
 * A chart. `data`: uPlot's, `[[seconds, ...], [value, ...], ...]`. `options()`: uPlot's, without size; it is asked again when `shape`
 * or the colours change, else only the data does. `label`: what it says, for those who do not see it.
 */
export function Chart({ data, options, shape = "", height = 160, label }) {
  const place = useRef(null);
  const chart = useRef(null);
  const shown = useStore(theme);
  const times = useStore(zone);

  useEffect(() => {
    const node = place.current;
    // It may be gone before it was painted.
    if (node === null) return undefined;
    const width = () => Math.max(100, node.clientWidth);
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    // Moments that tell milliseconds are longer.
    const clock = { space: (_, __, begin, end) => (end - begin < 20 ? 90 : 60), values: (_, splits, __, ___, step) => splits.map((at) => tick(at * 1e6, times, step)) };
    const own = options();
    const made = new uPlot({
      width: width(),
      height,
      tzDate: (seconds) => times === "utc" ? uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : new Date(seconds * 1000),
      legend: { show: false },
      ...own,
      axes: (own.axes ?? [{}, {}]).map((one, number) => ({ ...axis, ...(number === 0 ? clock : {}), font: "11px system-ui", ...one })),
    }, data, node);
    chart.current = made;
    const sized = new ResizeObserver(() => made.setSize({ width: width(), height }));
    sized.observe(node);
    return () => {
      sized.disconnect();
      made.destroy();
      chart.current = null;
    };
  }, [shape, height, shown, times]);

  useEffect(() => {
    if (chart.current !== null && chart.current.data !== data) chart.current.setData(data);
  }, [data]);

  return html`<div class="chart" ref=${place} role="img" aria-label=${label}></div>`;
}
