// Charts over time, drawn by uPlot in the colours of the page.

import { html, useEffect, useRef } from "../html.js";
import { theme, zone } from "../preferences.js";
import { useStore } from "../store.js";
import uPlot from "../vendor/uplot.js";

/** A colour of the page: `--accent`. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Times at the axis, of 24 hours: `[seconds between two, how, how where a day begins ...]`, as uPlot has them. */
const TIMES = [
  [86_400, "{YYYY}-{MM}-{DD}", null, null, null, null, null, null, 1],
  [60, "{HH}:{mm}", null, null, "\n{YYYY}-{MM}-{DD}", null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", null, null, "\n{YYYY}-{MM}-{DD}", null, null, null, 1],
  [0.001, "{ss}.{fff}", null, null, "\n{HH}:{mm}", null, "\n{HH}:{mm}", null, 1],
];

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
    const width = () => Math.max(100, place.current.clientWidth);
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    const own = options();
    const made = new uPlot({
      width: width(),
      height,
      tzDate: (seconds) => times === "utc" ? uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : new Date(seconds * 1000),
      fmtDate: uPlot.fmtDate,
      legend: { show: false },
      ...own,
      axes: (own.axes ?? [{}, {}]).map((one, at) => ({ ...axis, font: "11px system-ui", ...(at === 0 && { values: TIMES }), ...one })),
    }, data, place.current);
    chart.current = made;
    const sized = new ResizeObserver(() => made.setSize({ width: width(), height }));
    sized.observe(place.current);
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
