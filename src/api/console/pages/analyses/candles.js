// Candles, for uPlot: a box from open to close, hollow if it rose and filled if it fell, with a line from low to high.

import { colour } from "../../parts/chart.js";

/** The share of a window's width that its box takes, and how wide it is at most. */
const SHARE = 0.7;
const WIDEST = 24;

/** Draws the columns open, high, low, close of a chart whose windows are so many seconds apart. */
export function candles(seconds) {
  return { hooks: { draw: (chart) => draw(chart, seconds) } };
}

function draw(chart, seconds) {
  const { ctx, data, scales } = chart;
  const [times, open, high, low, close] = data;
  const x = (value) => chart.valToPos(value, "x", true);
  const y = (value) => chart.valToPos(value, "y", true);
  const ratio = devicePixelRatio;
  const room = Math.abs(x(scales.x.min + seconds) - x(scales.x.min));
  const width = Math.max(1, Math.min(WIDEST * ratio, Math.floor(room * SHARE)));
  const colours = { up: colour("--up"), down: colour("--down") };
  ctx.save();
  ctx.beginPath();
  ctx.rect(chart.bbox.left, chart.bbox.top, chart.bbox.width, chart.bbox.height);
  ctx.clip();
  ctx.lineWidth = Math.max(1, Math.round(ratio));
  times.forEach((time, at) => {
    if ([open, high, low, close].some((column) => typeof column[at] !== "number")) return;
    const rose = close[at] >= open[at];
    ctx.strokeStyle = ctx.fillStyle = rose ? colours.up : colours.down;
    const middle = Math.round(x(time));
    const top = Math.round(y(Math.max(open[at], close[at])));
    const bottom = Math.max(top + 1, Math.round(y(Math.min(open[at], close[at]))));
    const line = (from, to) => {
      ctx.beginPath();
      ctx.moveTo(middle, from);
      ctx.lineTo(middle, to);
      ctx.stroke();
    };
    line(y(high[at]), top);
    line(bottom, y(low[at]));
    const left = middle - Math.floor(width / 2);
    if (rose && width > 2 * ratio) ctx.strokeRect(left, top, width, bottom - top);
    else ctx.fillRect(left, top, width, bottom - top);
  });
  ctx.restore();
}
