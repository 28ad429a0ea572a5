// Adds the usage page to the Settings dialog of a stock Open WebUI.
//
// Mounted over Open WebUI's own empty `static/loader.js`, which every page of it loads. Works where the
// reverse proxy sends /usage/ and /api/v1/usage/ of the same origin to the sidecar. It holds on to roles and
// ids, not to styles; where the dialog does not look as expected, or the sidecar does not answer, Open WebUI
// stays as it is. Read against Open WebUI 0.6.18 and 0.12.4.
(() => {
  "use strict";

  const COMPONENT = "/usage/mai-usage.js";
  const WHO_AM_I = "/api/v1/usage/me";
  const RETRY_MS = 60_000;

  const TITLES = {
    en: { usage: "Usage", costs: "Usage & costs" },
    pl: { usage: "Zużycie", costs: "Zużycie i koszty" },
  };

  // Bars of a chart, drawn as Open WebUI's own icons are.
  const ICON = "M4 20V11M10 20V4M16 20v-7M22 20H2";

  const SVG = "http://www.w3.org/2000/svg";

  let component = null;
  let failedAt = -Infinity;
  let isLookingSoon = false;

  /** What is shown in place of Open WebUI's own panel: `{entry, undo}`. */
  let open = null;

  new MutationObserver(lookSoon).observe(document.documentElement, { childList: true, subtree: true });
  // In the capture phase, so that everything is back in its place before Open WebUI's own handler runs.
  document.addEventListener("click", leave, { capture: true });
  lookSoon();

  /** Chats change the document many times a second; looking once a frame is enough. */
  function lookSoon() {
    if (isLookingSoon) return;
    isLookingSoon = true;
    requestAnimationFrame(() => {
      isLookingSoon = false;
      look().catch((error) => console.debug("mai-usage:", error));
    });
  }

  async function look() {
    if (!findDialog()) return;
    if (!(await isComponentThere())) return;
    // The dialog may have closed meanwhile.
    const dialog = findDialog();
    if (dialog && !dialog.strip.querySelector("[data-mai-usage]")) addEntry(dialog);
  }

  /** The row of tabs, one of its lists, and what stands beside it; null unless all of them are there. */
  function findDialog() {
    const strip = document.getElementById("settings-tabs-container");
    const example = strip?.querySelector('[role="tab"][aria-controls^="tab-"][aria-selected="false"]');
    const list = example?.closest('[role="tablist"]');
    const content = strip?.nextElementSibling;
    return list && strip.contains(list) && content instanceof HTMLElement
      ? { strip, example, list, content }
      : null;
  }

  function isComponentThere() {
    if (component === null && performance.now() - failedAt > RETRY_MS) component = loadComponent();
    return component;
  }

  async function loadComponent() {
    try {
      // Asked first, because an import that fails is told as an error of the page.
      const answer = await fetch(COMPONENT);
      const type = answer.headers.get("content-type") ?? "";
      if (answer.ok && type.includes("javascript")) {
        await import(COMPONENT);
        return true;
      }
    } catch (error) {
      console.debug("mai-usage:", error);
    }
    failedAt = performance.now();
    component = null;
    return false;
  }

  /** A copy of one of its tabs looks like them in every version. */
  function addEntry({ strip, example, list, content }) {
    const entry = example.cloneNode(true);
    for (const part of [entry, ...entry.querySelectorAll("[id]")]) part.removeAttribute("id");
    entry.dataset.maiUsage = "entry";
    entry.setAttribute("aria-controls", "tab-mai-usage");
    const label = entry.lastElementChild;
    if (label === null || label.textContent.trim() === "") return;
    label.textContent = title(strip);
    const icon = entry.querySelector("svg");
    if (icon) draw(icon);
    entry.addEventListener("click", () => show(entry, content, strip));
    // After the last tab and its comments: Open WebUI's framework finds its own by their neighbours.
    const last = [...list.children].findLast((child) => child.matches('[role="tab"]'));
    list.insertBefore(entry, last?.nextElementSibling ?? null);
  }

  function show(entry, content, strip) {
    if (open?.entry === entry && entry.isConnected) return;
    close();
    const selected = strip.querySelector('[role="tab"][aria-selected="true"]');
    const panel = document.createElement("div");
    panel.id = "tab-mai-usage";
    panel.className = content.className;
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-label", entry.textContent.trim());
    panel.style.overflowY = "auto";
    const display = content.style.display;
    content.style.setProperty("display", "none", "important");
    content.after(panel);
    const unmark = mark(entry, selected);
    const stopFollowing = follow(panel);
    const watcher = new MutationObserver(() => {
      const other = strip.querySelector('[role="tab"][aria-selected="true"]:not([data-mai-usage])');
      // Open WebUI chose another tab by itself, or drew its tabs anew without this one.
      if (other || !entry.isConnected) close();
    });
    watcher.observe(strip, { childList: true, subtree: true, attributeFilter: ["aria-selected"] });
    open = {
      entry,
      undo() {
        watcher.disconnect();
        stopFollowing();
        panel.remove();
        content.style.display = display;
        unmark();
      },
    };
  }

  function leave(event) {
    const tab = event.target.closest?.('#settings-tabs-container [role="tab"]');
    if (tab && tab !== open?.entry) close();
  }

  function close() {
    const closing = open;
    open = null;
    closing?.undo();
  }

  /**
   * Exchanges the looks of the two tabs; what it returns gives them back, as far as Open WebUI left them
   * alone.
   */
  function mark(entry, selected) {
    entry.setAttribute("aria-selected", "true");
    if (!selected) return () => entry.setAttribute("aria-selected", "false");
    const [plain, chosen] = [entry.className, selected.className];
    [entry.className, selected.className] = [chosen, plain];
    selected.setAttribute("aria-selected", "false");
    return () => {
      entry.className = plain;
      entry.setAttribute("aria-selected", "false");
      if (selected.className !== plain) return;
      selected.className = chosen;
      const isReplaced = document.querySelector(
        '#settings-tabs-container [role="tab"][aria-selected="true"]',
      );
      if (!isReplaced) selected.setAttribute("aria-selected", "true");
    };
  }

  /** The component in `panel`, in Open WebUI's language and theme, also when those change. */
  function follow(panel) {
    const usage = document.createElement("mai-usage");
    const adapt = () => {
      const isDark = document.documentElement.classList.contains("dark");
      usage.setAttribute("theme", isDark ? "dark" : "light");
      if (usage.lang !== language()) usage.lang = language();
    };
    adapt();
    const watcher = new MutationObserver(adapt);
    watcher.observe(document.documentElement, { attributeFilter: ["class", "lang"] });
    cookieOrToken().then((token) => {
      if (token) usage.setAttribute("token", token);
      panel.append(usage);
    });
    return () => watcher.disconnect();
  }

  /**
   * Open WebUI keeps its session in a cookie and in its storage; a browser may have lost or refused the
   * cookie.
   */
  async function cookieOrToken() {
    try {
      const { status } = await fetch(WHO_AM_I);
      return status === 401 ? localStorage.getItem("token") : null;
    } catch {
      return null;
    }
  }

  function title(strip) {
    const titles = TITLES[language().toLowerCase().split("-")[0]] ?? TITLES.en;
    // Newer versions have a Usage tab of their own, which knows tokens but no money.
    return strip.querySelector('[aria-controls="tab-usage"]') ? titles.costs : titles.usage;
  }

  function language() {
    return localStorage.getItem("locale") || document.documentElement.lang || "en";
  }

  function draw(icon) {
    const path = document.createElementNS(SVG, "path");
    const drawing = {
      d: ICON,
      fill: "none",
      stroke: "currentColor",
      "stroke-width": 2,
      "stroke-linecap": "round",
    };
    for (const [key, value] of Object.entries(drawing)) path.setAttribute(key, value);
    icon.setAttribute("viewBox", "0 0 24 24");
    icon.replaceChildren(path);
  }
})();
