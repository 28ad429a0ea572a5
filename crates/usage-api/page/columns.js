// The columns that several tables share. A column says what it sorts by (`value`) and what it shows (`cell`).

import { h, name, svg } from "./dom.js";

export function columnsOf(context) {
  const { format, words, me } = context;

  const text = (
    id,
    title,
    value,
    cell = (row) => (value(row) === null ? format.unknown() : name(value(row))),
  ) => ({
    id,
    title,
    kind: "text",
    value,
    cell,
  });
  const number = (id, title, total = true) => ({
    id,
    title,
    kind: "number",
    total,
    value: (row) => row[id] ?? null,
    cell: (row) => format.count(row[id]),
  });
  const money = (id, title, total = true) => ({
    id,
    title,
    kind: "money",
    total,
    value: (row) => row[id] ?? null,
    cell: (row) => format.money(row[id]),
  });
  const time = (id, title) => ({
    id,
    title,
    kind: "time",
    value: (row) => row[id] ?? null,
    cell: (row) => format.instant(row[id]),
  });

  const day = {
    id: "day",
    title: words.day,
    kind: "time",
    value: (row) => row.day,
    cell: (row) => format.day(row.day),
  };
  const model = text("model", words.model, (row) => row.model ?? null);
  const provider = text("provider", words.provider, (row) => row.provider ?? null);
  const user = text(
    "user",
    words.user,
    (row) => [row.name ?? row.user_id, row.email].filter(Boolean).join(" "),
    (row) => userCell(row, words),
  );

  const tokens = [
    number("prompt_tokens", words.promptTokens),
    number("completion_tokens", words.completionTokens),
  ];
  const amounts = [money("charge", words.charge), ...(me.shows_cost ? [money("cost", words.cost)] : [])];
  const counts = [number("requests", words.requests), ...tokens];
  const sums = [...amounts, ...counts];

  return { text, number, money, time, day, model, provider, user, tokens, counts, amounts, sums };
}

/** How much of the whole charge a row is (`share`, in thousandths), with a bar. */
export function shareColumn({ format, words }) {
  return {
    id: "share",
    title: words.share,
    kind: "number",
    value: ({ share }) => share,
    cell: ({ share }) => (share === null ? format.unknown() : shareCell(share, format)),
  };
}

function shareCell(share, format) {
  const width = Math.max(0, Math.min(100, share / 10));
  const bar = svg("svg", {
    class: "share-bar",
    viewBox: "0 0 100 4",
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  });
  bar.append(
    svg("rect", { class: "track", width: 100, height: 4, rx: 2 }),
    svg("rect", { class: "part", width, height: 4, rx: 2 }),
  );
  return h("span", { class: "share" }, format.shareText(share), bar);
}

function userCell(row, words) {
  if (row.user_id === "unattributed" && !row.name) return h("span", { class: "muted" }, words.unattributed);
  const email = row.email ? name(row.email, { class: "name muted" }) : null;
  return h("span", { class: "user" }, name(row.name ?? row.user_id), email);
}
