// A report on paper: organisation, period, totals, users, models, days. It stands beside the rest of the
// document, so that it prints whole also where the component sits in a dialog that scrolls.

import { h } from "./dom.js";
import { DataTable } from "./table.js";

/** Only on paper, and there nothing else. `!important`, because the page around it is somebody else's. */
const AROUND = `
  @media screen { .mai-usage-report { display: none !important } }
  @media print {
    @page { margin: 16mm }
    html, body { height: auto !important; overflow: visible !important; background: none !important }
    body > :not(.mai-usage-report) { display: none !important }
  }`;

export async function printReport(context, period, stylesheet) {
  const { api, me } = context;
  const isOrganisation = me.kind !== "employee";
  const [summary, users, models, days] = await Promise.all([
    api.usage("summary", period),
    isOrganisation ? api.usage("by-user", period) : null,
    api.usage("by-model", period),
    api.usage("by-day", period),
  ]);
  const { words, columns } = context;
  // What has neither calls nor an amount; an adjustment alone still counts, or the sums would not meet.
  const active = ({ requests, charge }) => requests > 0 || charge !== "0";
  const tables = [
    users && listing(context, words.byUser, columns.user, users.users.filter(active)),
    listing(context, words.byModel, columns.model, models.models),
    listing(context, words.byDay, columns.day, days.days),
  ];
  const host = h("div", { class: "mai-usage-report" });
  const styles = h("link", { rel: "stylesheet", href: stylesheet });
  const styled = new Promise((resolve) => {
    // Without its styles it is still a report.
    for (const end of ["load", "error"]) styles.addEventListener(end, resolve, { once: true });
  });
  const report = h(
    "article",
    { class: "report", lang: words.locale.slice(0, 2) },
    ...heading(context, period, summary),
  );
  report.append(...tables.filter((table) => table !== null));
  host.attachShadow({ mode: "open" }).append(styles, report);

  const around = new CSSStyleSheet();
  around.replaceSync(AROUND);
  document.querySelector("body > .mai-usage-report")?.remove();
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, around];
  document.body.append(host);
  await styled;
  const clear = () => {
    host.remove();
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((sheet) => sheet !== around);
  };
  addEventListener("afterprint", clear, { once: true });
  print();
}

function heading({ words, format, me }, period, summary) {
  const whose = me.kind === "employee" ? `${me.user.name} · ${me.organisation.name}` : me.organisation.name;
  const facts = [
    [words.period, format.periodText(period)],
    [words.requests, format.count(summary.requests)],
    [words.promptTokens, format.count(summary.prompt_tokens)],
    [words.completionTokens, format.count(summary.completion_tokens)],
    [words.charge, format.money(summary.charge)],
    ...(me.shows_cost ? [[words.cost, format.money(summary.cost)]] : []),
  ];
  return [
    h(
      "header",
      null,
      h("p", { class: "muted" }, words.printTitle),
      h("h1", null, h("bdi", null, whose)),
      h("p", { class: "muted" }, words.printedAt(format.instantText(new Date().toISOString()))),
    ),
    h(
      "dl",
      { class: "facts" },
      ...facts.map(([title, value]) => h("div", null, h("dt", null, title), h("dd", null, value))),
    ),
  ];
}

function listing({ format, columns }, title, first, rows) {
  const table = new DataTable(format, {
    id: first.id,
    title,
    columns: [first, ...columns.sums],
    keyOf: (row) => row.user_id ?? row.model ?? row.day,
    hasSearch: false,
    sorts: false,
  });
  table.showAll();
  table.show(rows);
  return h("section", null, h("h2", null, title), table.element);
}
