// The tabs that are one table of a period: days, users, models, users × models; and prices and the
// subscription.

import { chartElement, dayBars } from "./chart.js";
import { shareColumn } from "./columns.js";
import { h, name } from "./dom.js";
import { permille, sumText } from "./money.js";
import { everyDay } from "./periods.js";
import { DataTable } from "./table.js";

export function days(context, question) {
  const { api, format, words, columns, me } = context;
  let bars = [];
  const chart = chartElement((width) => dayBars(width, bars, format));
  const table = new DataTable(format, {
    id: "days",
    title: words.days,
    columns: [
      columns.day,
      ...columns.sums,
      ...(me.kind === "employee" ? [] : [columns.number("users", words.activeUsers, false)]),
      columns.time("last_activity_at", words.lastActivity),
    ],
    keyOf: ({ day }) => day,
    sortedBy: { column: "day", direction: "descending" },
    hasSearch: false,
  });
  return {
    element: h("div", null, h("div", { class: "card" }, chart.element), table.element),
    load: (signal) => api.usage("by-day", periodOf(question), signal),
    show({ period, days }) {
      const charges = new Map(days.map(({ day, charge }) => [day, charge]));
      bars = everyDay(period).map((day) => ({ day, charge: charges.get(day) ?? "0" }));
      chart.redraw();
      table.show(days);
    },
  };
}

export function users(context, question) {
  const { words, columns } = context;
  return listing(context, {
    id: "users",
    title: words.users,
    path: "by-user",
    rowsOf: (answer) => answer.users,
    question,
    keyOf: ({ user_id }) => user_id,
    columns: (share) => [
      columns.user,
      ...columns.amounts,
      share,
      ...columns.counts,
      columns.number("days", words.activeDays, false),
      columns.time("last_activity_at", words.lastActivity),
    ],
  });
}

export function models(context, question) {
  const { words, columns } = context;
  return listing(context, {
    id: "models",
    title: words.models,
    path: "by-model",
    rowsOf: (answer) => answer.models,
    question,
    keyOf: ({ model }) => model,
    columns: (share) => [
      columns.model,
      ...columns.amounts,
      share,
      columns.provider,
      ...columns.counts,
      columns.number("days", words.activeDays, false),
      columns.time("last_activity_at", words.lastActivity),
    ],
  });
}

export function usersAndModels(context, question) {
  const { words, columns } = context;
  return listing(context, {
    id: "users-models",
    title: words.usersAndModels,
    path: "by-user-and-model",
    rowsOf: (answer) => answer.rows,
    question,
    keyOf: ({ user_id, model }) => `${user_id} ${model}`,
    columns: (share) => [
      columns.user,
      columns.model,
      ...columns.amounts,
      share,
      ...columns.counts,
      columns.time("last_activity_at", words.lastActivity),
    ],
  });
}

function listing(context, { id, title, path, rowsOf, question, keyOf, columns }) {
  const table = new DataTable(context.format, {
    id,
    title,
    keyOf,
    columns: columns(shareColumn(context)),
    sortedBy: { column: "charge", direction: "descending" },
  });
  return {
    element: table.element,
    search: table.search,
    load: (signal) => context.api.usage(path, periodOf(question), signal),
    show(answer) {
      const rows = rowsOf(answer);
      const whole = sumText(rows.map(({ charge }) => charge));
      table.show(rows.map((row) => ({ ...row, share: permille(row.charge, whole) })));
    },
  };
}

export function prices(context) {
  const { api, format, words, columns } = context;
  const table = new DataTable(format, {
    id: "prices",
    title: words.prices,
    columns: [
      columns.text("model", words.model, (row) => [row.name, row.model].filter(Boolean).join(" "), modelCell),
      columns.money("prompt_per_million", words.inputPrice, false),
      columns.money("completion_per_million", words.outputPrice, false),
      columns.money("request", words.requestPrice, false),
      columns.number("context_length", words.context, false),
      columns.provider,
    ],
    keyOf: ({ model }) => model,
    sortedBy: { column: "model", direction: "ascending" },
  });
  const note = h("p", { class: "muted" });
  return {
    element: h("div", null, note, table.element),
    search: table.search,
    load: (signal) => api.get("prices", {}, signal),
    show({ fetched_at, models }) {
      note.textContent = fetched_at ? words.pricesAsOf(format.instantText(fetched_at)) : words.noPrices;
      table.show(models);
    },
  };
}

function modelCell(row) {
  const id = row.name ? name(row.model, { class: "name muted" }) : null;
  return h("span", { class: "user" }, name(row.name ?? row.model), id);
}

export function subscription({ api, words }) {
  const note = h("p", { class: "muted" });
  return {
    element: h("section", { class: "card" }, h("h2", null, words.subscriptionTitle), note),
    load: (signal) => api.usage("subscription", {}, signal),
    show({ configured }) {
      note.textContent = configured ? "" : words.notConfigured;
    },
  };
}

function periodOf({ from, to }) {
  return { from, to };
}
