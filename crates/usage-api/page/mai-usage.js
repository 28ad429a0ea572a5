// <mai-usage>: the usage of an organisation, or one's own, from the usage API.
//
//   <script type="module" src="/usage/mai-usage.js"></script><mai-usage></mai-usage>
//
// Attributes: `base` (the API, by default beside these files), `lang` (`en`, `pl`), `theme` (`auto`, `light`,
// `dark`), `token` (a bearer, instead of the session's cookie), `standalone` (a page of its own: the address
// bar remembers what is chosen).

import { Api, ApiError } from "./api.js";
import { Dashboard } from "./dashboard.js";
import { h } from "./dom.js";
import { wordsOf } from "./words.js";

const STYLESHEET = new URL("mai-usage.css", import.meta.url).href;
const DEFAULT_BASE = "../api/v1/usage/";

/** `theme` is not among them: it is CSS's alone. */
const ASKED_ANEW = ["base", "lang", "token"];

class MaiUsage extends HTMLElement {
  static observedAttributes = ASKED_ANEW;

  constructor() {
    super();
    const styles = h("link", { rel: "stylesheet", href: STYLESHEET });
    this.root = h("div", { class: "root", hidden: true });
    // Not shown before its styles are there; without them it is still readable.
    for (const end of ["load", "error"])
      styles.addEventListener(end, () => (this.root.hidden = false), { once: true });
    this.attachShadow({ mode: "open" }).append(styles, this.root);
    this.dashboard = null;
    /** What the operator typed; kept nowhere else, so that closing the page forgets it. */
    this.typedToken = null;
  }

  connectedCallback() {
    this.start();
  }

  disconnectedCallback() {
    this.starting?.abort();
    this.dashboard?.close();
    this.dashboard = null;
  }

  attributeChangedCallback(_name, before, now) {
    if (this.isConnected && before !== now) this.start();
  }

  get isStandalone() {
    return this.hasAttribute("standalone");
  }

  async start() {
    this.starting?.abort();
    this.dashboard?.close();
    this.dashboard = null;
    const { signal } = (this.starting = new AbortController());
    const words = this.words();
    this.root.lang = words.locale.slice(0, 2);
    this.say(words.loading);
    const api = new Api(this.base(), this.typedToken ?? this.getAttribute("token"));
    try {
      const me = await api.get("me", {}, signal);
      if (!signal.aborted) this.open(api, words, me);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      this.refuse(error.status, words);
    }
  }

  open(api, words, me) {
    const told = { refused: (status) => this.refuse(status, words), restart: () => this.start() };
    const memory = this.isStandalone ? addressBar : null;
    this.dashboard = new Dashboard({ api, words, me, stylesheet: STYLESHEET, memory, told });
    this.root.replaceChildren(this.dashboard.element);
    this.dashboard.open();
    if (this.isStandalone) {
      document.documentElement.lang = this.root.lang;
      document.title = `${words.title} · ${me.organisation.name}`;
    }
  }

  /** A message in place of the numbers: who may not read must not go on seeing what he once could. */
  refuse(status, words) {
    this.dashboard?.close();
    this.dashboard = null;
    const [kind, title, hint] =
      status === 401
        ? ["signed-out", words.signedOut, words.signedOutHint]
        : status === 403
          ? ["forbidden", words.forbidden, words.forbiddenHint]
          : ["unavailable", words.unavailable, words.unavailableHint];
    this.typedToken = null;
    const asksWho = kind === "signed-out" && this.isStandalone;
    const signIn = asksWho ? h("a", { class: "button primary", href: "/" }, words.signIn) : null;
    const retry = h(
      "button",
      { type: "button", class: "button", "data-action": "retry", onclick: () => this.start() },
      words.retry,
    );
    const buttons = h("p", { class: "buttons" }, signIn, retry);
    this.root.replaceChildren(
      h(
        "section",
        { class: "message", role: "status", "data-message": kind },
        h("h1", null, title),
        h("p", null, hint),
        buttons,
        asksWho ? this.operatorsDoor(words) : null,
      ),
    );
  }

  /** The operator has no account in the chat application. */
  operatorsDoor(words) {
    const token = h("input", { type: "password", name: "token", autocomplete: "off", required: true });
    const enter = (event) => {
      event.preventDefault();
      this.typedToken = token.value.trim();
      this.start();
    };
    return h(
      "details",
      { class: "operator" },
      h("summary", null, words.operator),
      h(
        "form",
        { onsubmit: enter },
        h("label", null, `${words.operatorsToken} `, token),
        h("button", { type: "submit", class: "button", "data-action": "enter" }, words.enter),
      ),
    );
  }

  say(text) {
    this.root.replaceChildren(h("p", { class: "message muted", role: "status" }, text));
  }

  words() {
    const around = [document.documentElement.lang, navigator.language];
    // The page of its own is written in English until the reader's language is known.
    return wordsOf(this.getAttribute("lang"), ...(this.isStandalone ? around.reverse() : around));
  }

  base() {
    const base = new URL(
      this.getAttribute("base") ?? new URL(DEFAULT_BASE, import.meta.url),
      document.baseURI,
    );
    if (!base.pathname.endsWith("/")) base.pathname += "/";
    return base.href;
  }
}

const addressBar = {
  read: () => Object.fromEntries(new URLSearchParams(location.hash.slice(1))),
  write(state) {
    const told = Object.entries(state).filter(([, value]) => value !== "");
    history.replaceState(history.state, "", `#${new URLSearchParams(told)}`);
  },
};

if (!customElements.get("mai-usage")) customElements.define("mai-usage", MaiUsage);
