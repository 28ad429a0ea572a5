"""axe-core on every tab: nothing that keeps a reader with other eyes, ears or hands from the numbers."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from books import BILLING_ZONE, wait_settled
from browser import ORGANISATION_TABS, OWN_TABS, PHONE, WIDE, UsagePage, window
from office import Office, open_office
from stack import Stack, wait_until
from stand_in import Person

# Beside the Python that runs this.
AXE = Path(sys.prefix) / "axe/node_modules/axe-core/axe.min.js"
SEVERE = {"serious", "critical"}

EWA = Person("3f0d2c1e-0000-4000-8000-000000000001", "Ewa Administrator", "ewa@example.com", "admin")
ANNA = Person("3f0d2c1e-0000-4000-8000-000000000002", "Anna Żółć", "anna@example.com")


@pytest.fixture(scope="module")
def office(module_stack: Stack) -> Office:
    """An office in which every part of the page has something to show: a limit, days, calls, one without a cost."""
    office = open_office(module_stack, [EWA, ANNA], SPENDING_LIMIT="1", SHOW_COST="true")
    now = datetime.now(BILLING_ZONE)
    for days in (0, 1, 2, 3, 8, 33, 40):
        for person in (EWA, ANNA):
            office.call(person, "openai/gpt-5-mini", now - timedelta(days=days), completion_tokens=20_000)
    wait_settled(office.simulator, office.daemon, 14)
    office.call(ANNA, "openai/gpt-5", usage="none", generation_error="500")
    wait_until("it awaits its cost", lambda: office.ask(EWA, "awaiting")["open"] == 1)
    return office


SIZES = pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
THEMES = pytest.mark.parametrize("theme", ["light", "dark"])


@SIZES
@THEMES
def test_no_tab_keeps_anybody_out(browser: Browser, office: Office, theme: Any, size: Any) -> None:
    """The administrator's tabs."""
    with window(browser, office.url, EWA, color_scheme=theme, viewport=size) as opened:
        page = UsagePage(opened.page).open(office.url, period="last-90-days")
        found = {}
        for tab in ORGANISATION_TABS:
            page.go(tab)
            found[tab] = severe(page)
        assert {tab: violations for tab, violations in found.items() if violations} == {}


@THEMES
def test_nor_do_an_employees_and_a_strangers(browser: Browser, office: Office, theme: Any) -> None:
    """The employee's tabs in Polish, a period that makes no sense, and the message instead of numbers."""
    with window(browser, office.url, ANNA, color_scheme=theme, locale="pl-PL") as opened:
        page = UsagePage(opened.page).open(office.url)
        for tab in OWN_TABS:
            page.go(tab)
            assert severe(page) == [], tab
        page.go("calls")
        page.choose("period", "custom")
        page.find('input[name="to"]').fill("2020-01-01")
        assert severe(page) == []
    with window(browser, office.url, None, color_scheme=theme) as opened:
        page = UsagePage(opened.page)
        page.page.goto(f"{office.url}/usage/")
        page.find("[data-message]").wait_for()
        assert severe(page) == []


def test_the_checker_sees_into_the_component(browser: Browser, office: Office) -> None:
    """A control: a fault put there on purpose is found."""
    with window(browser, office.url, EWA) as opened:
        page = UsagePage(opened.page).open(office.url)
        page.find("#panel").evaluate("(panel) => panel.append(document.createElement('button'))")
        (found,) = severe(page)
        assert "button-name" in found


def severe(page: UsagePage) -> list[str]:
    """What axe-core calls serious or critical, with where it is. The policy of the page does not bind the debugger."""
    page.page.evaluate(AXE.read_text() + ";0")
    # What fades in is looked at when it is there.
    page.component.evaluate(_ANIMATIONS_DONE)
    result = page.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{violation['impact']} {violation['id']}: {json.dumps([node['target'] for node in violation['nodes']])[:500]}"
        for violation in result["violations"]
        if violation["impact"] in SEVERE
    ]


_ANIMATIONS_DONE = """
async (usage) => {
  const ending = usage.shadowRoot.getAnimations().filter((animation) =>
    Number.isFinite(animation.effect.getComputedTiming().endTime));
  await Promise.allSettled(ending.map((animation) => animation.finished));
}
"""
