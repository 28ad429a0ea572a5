// A table that sorts by every column, searches, adds up, and changes only the rows that changed.

import { h, spoken } from "./dom.js";
import { compareAmounts, sumText } from "./money.js";

/** Rows shown at first: thousands of users × models would keep the browser busy at every new call. */
const FIRST_ROWS = 200;

/**
 * A column: `{id, title, kind, value, cell, total}`. `kind` is `text`, `number`, `money` or `time`;
 * `value(row)` is what is sorted by and searched in, `cell(row)` the node shown, `total` whether the foot
 * adds it up.
 */
export class DataTable {
  constructor(format, { id, title, columns, keyOf, sortedBy, hasSearch = true, sorts = true }) {
    this.format = format;
    this.words = format.words;
    this.id = id;
    this.columns = columns;
    this.keyOf = keyOf;
    this.sorts = sorts;
    /** `null` keeps the order of the API. */
    this.sort = sortedBy ?? null;
    this.query = "";
    this.visibleRows = FIRST_ROWS;
    this.rows = [];
    /** Keys of the rows that are new, or count more calls than before. */
    this.changed = new Set();
    /** What each row looked like when it was last drawn: key -> {text, element}. */
    this.drawn = new Map();

    this.body = h("tbody");
    this.foot = h("tfoot");
    this.note = h("p", { class: "table-note", role: "status" });
    this.allButton = h(
      "button",
      { type: "button", class: "button", onclick: () => this.showAll() },
      this.words.showAll,
    );
    this.headers = new Map(columns.map((column) => [column.id, this.header(column)]));
    const head = h("thead", null, h("tr", null, ...this.headers.values()));
    const table = h(
      "table",
      { "data-table": id },
      h("caption", { class: "spoken" }, title),
      head,
      this.body,
      this.foot,
    );
    // Focusable, so that the keyboard can scroll it sideways.
    const label = this.words.tableOf(title);
    const scroller = h(
      "div",
      { class: "scroller", tabindex: "0", role: "region", "aria-label": label },
      table,
    );
    /** Stands among the tools above the tab. */
    this.search = hasSearch ? this.searchField() : null;
    this.element = h("div", { class: "data-table" }, scroller, this.note, this.allButton);
    this.showSort();
  }

  /** What changed since the rows before is highlighted. */
  show(rows) {
    const before = new Map(this.rows.map((row) => [this.keyOf(row), row.requests]));
    const isChanged = (row) => !before.has(this.keyOf(row)) || before.get(this.keyOf(row)) !== row.requests;
    this.changed = new Set(before.size > 0 ? rows.filter(isChanged).map(this.keyOf) : []);
    this.rows = rows;
    this.draw();
  }

  /** More of the same list, which is news to nobody. */
  append(rows) {
    this.changed.clear();
    this.rows = [...this.rows, ...rows];
    // Whoever asks for more wants to see them.
    this.visibleRows = Infinity;
    this.draw();
  }

  header(column) {
    const properties = { scope: "col", class: column.kind, "data-column": column.id };
    if (!this.sorts) return h("th", properties, column.title);
    const button = h("button", { type: "button", class: "sort", onclick: () => this.sortBy(column) });
    button.append(
      spoken(`${this.words.sortHint} `),
      column.title,
      h("span", { class: "arrow", "aria-hidden": "true" }),
    );
    return h("th", properties, button);
  }

  searchField() {
    const input = h("input", { type: "search", name: "search", autocomplete: "off" });
    input.addEventListener("input", () => {
      this.query = folded(input.value.trim());
      this.draw();
    });
    return h("label", { class: "field search" }, h("span", { class: "label" }, this.words.search), input);
  }

  /** The first click puts the largest amount on top, the next one turns the order round. */
  sortBy(column) {
    const first = column.kind === "text" ? "ascending" : "descending";
    const other = first === "ascending" ? "descending" : "ascending";
    const isSame = this.sort?.column === column.id;
    this.sort = { column: column.id, direction: isSame && this.sort.direction === first ? other : first };
    this.showSort();
    this.draw();
  }

  showSort() {
    if (!this.sorts) return;
    for (const [id, header] of this.headers) {
      header.setAttribute("aria-sort", this.sort?.column === id ? this.sort.direction : "none");
    }
  }

  showAll() {
    this.visibleRows = Infinity;
    this.draw();
  }

  draw() {
    const matching = this.sorted(this.rows.filter((row) => this.matches(row)));
    const visible = matching.slice(0, this.visibleRows);
    const drawn = new Map();
    for (const row of visible) drawn.set(this.keyOf(row), this.drawRow(row));
    this.drawn = drawn;
    replaceChangedRows(
      this.body,
      [...drawn.values()].map(({ element }) => element),
    );
    this.drawTotals(matching);
    this.allButton.hidden = visible.length === matching.length;
    this.note.textContent = this.noteText(visible.length, matching.length);
  }

  noteText(visible, matching) {
    if (this.rows.length === 0) return this.words.noRows;
    if (matching === 0) return this.words.noMatches;
    const [shown, all] = [visible, this.rows.length].map((rows) => this.format.countText(rows));
    return visible < this.rows.length ? this.words.shownOf(shown, all) : "";
  }

  drawRow(row) {
    const key = this.keyOf(row);
    const text = JSON.stringify(row);
    const before = this.drawn.get(key);
    if (before?.text === text) return before;
    const cells = this.columns.map((column, index) => {
      const properties = { class: column.kind, "data-column": column.id };
      return index === 0
        ? h("th", { scope: "row", ...properties }, column.cell(row))
        : h("td", properties, column.cell(row));
    });
    return {
      text,
      element: h("tr", { "data-key": key, class: this.changed.has(key) ? "changed" : null }, ...cells),
    };
  }

  drawTotals(rows) {
    if (rows.length === 0 || !this.columns.some((column) => column.total)) return this.foot.replaceChildren();
    const cells = this.columns.map((column, index) => {
      const properties = { class: column.kind, "data-column": column.id };
      if (index === 0) return h("th", { scope: "row", ...properties }, this.words.total);
      return h("td", properties, column.total ? this.total(column, rows.map(column.value)) : null);
    });
    this.foot.replaceChildren(h("tr", null, ...cells));
  }

  total(column, values) {
    if (column.kind === "money") return this.format.money(sumText(values));
    return this.format.count(values.includes(null) ? null : values.reduce((sum, value) => sum + value, 0));
  }

  matches(row) {
    if (this.query === "") return true;
    return this.columns.some(
      (column) => column.kind === "text" && folded(column.value(row) ?? "").includes(this.query),
    );
  }

  sorted(rows) {
    const column = this.columns.find(({ id }) => id === this.sort?.column);
    if (!column) return rows;
    const sign = this.sort.direction === "ascending" ? 1 : -1;
    return rows.toSorted((a, b) => {
      const [left, right] = [column.value(a), column.value(b)];
      // What is unknown stays at the end, whichever way round.
      if (left === null || right === null) return (left === null) - (right === null);
      return sign * this.compare(column.kind, left, right);
    });
  }

  compare(kind, left, right) {
    if (kind === "money") return compareAmounts(left, right);
    if (kind === "number") return left - right;
    return kind === "time"
      ? Number(left > right) - Number(left < right)
      : this.format.collator.compare(left, right);
  }
}

/** Moves no row that stays in its place, so that a selection or a highlight in it survives. */
function replaceChangedRows(body, rows) {
  const wanted = new Set(rows);
  for (const row of [...body.children]) if (!wanted.has(row)) row.remove();
  rows.forEach((row, index) => {
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
  });
}

/** "Żółć" is found by "zolc". */
function folded(text) {
  return text.toLowerCase().replaceAll("ł", "l").normalize("NFD").replace(/\p{M}/gu, "");
}
