// The tools above a tab: its period, its filters, its search and its exports.

import { h } from "./dom.js";
import { isPeriod, PERIODS, periodOf } from "./periods.js";

const FORMATS = ["csv", "xlsx", "json"];

export class Toolbar {
  /** `told`: `changed(part of the state)` and `failed(text)`. */
  constructor(context, told) {
    const { words } = context;
    this.context = context;
    this.told = told;
    this.tab = null;
    this.state = null;

    const periods = PERIODS.map((id) => h("option", { value: id }, words.periods[id]));
    this.period = h("select", { name: "period", onchange: () => this.periodChosen() }, ...periods);
    this.from = h("input", { type: "date", name: "from", required: true, onchange: () => this.daysChosen() });
    this.to = h("input", { type: "date", name: "to", required: true, onchange: () => this.daysChosen() });
    this.periodField = field(words.period, this.period);
    this.periodText = h("p", { class: "period-text muted" });
    this.dayFields = [field(words.from, this.from), field(words.to, this.to)];
    this.wrong = h("p", { class: "wrong", role: "alert" });

    this.user = h("select", { name: "user", onchange: () => told.changed({ user_id: this.user.value }) });
    this.model = h("select", { name: "model", onchange: () => told.changed({ model: this.model.value }) });
    this.userField = field(words.user, this.user);
    this.modelField = field(words.model, this.model);

    this.links = new Map(FORMATS.map((format) => [format, this.exportLink(format)]));
    this.exports = h("div", { class: "exports", role: "group", "aria-label": words.exportLabel });
    this.exports.append(
      h("span", { class: "label", "aria-hidden": "true" }, words.exportLabel),
      ...this.links.values(),
    );
    this.search = h("div", { class: "search-slot" });

    this.element = h(
      "div",
      { class: "toolbar" },
      this.periodField,
      this.periodText,
      ...this.dayFields,
      this.userField,
      this.modelField,
      this.search,
      this.exports,
      this.wrong,
    );
  }

  show(tab, state, view) {
    this.tab = tab;
    this.state = state;
    this.period.value = state.period;
    this.from.value = state.from;
    this.to.value = state.to;
    this.wrong.textContent = "";
    this.periodField.hidden = !tab.asksPeriod;
    this.periodText.hidden = !tab.asksPeriod || state.period === "custom";
    this.periodText.textContent = this.context.format.periodText(state);
    for (const dayField of this.dayFields) dayField.hidden = !tab.asksPeriod || state.period !== "custom";
    this.userField.hidden = !tab.filters || this.context.me.kind === "employee";
    this.modelField.hidden = !tab.filters;
    this.search.replaceChildren(...(view.search ? [view.search] : []));
    this.element.hidden = !tab.asksPeriod && !tab.exports && !view.search;
    this.exports.hidden = !tab.exports;
    if (tab.exports) for (const [format, link] of this.links) link.href = this.exportAddress(format);
  }

  /** Offers who and what has entries in the period; what is chosen stays, also where it has none. */
  async loadFilters(signal) {
    const { api, me, words } = this.context;
    const { from, to, user_id: userId, model } = this.state;
    const [users, models] = await Promise.all([
      me.kind === "employee" ? { users: [] } : api.usage("by-user", { from, to }, signal),
      api.usage("by-model", { from, to }, signal),
    ]);
    if (signal.aborted) return;
    const byName = (a, b) => this.context.format.collator.compare(a[1], b[1]);
    const userNames = users.users.map((user) => [user.user_id, user.name ?? user.user_id]).sort(byName);
    offer(this.user, words.allUsers, userNames, userId);
    offer(
      this.model,
      words.allModels,
      models.models.map((row) => [row.model, row.model]).sort(byName),
      model,
    );
  }

  periodChosen() {
    const name = this.period.value;
    // A custom period starts from the days shown until now.
    const days =
      name === "custom"
        ? { from: this.state.from, to: this.state.to }
        : periodOf(name, this.context.me.today);
    this.told.changed({ period: name, ...days });
  }

  daysChosen() {
    const days = { from: this.from.value, to: this.to.value };
    const isRight = isPeriod(days);
    this.wrong.textContent = isRight ? "" : this.context.words.periodWrong;
    for (const input of [this.from, this.to]) input.setAttribute("aria-invalid", String(!isRight));
    if (isRight) this.told.changed(days);
  }

  exportAddress(format) {
    const { from, to, user_id, model } = this.state;
    const filters = this.tab.filters ? { user_id, model } : {};
    return this.context.api.exportAddress({ what: this.tab.exports, format, from, to, ...filters });
  }

  exportLink(format) {
    const { words, api } = this.context;
    const label = words.exportAs(format.toUpperCase());
    const link = h(
      "a",
      { class: "button", download: true, "data-export": format, "aria-label": label },
      format.toUpperCase(),
    );
    // A link sends the session's cookie by itself, and streams to disk; a bearer token it cannot carry.
    if (api.token) link.addEventListener("click", (event) => this.download(event, link.href));
    return link;
  }

  async download(event, address) {
    event.preventDefault();
    try {
      const { blob, name } = await this.context.api.file(address);
      const url = URL.createObjectURL(blob);
      h("a", { href: url, download: name }).click();
      // The click only starts the download; the browser needs the address a moment longer.
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    } catch {
      this.told.failed(this.context.words.exportFailed);
    }
  }
}

function field(title, control) {
  return h("label", { class: "field" }, h("span", { class: "label" }, title), control);
}

function offer(select, everything, options, chosen) {
  const known =
    chosen && !options.some(([value]) => value === chosen) ? [[chosen, chosen], ...options] : options;
  select.replaceChildren(
    h("option", { value: "" }, everything),
    ...known.map(([value, text]) => h("option", { value }, text)),
  );
  select.value = chosen ?? "";
}
