"""The usage page inside a stock Open WebUI: one script of ours, one host name, and everybody's own numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from books import assert_books_equal_truth, sums, wait_settled
from browser import ORGANISATION_TABS, OWN_TABS, UsagePage, Window, seconds_until, shown_dollars, window
from gateway import Gateway
from stack import PROXY_TOKEN, Daemon, Simulator, Stack, free_ports
from test_page import dollars
from webui import PASSWORD, Account, OpenWebUi

SMALL = "example/small-model"
DATED = "openai/gpt-5-mini"

ENTRY = "[data-mai-usage]"
STRIP = "#settings-tabs-container"


@dataclass(frozen=True)
class Company:
    """A company that works in Open WebUI, under one host name with its sidecar."""

    simulator: Simulator
    daemon: Daemon
    gateway: Gateway
    admin: Account
    anna: Account

    def charge(self, account: Account | None = None) -> str:
        """What he has to pay, or everybody, by OpenRouter's bill."""
        user_ids = [self.admin.user_id, self.anna.user_id]
        truth = assert_books_equal_truth(self.simulator, self.daemon, user_ids)
        by_user = sums(truth.bookings(), lambda booking: booking.user_id if account else None)
        return dollars(by_user[account.user_id if account else None].charge_pico_usd)


@pytest.fixture(scope="module")
def company(module_stack: Stack) -> Company:
    """Two accounts, each of which has made calls."""
    simulator = module_stack.simulator()
    (port,) = free_ports(1)
    daemon = module_stack.daemon(simulator, OPENWEBUI_URL=f"http://127.0.0.1:{port}")
    webui = OpenWebUi(module_stack.directory / "open-webui", port, daemon.proxy_url, PROXY_TOKEN)
    module_stack.start(webui)
    gateway = Gateway(module_stack.directory / "nginx", daemon.usage_url, webui.base_url)
    module_stack.start(gateway)
    admin = webui.sign_up("Ewa Admin", EMAILS["admin"])
    anna = webui.add(admin, "Anna Żółć", EMAILS["employee"])
    for account, model in [(admin, SMALL), (anna, SMALL), (anna, DATED)]:
        account.ask(model, "What is a sidecar?")
    wait_settled(simulator, daemon, 3)
    return Company(simulator, daemon, gateway, admin, anna)


EMAILS = {"admin": "ewa@example.com", "employee": "anna@example.com"}


@contextlib.contextmanager
def signed_in(browser: Browser, company: Company, who: str, **options: Any) -> Iterator[Window]:
    """A window in which somebody has signed in as people do."""
    with window(browser, company.gateway.url, None, locale="en-US", **options) as opened:
        page = opened.page
        page.goto(f"{company.gateway.url}/auth")
        page.locator('input[type="email"]').fill(EMAILS[who])
        page.locator('input[type="password"]').fill(PASSWORD)
        page.locator('button[type="submit"]').click()
        page.locator("#chat-input").wait_for()
        yield opened
        # It may complain in its console of what is not there on a closed network; its scripts must not fail.
        assert [said for said in opened.trouble if said.startswith(("uncaught: ", "dialog: "))] == []


def open_settings(page: Page) -> None:
    """Opens the dialog by its key: where its menu is and what it is called differs from version to version."""
    strip = page.locator(STRIP)

    def is_open() -> bool:
        # The news of a version lie over everything when somebody signs in for the first time.
        news = page.get_by_role("button", name="Okay, Let's Go!")
        if news.is_visible():
            news.click()
        if not strip.is_visible():
            page.keyboard.press("Control+.")
        with contextlib.suppress(PlaywrightTimeout):
            strip.wait_for(timeout=1_000)
        return strip.is_visible() and not news.is_visible()

    seconds_until(is_open)


def selected(page: Page) -> list[str]:
    """Which tabs of the dialog look chosen."""
    tabs: list[str] = page.locator(f'{STRIP} [role="tab"][aria-selected="true"]').evaluate_all(
        "(tabs) => tabs.map((tab) => tab.getAttribute('aria-controls'))"
    )
    return tabs


def test_the_administrator_sees_the_company(browser: Browser, company: Company) -> None:
    """Settings, Usage: the sums are the bill of the calls that were made there, and a new one comes by itself."""
    with signed_in(browser, company, "admin") as opened:
        open_settings(opened.page)
        opened.page.locator(ENTRY).click()
        usage = UsagePage(opened.page)
        usage.wait_shown("overview")
        assert usage.tabs() == ORGANISATION_TABS
        whole = company.charge()
        shown = usage.tile("this-month")
        assert (shown.value, shown.text) == (whole, shown_dollars(whole))
        usage.go("users")
        rows = usage.table("users").rows
        assert {key: row["charge"].value for key, row in rows.items()} == {
            account.user_id: company.charge(account) for account in (company.admin, company.anna)
        }
        usage.wait_live()
        company.anna.ask(DATED, "And now?")
        wait_settled(company.simulator, company.daemon)
        seconds_until(lambda: usage.table("users").total["charge"].value == company.charge())


def test_an_employee_sees_himself(browser: Browser, company: Company) -> None:
    """The same entry, and one's own numbers only."""
    with signed_in(browser, company, "employee") as opened:
        open_settings(opened.page)
        opened.page.locator(ENTRY).click()
        usage = UsagePage(opened.page)
        usage.wait_shown("overview")
        assert usage.tabs() == OWN_TABS
        assert usage.tile("this-month").value == company.charge(company.anna)
        usage.go("calls")
        assert company.admin.user_id not in usage.markup()
        assert company.admin.name not in usage.text()


def test_leaving_and_coming_back(browser: Browser, company: Company) -> None:
    """Open WebUI's own tabs stay as they were; one is chosen, one is shown, whichever way one goes."""
    with signed_in(browser, company, "admin") as opened:
        page = opened.page
        open_settings(page)
        (first,) = selected(page)
        entry, usage = page.locator(ENTRY), page.locator("mai-usage")
        entry.wait_for()
        others = [tab for tab in ("tab-interface", "tab-account") if tab != first]
        for tab in [first, *others]:
            entry.click()
            usage.locator("[data-tile]").first.wait_for()
            assert selected(page) == ["tab-mai-usage"]
            page.locator(f'{STRIP} [aria-controls="{tab}"]').click()
            seconds_until(lambda: selected(page) == [tab])
            assert usage.count() == 0
        entry.click()
        usage.locator("[data-tile]").first.wait_for()
        page.keyboard.press("Escape")
        page.locator(STRIP).wait_for(state="detached")
        open_settings(page)
        assert page.locator(ENTRY).count() <= 1
        page.locator(ENTRY).click()
        usage.locator("[data-tile]").first.wait_for()


def test_without_the_sidecar(browser: Browser, company: Company) -> None:
    """The entry says so, or is not there; Open WebUI is none the worse."""
    with signed_in(browser, company, "admin") as opened, contextlib.ExitStack() as restored:
        page = opened.page
        open_settings(page)
        page.locator(ENTRY).wait_for()
        company.daemon.kill()
        restored.callback(company.daemon.start)
        page.locator(ENTRY).click()
        page.locator('mai-usage [data-message="unavailable"]').wait_for()
        page.locator(f'{STRIP} [aria-controls="tab-account"]').click()
        seconds_until(lambda: selected(page) == ["tab-account"])
        with signed_in(browser, company, "employee") as late:
            tried = f"{company.gateway.url}/usage/mai-usage.js"
            with late.page.expect_response(lambda answer: (answer.status, answer.url) == (502, tried)):
                open_settings(late.page)
            late.page.locator(f'{STRIP} [aria-controls="tab-account"]').click()
            seconds_until(lambda: selected(late.page) == ["tab-account"])
            assert late.page.locator(ENTRY).count() == 0
