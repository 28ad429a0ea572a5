// The first tab: today as it happens, the month against the last one and the limit, the curve, what is still
// open.

import { chartElement, costCurve, legend, showsLimit } from "./chart.js";
import { h, svg } from "./dom.js";
import { permille, sumText } from "./money.js";
import { everyDay } from "./periods.js";
import { DataTable } from "./table.js";

export function overview(context) {
  const { api, me } = context;
  const parts = [tiles(context), monthCurve(context), awaitingCard(context)];
  const seesChecks = me.kind !== "employee";
  if (seesChecks) parts.push(checkCard(context));
  const [top, curve, ...cards] = parts.map((part) => part.element);
  return {
    element: h("div", { class: "overview" }, top, curve, h("div", { class: "cards" }, ...cards)),
    async load(signal) {
      const [numbers, reconciliation] = await Promise.all([
        api.usage("overview", {}, signal),
        seesChecks ? api.usage("reconciliation", {}, signal) : null,
      ]);
      const { this_month: month, last_month: lastMonth, today } = numbers;
      const [days, lastDays] = await Promise.all([
        api.usage("by-day", { from: month.from, to: today.to }, signal),
        api.usage("by-day", { from: lastMonth.from, to: lastMonth.to }, signal),
      ]);
      return { numbers, reconciliation, days: days.days, lastDays: lastDays.days };
    },
    show(data) {
      for (const part of parts) part.show(data);
    },
  };
}

function tiles({ format, words, me }) {
  const today = tile("today", words.today);
  const month = tile("this-month", words.thisMonth);
  const projected = tile("projected", words.projected);
  const limit = me.kind === "employee" ? null : tile("limit", words.limit);
  const element = h(
    "div",
    { class: "tiles" },
    today.element,
    month.element,
    projected.element,
    limit?.element,
  );

  const sums = ({ requests, prompt_tokens, completion_tokens }) =>
    words.requestsAndTokens(
      format.countText(requests),
      format.compactText(prompt_tokens + completion_tokens),
    );
  const cost = (of) =>
    me.shows_cost ? [h("span", { class: "tile-cost" }, `${words.cost}: `, format.money(of.cost))] : [];

  function show({ numbers }) {
    today.show(format.money(numbers.today.charge), sums(numbers.today), ...cost(numbers.today));
    month.show(
      format.money(numbers.this_month.charge),
      compared(numbers, format, words),
      sums(numbers.this_month),
      ...cost(numbers.this_month),
    );
    const isKnown = numbers.projected_charge !== null;
    projected.show(
      format.money(numbers.projected_charge),
      isKnown ? words.atThisPace : words.noProjection,
      words.lastMonthWas(format.moneyText(numbers.last_month.charge)),
    );
    showLimit(limit, numbers.limit, format, words);
  }
  return { element, show };
}

function tile(id, title) {
  const value = h("p", { class: "tile-value" });
  const notes = h("div", { class: "tile-notes" });
  const element = h("section", { class: "tile", "data-tile": id }, h("h2", null, title), value, notes);
  let shown = null;
  return {
    element,
    show(amount, ...lines) {
      // The exact amount, which also changes where the rounded one does not.
      const exact = amount.getAttribute("value") ?? amount.textContent;
      if (shown !== null && shown !== exact) flash(element);
      shown = exact;
      value.replaceChildren(amount);
      notes.replaceChildren(...lines.map((line) => (typeof line === "string" ? h("p", null, line) : line)));
    },
  };
}

/** Starts the highlight anew, also where the last one is still fading. */
function flash(element) {
  element.classList.remove("changed");
  void element.offsetWidth;
  element.classList.add("changed");
}

function compared({ this_month: now, last_month_so_far: before }, format, words) {
  const share = permille(now.charge, before.charge);
  if (share === null) return words.nothingLastMonth;
  const day = format.shortDayText(before.to);
  if (share === 1000) return words.sameAsLastMonth(day);
  const difference = format.shareText(Math.abs(share - 1000));
  return share > 1000 ? words.moreThanLastMonth(difference, day) : words.lessThanLastMonth(difference, day);
}

function showLimit(tile, limit, format, words) {
  if (!tile) return;
  if (limit === null) return tile.show(format.unknown(), words.noLimit);
  const share = format.shareText(limit.used_permille);
  const width = Math.min(1000, limit.used_permille);
  const level = limit.used_permille >= 1000 ? "over" : limit.used_permille >= 800 ? "near" : "below";
  const bar = svg("svg", {
    class: `meter ${level}`,
    viewBox: "0 0 1000 8",
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  });
  bar.append(
    svg("rect", { class: "track", width: 1000, height: 8 }),
    svg("rect", { class: "part", width, height: 8 }),
  );
  tile.show(h("span", null, share), bar, words.usedOf(format.moneyText(limit.charge)));
}

function monthCurve(context) {
  const { format, words, columns } = context;
  let curve = null;
  const chart = chartElement((width) => costCurve(width, curve, format));
  const table = new DataTable(format, {
    id: "this-month",
    title: words.chargeByDay,
    columns: [
      columns.day,
      columns.money("charge", words.charge),
      columns.money("so_far", words.runningTotal, false),
    ],
    keyOf: ({ day }) => day,
    sortedBy: { column: "day", direction: "descending" },
    hasSearch: false,
  });
  const key = h("div");
  const element = h(
    "section",
    { class: "card curve" },
    h("h2", null, words.chargeByDay),
    key,
    h("div", { class: "beside" }, chart.element, table.element),
  );

  function show({ numbers, days, lastDays }) {
    const { this_month: month, last_month: lastMonth, today } = numbers;
    const charges = chargesOf({ from: month.from, to: today.to }, days);
    const soFar = runningTotals(charges);
    const projected = numbers.projected_charge;
    const limit = numbers.limit?.charge ?? null;
    curve = {
      days: everyDay(month),
      today: today.to,
      charges,
      soFar,
      projected,
      limit,
      lastMonth: runningTotals(chargesOf(lastMonth, lastDays)),
    };
    chart.redraw();
    table.show(
      curve.days
        .slice(0, soFar.length)
        .map((day, index) => ({ day, charge: charges[index], so_far: soFar[index] })),
    );
    key.replaceChildren(
      legend([
        ["now", words.legendThisMonth],
        ["before", words.legendLastMonth],
        ...(projected === null ? [] : [["projection", words.legendProjected]]),
        ...(showsLimit(curve) ? [["limit", words.legendLimit]] : []),
      ]),
    );
  }
  return { element, show };
}

/** The charge of every day; a day that the API leaves out had no entries, so its sum is a known zero. */
function chargesOf(period, days) {
  const known = new Map(days.map(({ day, charge }) => [day, charge]));
  return everyDay(period).map((day) => known.get(day) ?? "0");
}

function runningTotals(charges) {
  let total = "0";
  return charges.map((charge) => (total = sumText([total, charge])));
}

export function awaitingCounts({ format, words }) {
  const values = { open: h("dd"), orphan: h("dd"), under_way: h("dd") };
  const titles = { open: words.open, orphan: words.orphan, under_way: words.underWay };
  const pairs = Object.keys(values).map((id) =>
    h("div", { "data-count": id }, h("dt", null, titles[id]), values[id]),
  );
  const element = h("dl", { class: "counts" }, ...pairs);
  return {
    element,
    show(counts) {
      for (const [id, value] of Object.entries(values)) value.replaceChildren(format.count(counts[id]));
    },
  };
}

function awaitingCard(context) {
  const { words } = context;
  const counts = awaitingCounts(context);
  const note = h("p", { class: "muted" });
  const button = h(
    "button",
    { type: "button", class: "button", onclick: () => context.goTo("awaiting") },
    words.showThem,
  );
  const element = h(
    "section",
    { class: "card", "data-card": "awaiting" },
    h("h2", null, words.awaitingTitle),
    counts.element,
    note,
    button,
  );
  return {
    element,
    show({ numbers: { awaiting } }) {
      counts.show(awaiting);
      const isNone = awaiting.open + awaiting.orphan === 0;
      note.textContent = isNone ? words.awaitingNone : words.awaitingHint;
      button.hidden = isNone && awaiting.under_way === 0;
    },
  };
}

function checkCard({ format, words, me }) {
  const state = h("p", { class: "check" });
  const facts = h("dl", { class: "facts" });
  const element = h(
    "section",
    { class: "card", "data-card": "check" },
    h("h2", null, words.checkTitle),
    state,
    facts,
  );

  function show({ reconciliation: { last, agrees } }) {
    const [kind, text] =
      last === null
        ? ["none", words.neverAsked]
        : agrees === null
          ? ["unsure", words.notChecked]
          : agrees
            ? ["good", words.agrees]
            : ["bad", words.disagrees];
    state.dataset.agrees = kind;
    state.replaceChildren(h("span", { class: "mark", "aria-hidden": "true" }, MARKS[kind]), text);
    if (last === null) return facts.replaceChildren();
    const rows = [[words.lastAsked, format.instant(last.at)]];
    if (me.shows_cost) {
      rows.push(
        [words.ourCost, format.money(last.our_cost)],
        [words.theirUsage, format.money(last.openrouter_usage)],
        [words.difference, format.money(last.difference)],
      );
    }
    facts.replaceChildren(
      ...rows.map(([title, value]) => h("div", null, h("dt", null, title), h("dd", null, value))),
    );
  }
  return { element, show };
}

const MARKS = { good: "✓", bad: "!", unsure: "?", none: "–" };
