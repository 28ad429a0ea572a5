// The tabs that are read page by page, newest first: single calls, and those whose cost is not known yet.

import { h, name } from "./dom.js";
import { awaitingCounts } from "./overview.js";
import { DataTable } from "./table.js";

const PAGE_ROWS = 50;

export function calls(context, question) {
  const { words, columns, me } = context;
  const kindOf = (row) => (row.kind === "call" ? null : (words.kinds[row.kind] ?? row.kind));
  const model = columns.text(
    "model",
    words.model,
    (row) => row.model,
    (row) => {
      const badge = kindOf(row) && h("span", { class: "badge" }, kindOf(row));
      const asked = row.model_asked && row.model_asked !== row.model;
      const askedNote = asked
        ? h("span", { class: "muted small" }, `${words.modelAsked} `, name(row.model_asked))
        : null;
      return h("span", { class: "user" }, name(row.model), badge, askedNote);
    },
  );
  return pages(context, {
    id: "calls",
    title: words.calls,
    keyOf: ({ id }) => id,
    columns: [
      columns.time("at", words.time),
      ...(me.kind === "employee" ? [] : [columns.user]),
      model,
      ...columns.amounts,
      ...columns.tokens,
      columns.number("reasoning_tokens", words.reasoningTokens),
      columns.number("cached_tokens", words.cachedTokens),
      columns.provider,
      columns.text("cost_source", words.costSource, (row) => row.cost_source ?? null),
      columns.text("generation_id", words.generation, (row) => row.generation_id ?? null),
    ],
    ask: (after, signal) => context.api.usage("calls", { ...question, limit: PAGE_ROWS, after }, signal),
  });
}

export function awaiting(context) {
  const { words, columns, me } = context;
  const counts = awaitingCounts(context);
  const hint = h("p", { class: "muted" }, words.awaitingHint);
  const list = pages(context, {
    id: "awaiting",
    title: words.awaitingTitle,
    keyOf: ({ id }) => id,
    columns: [
      columns.time("admitted_at", words.admitted),
      ...(me.kind === "employee" ? [] : [columns.user]),
      columns.text("model_asked", words.model, (row) => row.model_asked ?? null),
      columns.text("state", words.state, (row) => words.states[row.state] ?? row.state),
      columns.number("asks", words.asks, false),
      columns.time("next_ask_at", words.nextAsk),
      columns.text("generation_id", words.generation, (row) => row.generation_id ?? null),
    ],
    ask: (after, signal) => context.api.usage("awaiting", { limit: PAGE_ROWS, after }, signal),
    dropsMissing: true,
  });
  return {
    ...list,
    element: h("div", null, counts.element, hint, list.element),
    show(page) {
      counts.show(page);
      list.show(page);
    },
  };
}

/**
 * `show` takes the newest page anew and keeps what was loaded below it. With `dropsMissing` it starts again
 * from that page alone: a call that got its cost leaves the list, wherever it stood.
 */
function pages(context, { id, title, keyOf, columns, ask, dropsMissing = false }) {
  const { words } = context;
  const table = new DataTable(context.format, { id, title, keyOf, columns });
  const button = h(
    "button",
    { type: "button", class: "button more", "data-action": "more", onclick: more },
    words.more,
  );
  button.hidden = true;
  let next = null;

  function show(page) {
    const newest = new Set(page.calls.map(keyOf));
    const older = dropsMissing ? [] : table.rows.filter((row) => !newest.has(keyOf(row)));
    table.show([...page.calls, ...older]);
    if (older.length === 0) continueAt(page.next);
  }

  async function more() {
    button.disabled = true;
    try {
      const page = await ask(next);
      const known = new Set(table.rows.map(keyOf));
      table.append(page.calls.filter((row) => !known.has(keyOf(row))));
      continueAt(page.next);
    } catch (error) {
      context.failed(error);
    } finally {
      button.disabled = false;
    }
  }

  function continueAt(after) {
    next = after;
    button.hidden = next === null;
  }

  const element = h("div", null, table.element, button);
  return { element, search: table.search, load: (signal) => ask(null, signal), show };
}
