"""Debian's Chromium, and the usage page in it as a reader sees it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Locator, Page, sync_playwright

from stand_in import Person

CHROMIUM = Path("/usr/bin/chromium")
# Nothing but loopback is asked for, also where the network is closed. Each run has a profile of its own.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()

# Generous, because the machine may be compiling beside the tests.
PATIENCE_MS = 30_000

WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}

ORGANISATION_TABS = [
    "overview", "days", "users", "models", "users-models", "calls", "awaiting", "subscription", "prices",
]
OWN_TABS = ["overview", "days", "models", "calls", "awaiting", "prices"]


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that ends with the block."""
    if not CHROMIUM.exists():
        raise FileNotFoundError(f"{CHROMIUM} is missing. hint: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, headless=True)
        try:
            yield browser
        finally:
            browser.close()


# Runs in every document before its own scripts, whatever its policy says.
_WATCH = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy violated: ${event.violatedDirective} by ${event.blockedURI} ${event.sample}`));
// A headless browser has no printer; what would be printed is looked at instead.
window.print = () => { window.isPrinted = true; };
"""


class Window:
    """One window, and everything in it that a reader or an operator would call trouble."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        # What a script, the policy or the browser complained of; what a request was answered with from 400 on.
        self.trouble: list[str] = []
        self.refusals: list[tuple[int, str]] = []
        self.asked: list[str] = []
        context.add_init_script(_WATCH)
        context.set_default_timeout(PATIENCE_MS)
        self.page: Page = context.new_page()
        self.page.on("console", lambda said: self._noted(said.type, said.text))
        self.page.on("pageerror", lambda error: self.trouble.append(f"uncaught: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("response", lambda answer: self._answered(answer.status, answer.url))
        self.page.on("dialog", self._dialog)

    def _noted(self, kind: str, text: str) -> None:
        # A request that failed is noted by its status.
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            self.trouble.append(f"{kind}: {text}")

    def _answered(self, status: int, url: str) -> None:
        if status >= 400:
            self.refusals.append((status, url))

    def _dialog(self, dialog: Any) -> None:
        self.trouble.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def assert_calm(self) -> None:
        """Nothing went wrong since the window was opened."""
        assert self.trouble == []
        assert self.refusals == []

    def close(self) -> None:
        """Closes it with its cookies."""
        self.context.close()


@contextlib.contextmanager
def window(browser: Browser, url: str, person: Person | None, **options: Any) -> Iterator[Window]:
    """A window of `person`, signed in at `url`. Another person, another set of cookies."""
    options = {"viewport": WIDE, "locale": "en-GB", "timezone_id": "Asia/Tokyo", **options}
    context = browser.new_context(**options)
    if person:
        context.add_cookies([{"name": "token", "value": person.token, "url": url, "httpOnly": True, "sameSite": "Lax"}])
    opened = Window(context)
    try:
        yield opened
    finally:
        opened.close()


@dataclass(frozen=True)
class Cell:
    """What stands in a cell: the text, and the API's own value behind it where there is one."""

    text: str
    value: str | None
    tooltip: str | None


# Text that only screen readers hear is not on the screen.
_READ_TABLE = """
(table) => {
  const text = (cell) => {
    const copy = cell.cloneNode(true);
    for (const spoken of copy.querySelectorAll(".spoken")) spoken.remove();
    return copy.textContent;
  };
  const read = (row) => Object.fromEntries([...row.children].map((cell) => {
    const data = cell.querySelector("data, time");
    return [cell.dataset.column, {
      text: text(cell),
      value: data?.value ?? data?.dateTime ?? null,
      tooltip: cell.querySelector("[title]")?.title ?? null,
    }];
  }));
  return {
    rows: [...table.tBodies[0].rows].map((row) => [row.dataset.key, read(row)]),
    total: table.tFoot.rows.length > 0 ? read(table.tFoot.rows[0]) : {},
  };
}
"""


@dataclass(frozen=True)
class Table:
    """A table of the page: rows by their key, in the order shown, and the foot."""

    rows: dict[str, dict[str, Cell]]
    total: dict[str, Cell]

    def values(self, column: str) -> list[str | None]:
        """A column from top to bottom."""
        return [row[column].value for row in self.rows.values()]

    def texts(self, column: str) -> list[str]:
        """The same as it is shown."""
        return [row[column].text for row in self.rows.values()]


class UsagePage:
    """`<mai-usage>` in a window."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.component = page.locator("mai-usage")

    def open(self, url: str, tab: str = "overview", **state: str) -> UsagePage:
        """Opens the page of its own at a tab, and waits for its numbers."""
        told = "&".join(f"{key}={value}" for key, value in {"tab": tab, **state}.items())
        # A change behind `#` alone loads nothing.
        self.page.goto("about:blank")
        self.page.goto(f"{url}/usage/#{told}")
        self.wait_shown(tab)
        return self

    def find(self, selector: str) -> Locator:
        """Elements inside the component."""
        return self.component.locator(selector)

    def wait_shown(self, tab: str | None = None) -> None:
        """Waits until the numbers of the chosen tab are there."""
        if tab:
            self.find(f'[data-tab="{tab}"][aria-selected="true"]').wait_for()
        self.find('#panel:not(.waiting):not([aria-busy="true"]) > *').first.wait_for()

    def wait_live(self) -> None:
        """Waits until the live stream is connected."""
        self.find('[data-live="on"]').wait_for()

    def go(self, tab: str) -> None:
        """Clicks on a tab."""
        self.find(f'[data-tab="{tab}"]').click()
        self.wait_shown(tab)

    def tabs(self) -> list[str]:
        """The tabs there are, from left to right."""
        tabs: list[str] = self.find('[role="tab"]').evaluate_all("(tabs) => tabs.map((tab) => tab.dataset.tab)")
        return tabs

    def choose(self, name: str, value: str) -> None:
        """Chooses in one of the tools above a tab: `period`, `user`, `model`."""
        self.find(f'select[name="{name}"]').select_option(value)
        self.wait_shown()

    def table(self, name: str) -> Table:
        """What a table shows now."""
        read = self.find(f'table[data-table="{name}"]').evaluate(_READ_TABLE)
        rows = {key: {column: Cell(**cell) for column, cell in row.items()} for key, row in read["rows"]}
        assert len(rows) == len(read["rows"]), "each row has a key of its own"
        return Table(rows, {column: Cell(**cell) for column, cell in read["total"].items()})

    def tile(self, name: str) -> Cell:
        """The number of a tile of the overview."""
        tile = self.find(f'[data-tile="{name}"] .tile-value')
        data = tile.locator("data")
        shows_money = data.count() > 0
        return Cell(
            tile.inner_text(),
            data.get_attribute("value") if shows_money else None,
            data.get_attribute("title") if shows_money else None,
        )

    def text(self) -> str:
        """Everything that is written anywhere in the component, seen or not."""
        return str(self.component.evaluate("(usage) => usage.shadowRoot.textContent"))

    def markup(self) -> str:
        """The whole document and the component in it."""
        both = "(usage) => document.documentElement.outerHTML + usage.shadowRoot.innerHTML"
        return str(self.component.evaluate(both))

    def sideways(self) -> int:
        """By how many pixels the document is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def shown_dollars(amount: Decimal | str) -> str:
    """The money rule: 0 < |v| < 0.01 with six decimals, all else with two; never a zero that is none."""
    exact = Decimal(amount)
    is_small = 0 < abs(exact) < Decimal("0.01")
    rounded = abs(exact).quantize(Decimal("0.000001") if is_small else Decimal("0.01"), ROUND_HALF_UP)
    sign = "-" if exact < 0 else ""
    if is_small and rounded == 0:
        return f"{'>' if sign else '<'}{sign}$0.000001"
    return f"{sign}${rounded:,}"


def seconds_until(probe: Any, deadline_seconds: float = 30.0) -> float:
    """How long it takes until `probe` gives something true, asked without a pause. It has to ask the browser each time:
    what a window is told by events (`Window.refusals`) is told only meanwhile. Events are for `Page.expect_...`.
    """
    started = time.monotonic()
    while not probe():
        assert time.monotonic() - started < deadline_seconds, "it did not come"
    return time.monotonic() - started
