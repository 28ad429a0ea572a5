// Everything below the title: what is chosen, what is loaded, and what the live stream changes in it.

import { ApiError } from "./api.js";
import { columnsOf } from "./columns.js";
import { h } from "./dom.js";
import { Format } from "./format.js";
import { Live } from "./live.js";
import { PERIODS, isPeriod, periodOf } from "./periods.js";
import { printReport } from "./print.js";
import { TabBar, tabsFor } from "./tabs.js";
import { Toolbar } from "./toolbar.js";

/** Between two readings of the shown tab, however many calls are told: twice a second is live enough. */
const REFRESH_PAUSE_MS = 500;

/** The day, the caller's role and whatever the live stream cannot tell are looked at this often. */
const CHECK_EVERY_MS = 60_000;

/** A screen reader that heard of every call would say nothing else. */
const ANNOUNCE_EVERY_MS = 15_000;

export class Dashboard {
  /**
   * `told`: `refused(status)` when the caller may not read any more, `restart()` when he is somebody else
   * now.
   */
  constructor({ api, words, me, stylesheet, memory, told }) {
    api.scope = me.kind === "employee" ? "me/" : "";
    const format = new Format(words, me);
    this.context = {
      api,
      words,
      me,
      format,
      goTo: (id) => this.goTo(id),
      failed: (error) => this.failed(error),
    };
    this.context.columns = columnsOf(this.context);
    this.stylesheet = stylesheet;
    this.memory = memory;
    this.told = told;
    this.tabs = tabsFor(me);
    this.state = this.remembered();
    this.view = null;
    this.loading = null;
    this.refreshedAt = null;
    this.announcedAt = -Infinity;

    this.bar = new TabBar(this.tabs, words, (tab) => this.change({ tab: tab.id }));
    this.toolbar = new Toolbar(this.context, {
      changed: (part) => this.change(part),
      failed: (text) => this.notify(text),
    });
    this.notice = h("div", { class: "notice", role: "status" });
    this.announcer = h("div", { class: "spoken", role: "status", "data-announcer": true });
    this.livePill = h("span", { class: "live", "data-live": "off" }, words.reconnecting);
    const body = [this.bar.element, this.toolbar.element, this.notice, this.bar.panel, this.announcer];
    this.element = h("div", { class: "dashboard" }, this.header(), ...body);

    this.live = new Live(api, {
      told: (event) => this.event(event),
      changed: (isLive) => this.showLive(isLive),
    });
    this.followVisibility = () => (document.hidden ? this.live.stop() : this.wake());
  }

  open() {
    this.isOpen = true;
    document.addEventListener("visibilitychange", this.followVisibility);
    this.timer = setInterval(() => this.check(), CHECK_EVERY_MS);
    this.live.start();
    this.openView();
  }

  close() {
    this.isOpen = false;
    document.removeEventListener("visibilitychange", this.followVisibility);
    clearInterval(this.timer);
    clearTimeout(this.refreshTimer);
    this.live.stop();
    this.loading?.abort();
  }

  header() {
    const { words, me } = this.context;
    const title = me.kind === "employee" ? words.myTitle : words.title;
    const print = h(
      "button",
      { type: "button", class: "button", "data-action": "print", onclick: () => this.print() },
      words.print,
    );
    return h(
      "header",
      { class: "header" },
      h("div", null, h("h1", null, title), h("p", { class: "muted" }, h("bdi", null, me.organisation.name))),
      h("div", { class: "actions" }, this.livePill, print),
    );
  }

  // What is chosen.

  remembered() {
    const { me } = this.context;
    const told = this.memory?.read() ?? {};
    const period = PERIODS.includes(told.period) ? told.period : "this-month";
    const isCustom = period === "custom" && isPeriod(told);
    const days = isCustom ? { from: told.from, to: told.to } : periodOf(period, me.today);
    return {
      tab: this.tabs.some(({ id }) => id === told.tab) ? told.tab : this.tabs[0].id,
      period: period === "custom" && !isCustom ? "this-month" : period,
      ...days,
      // An employee may not even ask about others; the bookmark of an administrator does.
      user_id: me.kind === "employee" ? "" : told.user_id ?? "",
      model: told.model ?? "",
    };
  }

  goTo(id) {
    this.change({ tab: id });
    this.bar.buttons.get(id).focus();
  }

  change(part) {
    this.state = { ...this.state, ...part };
    const { from, to, ...rest } = this.state;
    this.memory?.write(rest.period === "custom" ? { ...rest, from, to } : rest);
    this.openView();
  }

  get tab() {
    return this.tabs.find(({ id }) => id === this.state.tab);
  }

  get question() {
    const { from, to, user_id, model } = this.state;
    return { from, to, user_id, model };
  }

  // What is loaded.

  openView() {
    this.loading?.abort();
    this.loading = null;
    this.bar.select(this.tab);
    this.view = this.tab.view(this.context, this.question);
    this.toolbar.show(this.tab, this.state, this.view);
    this.bar.panel.classList.add("waiting");
    if (this.bar.panel.childElementCount === 0)
      this.bar.panel.append(h("p", { class: "muted" }, this.context.words.loading));
    this.refresh();
  }

  /** Asks for the shown tab once more; one question at a time, and a pause before the next. */
  async refresh() {
    if (this.loading) return (this.isRefreshWanted = true);
    clearTimeout(this.refreshTimer);
    this.isRefreshWanted = false;
    const loading = (this.loading = new AbortController());
    const { view } = this;
    this.bar.panel.setAttribute("aria-busy", "true");
    try {
      const data = await this.load(view, loading.signal);
      if (loading.signal.aborted) return;
      if (!view.element.isConnected) this.bar.panel.replaceChildren(view.element);
      view.show(data);
      this.succeeded();
    } catch (error) {
      if (!loading.signal.aborted) this.failed(error);
    }
    if (this.loading !== loading) return;
    this.refreshTimer = setTimeout(() => {
      this.loading = null;
      if (this.isRefreshWanted) this.refresh();
    }, REFRESH_PAUSE_MS);
  }

  async load(view, signal) {
    const [data] = await Promise.all([
      view.load(signal),
      this.tab.filters ? this.toolbar.loadFilters(signal) : null,
    ]);
    return data;
  }

  succeeded() {
    this.refreshedAt = new Date();
    this.bar.panel.removeAttribute("aria-busy");
    this.bar.panel.classList.remove("waiting", "stale");
    this.notify("");
  }

  /**
   * Numbers of the shown tab are kept and said to be old; those of another question would be taken for this
   * one's.
   */
  failed(error) {
    if (!this.isOpen) return;
    this.bar.panel.removeAttribute("aria-busy");
    this.bar.panel.classList.remove("waiting");
    if (!(error instanceof ApiError)) console.error(error);
    if (error.status === 401 || error.status === 403) return this.told.refused(error.status);
    const { words, format } = this.context;
    const isShown = this.view.element.isConnected;
    if (isShown) this.bar.panel.classList.add("stale");
    else this.bar.panel.replaceChildren();
    this.notify(isShown ? words.staleSince(format.clockText(this.refreshedAt)) : words.unavailable, () =>
      this.refresh(),
    );
  }

  notify(text, retry) {
    const button =
      retry &&
      h(
        "button",
        { type: "button", class: "button", "data-action": "retry", onclick: retry },
        this.context.words.retry,
      );
    this.notice.replaceChildren(...(text ? [h("span", null, text), button].filter(Boolean) : []));
  }

  // What changes.

  event({ type, data }) {
    if (type === "hello") return this.refresh();
    if (type === "entry") this.announce(data);
    if (["entry", "awaiting", "reload"].includes(type)) this.refresh();
  }

  announce({ model, charge }) {
    const now = performance.now();
    if (now - this.announcedAt < ANNOUNCE_EVERY_MS) return;
    this.announcedAt = now;
    const { words, format } = this.context;
    this.announcer.textContent = words.newCall(model, format.moneyText(charge));
  }

  /** A stream that ends may mean a session that ended, or a service that is gone: asking tells which. */
  showLive(isLive) {
    const { words } = this.context;
    if (!isLive && this.livePill.dataset.live === "on") this.check();
    this.livePill.dataset.live = isLive ? "on" : "off";
    this.livePill.textContent = isLive ? words.live : words.reconnecting;
  }

  wake() {
    this.live.start();
    this.check();
  }

  /** Midnight, another account in the same browser, and a stream that cannot connect are all found here. */
  async check() {
    const { api, me } = this.context;
    try {
      const now = await api.get("me");
      if (!this.isOpen) return;
      if (now.kind !== me.kind || now.user?.user_id !== me.user?.user_id) return this.told.restart();
      if (now.today !== me.today) this.nextDay(now.today);
      else this.refresh();
    } catch (error) {
      this.failed(error);
    }
  }

  nextDay(today) {
    this.context.me.today = today;
    const { period } = this.state;
    this.change(period === "custom" ? {} : periodOf(period, today));
  }

  async print() {
    const { from, to } = this.tab.asksPeriod ? this.state : periodOf("this-month", this.context.me.today);
    try {
      await printReport(this.context, { from, to }, this.stylesheet);
    } catch (error) {
      this.failed(error);
    }
  }
}
