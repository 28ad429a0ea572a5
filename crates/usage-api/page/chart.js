// Charts as SVG, drawn anew at the width they have. The heights are floats; every amount that is read comes
// from the exact text, and each chart stands beside a table with the same numbers.

import { h, svg } from "./dom.js";
import { compareAmounts, permille, sumText } from "./money.js";

const HEIGHT = 240;
const MARGIN = { top: 12, right: 12, bottom: 26 };
const TICKS = 4;
const CHAR_WIDTH = 6.6;
const DAY_LABEL_WIDTH = 58;

/** Thinner bars than this cannot be told apart or pointed at. */
const THINNEST_BAR = 4;

/** An element that keeps a chart at its own width. `draw(width)` returns the SVG. */
export function chartElement(draw) {
  const element = h("div", { class: "chart" });
  const redraw = () => element.clientWidth > 0 && element.replaceChildren(draw(element.clientWidth));
  let width = 0;
  new ResizeObserver(() => {
    if (element.clientWidth === width) return;
    width = element.clientWidth;
    redraw();
  }).observe(element);
  return { element, redraw };
}

/**
 * What a month adds up to, day by day. `curve`: all `days` of the month and which of them is `today`; the
 * `charges` of the days up to today and their running totals `soFar`; the running totals of `lastMonth`;
 * `projected` and `limit` or null.
 */
export function costCurve(width, curve, format) {
  const { amounts, words } = format;
  const pixels = (texts) => texts.map((text) => amounts.forPixels(text));
  const [now, before] = [pixels(curve.soFar), pixels(curve.lastMonth)];
  const projected = curve.projected === null ? null : amounts.forPixels(curve.projected);
  const highest = Math.max(...now, ...before, projected ?? 0);
  const limit = showsLimit(curve) ? amounts.forPixels(curve.limit) : null;
  const area = plotArea(width, Math.max(highest, limit ?? 0), amounts);
  const x = (index) => area.left + ((index + 0.5) * area.width) / curve.days.length;

  const chart = frame(
    width,
    area,
    words.curveLabel(
      format.moneyText(curve.soFar.at(-1) ?? "0"),
      format.shortDayText(curve.today),
      format.moneyText(curve.projected),
    ),
  );
  chart.append(...dayLabels(curve.days, x, area, format));
  if (limit !== null)
    chart.append(
      line("limit", [
        [area.left, area.y(limit)],
        [area.right, area.y(limit)],
      ]),
    );
  chart.append(
    line(
      "before",
      before.slice(0, curve.days.length).map((value, index) => [x(index), area.y(value)]),
    ),
  );
  const points = now.map((value, index) => [x(index), area.y(value)]);
  if (points.length > 0) {
    const [last] = points.slice(-1);
    chart.append(
      svg("path", {
        class: "area",
        d: `${pathOf(points)}L${last[0]},${area.bottom}L${points[0][0]},${area.bottom}Z`,
      }),
      line("now", points),
    );
    if (projected !== null)
      chart.append(line("projection", [last, [x(curve.days.length - 1), area.y(projected)]]));
    chart.append(svg("circle", { class: "now-dot", cx: last[0], cy: last[1], r: 4 }));
  }
  const step = area.width / curve.days.length;
  chart.append(
    ...now.map((_, index) =>
      hotspot(
        x(index),
        step,
        area,
        words.pointTitle(
          format.dayText(curve.days[index]),
          format.moneyText(curve.charges[index]),
          format.moneyText(curve.soFar[index]),
        ),
      ),
    ),
  );
  return chart;
}

/** A limit far above the curve would press it flat; the tile alone tells it then. */
export function showsLimit({ soFar, lastMonth, projected, limit }) {
  const highest = [...soFar.slice(-1), ...lastMonth.slice(-1), projected ?? "0"].sort(compareAmounts).at(-1);
  return limit !== null && (permille(limit, highest) ?? Infinity) <= 1500;
}

/** A bar for each of `days` (`{day, charge}`); in a long period one for several days. */
export function dayBars(width, days, format) {
  const { amounts, words } = format;
  const groups = grouped(days, Math.ceil((days.length * THINNEST_BAR) / width));
  const values = groups.map(({ charge }) => amounts.forPixels(charge));
  const area = plotArea(width, Math.max(0, ...values), amounts);
  const step = area.width / groups.length;
  const x = (index) => area.left + (index + 0.5) * step;
  const chart = frame(
    width,
    area,
    words.barsLabel(format.dayText(days[0].day), format.dayText(days.at(-1).day)),
  );
  chart.append(
    ...dayLabels(
      groups.map(({ day }) => day),
      x,
      area,
      format,
    ),
  );
  const thickness = Math.min(28, step * 0.7);
  groups.forEach((group, index) => {
    const top = area.y(values[index]);
    const bar = {
      x: x(index) - thickness / 2,
      y: top,
      width: thickness,
      height: Math.max(0, area.bottom - top),
    };
    chart.append(svg("rect", { class: "bar", ...bar, rx: Math.min(2, thickness / 4) }));
    const title =
      group.day === group.last
        ? format.dayText(group.day)
        : `${format.dayText(group.day)} – ${format.dayText(group.last)}`;
    chart.append(hotspot(x(index), step, area, words.barTitle(title, format.moneyText(group.charge))));
  });
  return chart;
}

/** The key to the lines: `[class, text]` pairs. */
export function legend(entries) {
  const items = entries.map(([kind, text]) => {
    const sample = svg("svg", { class: "sample", viewBox: "0 0 18 8", "aria-hidden": "true" });
    sample.append(svg("path", { class: kind, d: "M1,4L17,4" }));
    return h("li", null, sample, text);
  });
  return h("ul", { class: "legend" }, ...items);
}

function grouped(days, size) {
  const groups = [];
  for (let start = 0; start < days.length; start += size) {
    const group = days.slice(start, start + size);
    groups.push({
      day: group[0].day,
      last: group.at(-1).day,
      charge: sumText(group.map(({ charge }) => charge)),
    });
  }
  return groups;
}

/** The scale: round steps from zero to a little above the highest value. */
function plotArea(width, highest, amounts) {
  const step = roundStep((highest || 1) / TICKS);
  const top = Math.max(step, Math.ceil(highest / step) * step);
  const digits = -Math.floor(Math.log10(step));
  const decimals = digits > 0 ? Math.max(2, digits) : 0;
  const ticks = [];
  for (let tick = 0; tick <= top + step / 2; tick += step) {
    ticks.push({ value: tick, label: amounts.format(tick.toFixed(decimals), decimals) });
  }
  const left = 12 + Math.max(...ticks.map(({ label }) => label.length)) * CHAR_WIDTH;
  const bottom = HEIGHT - MARGIN.bottom;
  const y = (value) => bottom - (value / top) * (bottom - MARGIN.top);
  return { left, right: width - MARGIN.right, width: width - MARGIN.right - left, bottom, y, ticks };
}

/** 1, 2 or 5 times a power of ten, not below `raw`. */
function roundStep(raw) {
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * ([1, 2, 5].find((factor) => raw <= factor * power * 1.0001) ?? 10);
}

function frame(width, area, label) {
  const chart = svg("svg", {
    width,
    height: HEIGHT,
    viewBox: `0 0 ${width} ${HEIGHT}`,
    role: "img",
    "aria-label": label,
  });
  for (const { value, label: text } of area.ticks) {
    const y = area.y(value);
    chart.append(
      svg("line", { class: "grid", x1: area.left, x2: area.right, y1: y, y2: y }),
      svg("text", { class: "tick", x: area.left - 8, y: y + 4, "text-anchor": "end" }, text),
    );
  }
  return chart;
}

function dayLabels(days, x, area, format) {
  const every = Math.max(1, Math.ceil((days.length * DAY_LABEL_WIDTH) / area.width));
  const fits = (index) => index % every === 0 && x(index) + DAY_LABEL_WIDTH / 2 <= area.right + MARGIN.right;
  return days
    .map((day, index) => ({ day, index }))
    .filter(({ index }) => fits(index))
    .map(({ day, index }) =>
      svg(
        "text",
        { class: "tick", x: x(index), y: HEIGHT - 6, "text-anchor": "middle" },
        format.shortDayText(day),
      ),
    );
}

/** An invisible column over a day, which shows its numbers when pointed at. */
function hotspot(x, width, area, title) {
  const place = { x: x - width / 2, y: MARGIN.top, width, height: area.bottom - MARGIN.top };
  return svg("rect", { class: "hotspot", ...place }, svg("title", null, title));
}

function line(kind, points) {
  return svg("path", { class: kind, d: pathOf(points) });
}

function pathOf(points) {
  return points.map(([x, y], index) => `${index === 0 ? "M" : "L"}${x.toFixed(1)},${y.toFixed(1)}`).join("");
}
