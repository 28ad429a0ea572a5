// The tabs: which there are, and the WAI-ARIA tabs pattern that switches between them.

import { awaiting, calls } from "./calls.js";
import { h } from "./dom.js";
import { days, models, prices, subscription, users, usersAndModels } from "./listings.js";
import { overview } from "./overview.js";

/** `exports`: what `export` calls it. `asksPeriod`, `filters`: what the tools above it offer. */
const TABS = [
  { id: "overview", word: "overview", view: overview },
  { id: "days", word: "days", view: days, asksPeriod: true, exports: "by-day" },
  { id: "users", word: "users", view: users, asksPeriod: true, exports: "by-user", isOrganisations: true },
  { id: "models", word: "models", view: models, asksPeriod: true, exports: "by-model" },
  {
    id: "users-models",
    word: "usersAndModels",
    view: usersAndModels,
    asksPeriod: true,
    exports: "by-user-and-model",
    isOrganisations: true,
  },
  { id: "calls", word: "calls", view: calls, asksPeriod: true, exports: "calls", filters: true },
  { id: "awaiting", word: "awaiting", view: awaiting },
  { id: "subscription", word: "subscription", view: subscription, isOrganisations: true },
  { id: "prices", word: "prices", view: prices },
];

export function tabsFor({ kind }) {
  return TABS.filter((tab) => kind !== "employee" || !tab.isOrganisations);
}

/** The row of tabs over one panel. `chosen(tab)` is called when the reader switches. */
export class TabBar {
  constructor(tabs, words, chosen) {
    this.tabs = tabs;
    this.chosen = chosen;
    this.buttons = new Map(tabs.map((tab) => [tab.id, this.button(tab, words[tab.word])]));
    this.element = h(
      "div",
      { role: "tablist", class: "tabs", "aria-label": words.tabsLabel },
      ...this.buttons.values(),
    );
    this.element.addEventListener("keydown", (event) => this.key(event));
    // A narrow row shows some of the tabs only, and has no width at all before the styles are there.
    new ResizeObserver(() => this.reveal()).observe(this.element);
    this.panel = h("div", { role: "tabpanel", id: "panel", class: "panel", tabindex: "0" });
  }

  button(tab, title) {
    const properties = {
      type: "button",
      role: "tab",
      id: `tab-${tab.id}`,
      "data-tab": tab.id,
      "aria-controls": "panel",
    };
    return h("button", { ...properties, onclick: () => this.chosen(tab) }, title);
  }

  select(selected) {
    for (const [id, button] of this.buttons) {
      const isSelected = id === selected.id;
      button.setAttribute("aria-selected", String(isSelected));
      // One stop for the Tab key; the arrows move between the tabs.
      button.tabIndex = isSelected ? 0 : -1;
    }
    this.selected = this.buttons.get(selected.id);
    this.reveal();
    this.panel.setAttribute("aria-labelledby", `tab-${selected.id}`);
  }

  /** Sideways only: `scrollIntoView` would move the page around the component as well. */
  reveal() {
    if (!this.selected) return;
    const [row, tab] = [this.element.getBoundingClientRect(), this.selected.getBoundingClientRect()];
    this.element.scrollLeft += Math.min(0, tab.left - row.left) + Math.max(0, tab.right - row.right);
  }

  key(event) {
    const index = this.tabs.findIndex(({ id }) => event.target.dataset.tab === id);
    const target = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: this.tabs.length - 1 }[
      event.key
    ];
    if (index < 0 || target === undefined) return;
    event.preventDefault();
    const tab = this.tabs.at(target % this.tabs.length);
    this.chosen(tab);
    this.buttons.get(tab.id).focus();
  }
}
