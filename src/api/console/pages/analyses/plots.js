// The windows of an analysis as charts: candles if they are some, and a line for each value that is none of a candle.

import { html, useMemo, useState } from "../../html.js";
import { Chart, colour } from "../../parts/chart.js";
import { Moment } from "../../parts/moment.js";
import { brief } from "../../parts/text.js";
import { candles } from "./candles.js";
import { CANDLE, columns, figure, isCandle, number } from "./windows.js";

const axisFigures = (_, ticks) => ticks.map((tick) => figure(tick));

/** The ranges of charts: of prices, which are looked at for how they move; and of what is counted, from nothing on, unless that is far away. */
const around = (least, most) => [least - ROOM * (most - least || 1), most + ROOM * (most - least || 1)];
const fromNothing = (least, most) => (least >= 0 && least <= FAR * most ? [0, (most || 1) * (1 + ROOM)] : around(least, most));

/** The share of a chart that is left free above and below what is drawn. */
const ROOM = 0.06;

/** The share of the largest number that the least one has to be at for nothing to be far away. */
const FAR = 0.5;

const KEY = "windows";

/** What all charts of a page have in common: one time, one cursor, and room for numbers. */
const common = (every, range, onCursor) => ({
  cursor: { drag: { x: false, y: false }, points: { size: 6 }, sync: { key: KEY, setSeries: false } },
  scales: {
    x: { time: true, range: (_, first, last) => (first === null ? [0, 1] : [first - every / 2, last + every / 2]) },
    y: { range: (_, least, most) => (least === null ? [0, 1] : range(least, most)) },
  },
  axes: [{ size: 28 }, { size: 64, values: axisFigures }],
  hooks: { setCursor: [(chart) => onCursor(chart.cursor.idx ?? null)] },
});

/** `windows`: oldest first; `names`: of the values; `every`: how far it is from one window to the next, in seconds. */
export function Plots({ windows, names, every }) {
  const [at, setAt] = useState(null);
  const { times, prices, lines } = useMemo(() => plots(windows, names, every), [windows, names, every]);
  const hovered = at === null ? undefined : windows.find(({ from }) => from / 1e6 === times[at]);
  const told = hovered ?? windows.at(-1);
  return html`
    <div class="legend told">
      <span><${Moment} at=${told.from} /></span>
      ${names.map((name) => told.values[name] !== undefined && html`<span key=${name}>${name} <strong>${brief(figure(told.values[name]), 60)}</strong></span>`)}
    </div>
    ${prices !== null && html`<${Candles} data=${prices} every=${every} onCursor=${setAt} />`}
    ${lines.map(({ name, data }) => html`<${Line} key=${name} name=${name} data=${data} every=${every} onCursor=${setAt} />`)}
  `;
}

/** The data of each chart. What was counted of a candle's window is looked at below it; what is never a number is not drawn. */
function plots(windows, names, every) {
  const [times, ...values] = columns(windows, names, every);
  const of = (name) => values[names.indexOf(name)];
  const hasPrices = isCandle(names);
  const others = hasPrices ? names.filter((name) => !CANDLE.includes(name)) : names;
  const drawn = others.filter((name) => of(name).some((value) => value !== null));
  return { times, prices: hasPrices ? [times, ...CANDLE.map(of)] : null, lines: drawn.map((name) => ({ name, data: [times, of(name)] })) };
}

function Candles({ data, every, onCursor }) {
  const options = () => ({
    ...common(every, around, onCursor),
    series: [{}, ...CANDLE.map((label) => ({ label, paths: () => null, points: { show: false } }))],
    plugins: [candles(every)],
  });
  const [times, , high, low, close] = data;
  const ends = [Math.max(...high), Math.min(...low.filter((value) => value !== null))];
  const label = `Candles of ${times.length} windows, between ${figure(ends[1])} and ${figure(ends[0])}, the last at ${figure(close.at(-1))}`;
  return html`<${Chart} data=${data} options=${options} shape=${String(every)} height=${300} label=${label} />`;
}

function Line({ name, data, every, onCursor }) {
  const options = () => ({
    ...common(every, fromNothing, onCursor),
    series: [{}, {
      label: name,
      stroke: colour("--accent"),
      fill: `color-mix(in srgb, ${colour("--accent")} 12%, transparent)`,
      width: 1.5,
      points: { show: data[0].length < 40, size: 4 },
    }],
  });
  const last = data[1].at(-1);
  return html`
    <h3>${name}</h3>
    <${Chart} data=${data} options=${options} shape=${`${name} ${every}`} height=${110} label=${`${name} of ${data[0].length} windows, the last ${figure(number(last))}`} />
  `;
}
