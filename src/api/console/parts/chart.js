// Charts over time, drawn by uPlot in the colours of the page.

import { html, useEffect, useRef } from "../html.js";
import { theme, zone } from "../preferences.js";
import { useStore } from "../store.js";
import uPlot from "../vendor/uplot.js";

/** A colour of the page: `--accent`. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

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
      axes: (own.axes ?? [{}, {}]).map((one) => ({ ...axis, font: "11px system-ui", ...one })),
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
