// How many entries there were, over time, by level: to see when something happened, and to choose that stretch.

import { html, useMemo } from "../../html.js";
import { count } from "../../format.js";
import { LEVELS } from "../../parts/level.js";
import { Chart, colour } from "../../parts/chart.js";
import uPlot from "../../vendor/uplot.js";
import { GROUPS } from "./bins.js";

/** `version` changes whenever there is something new to draw. `onRange(from, to)`: a stretch was chosen, in microseconds. */
export function Histogram({ bins, from, to, version, onRange }) {
  const data = useMemo(() => {
    const [times, ...sums] = bins.stacked(from, to);
    // The largest sum is drawn first, and smaller ones over it.
    return [times, ...sums.reverse()];
  }, [bins, from, to, version]);
  const step = bins.step / 1e6;

  const options = () => ({
    cursor: { drag: { x: true, y: false, setScale: false, dist: 5 }, points: { show: false }, y: false },
    scales: {
      x: { time: true, range: (chart) => [chart.data[0][0] ?? 0, (chart.data[0].at(-1) ?? 0) + step] },
      y: { range: (_, __, most) => [0, Math.max(1, most ?? 1) * 1.05] },
    },
    padding: [6, 0, 0, 0],
    axes: [{ size: 26, grid: { show: false } }, { size: 44, grid: { show: false }, splits: (_, __, ___, most) => [0, Math.ceil(most / 1.05)], values: (_, ticks) => ticks.map((tick) => count(tick)) }],
    series: [
      {},
      ...[...GROUPS].reverse().map((level) => ({
        label: level,
        fill: colour(`--${level}`),
        width: 0,
        points: { show: false },
        paths: uPlot.paths.bars({ size: [0.86, Infinity], align: 1 }),
      })),
    ],
    hooks: {
      setSelect: [(chart) => {
        const { left, width } = chart.select;
        if (width === 0) return;
        const at = (x) => Math.round(chart.posToVal(x, "x") * 1e6);
        chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        onRange(at(left), at(left + width));
      }],
    },
  });

  const [all, severe] = totals(data);
  const label = `${count(all)} entries, of which ${count(severe)} of level error or worse. Drag to choose a stretch of time.`;
  return html`<${Chart} data=${data} options=${options} shape=${String(bins.step)} height=${96} label=${label} />`;
}

function totals(data) {
  const sum = (values) => values.reduce((sum, value) => sum + value, 0);
  return [sum(data[1]), sum(data.at(-1 - LEVELS.indexOf("error")))];
}
