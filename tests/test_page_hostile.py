"""Hostile names of people, models and providers, sent by real calls: shown as text everywhere, and nothing runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from books import wait_settled
from browser import ORGANISATION_TABS, PHONE, WIDE, UsagePage, seconds_until, window
from hostile import hostile_names
from office import Office, open_office
from stack import Stack, wait_until
from stand_in import Person

NAMES = hostile_names(200)
ADMIN = Person("<b>admin</b>", "<script>window.isHarmed=1</script>", "admin@example.com", "admin")
PEOPLE = [
    Person(f'{number}"><img src=x onerror=window.isHarmed=1>', name, f'"><script>{number}</script>@example.com')
    for number, name in enumerate(NAMES)
]
# Never told a cost, so that the list of those awaiting one is full of names as well.
UNPRICED = PEOPLE[:20]
SMALL = "example/small-model"
# So many characters of a model's name are kept.
LONGEST_ASKED = 256


@pytest.fixture(scope="module")
def office(module_stack: Stack) -> Office:
    """Everybody has called once, and asked for a model that is called like himself."""
    office = open_office(module_stack, [ADMIN, *PEOPLE])
    for person in PEOPLE:
        office.call(person, person.name, model=person.name, provider=person.name)
    wait_settled(office.simulator, office.daemon, len(PEOPLE))
    for person in UNPRICED:
        office.call(person, person.name, usage="none", generation_error="500")
    wait_until("they await their cost", lambda: office.ask(ADMIN, "awaiting")["open"] == len(UNPRICED))
    return office


@pytest.fixture(params=[WIDE, PHONE], ids=["wide", "phone"])
def page(request: pytest.FixtureRequest, browser: Browser, office: Office) -> Iterator[UsagePage]:
    """A window in which nothing may run."""
    with window(browser, office.url, ADMIN, viewport=request.param) as opened:
        yield UsagePage(opened.page)
        assert opened.page.evaluate("window.isHarmed ?? null") is None
        opened.assert_calm()
        assert [url for url in opened.asked if url.startswith("http") and not url.startswith(office.url)] == []


def test_every_name_is_text(page: UsagePage, office: Office) -> None:
    """On each tab, the charts and the tooltips included: the name as it was sent, and no element out of it."""
    page.open(office.url, "users")
    _show_all(page, "users")
    shown = {row["user"].text for row in page.table("users").rows.values()}
    assert shown == {person.name + person.email for person in PEOPLE}
    page.go("models")
    _show_all(page, "models")
    assert set(page.table("models").texts("model")) == {row["model"] for row in office.ask(ADMIN, "by-model")["models"]}
    # Those that the API cuts are longer than any model is called.
    assert set(page.table("models").texts("model")) >= {name for name in NAMES if len(name) <= 64}
    page.go("users-models")
    _show_all(page, "users-models")
    for row in page.table("users-models").rows.values():
        assert row["user"].text.startswith(row["model"].text[:64])
    page.go("awaiting")
    _load_all(page)
    asked = page.table("awaiting").texts("model_asked")
    assert sorted(asked) == sorted(person.name[:LONGEST_ASKED] for person in UNPRICED)
    for tab in ORGANISATION_TABS:
        page.go(tab)
        assert page.sideways() == 0, tab
        strange = page.component.evaluate(_STRANGE)
        assert strange == [], tab


# What the page itself is made of. Whatever else is in the document came out of a name.
_STRANGE = """
(usage) => [...usage.shadowRoot.querySelectorAll("*")].filter((element) =>
  element.matches("script, img, iframe, object, embed, form, video, base, meta, template, style, details, math")
  || [...element.attributes].some(({ name }) => name.startsWith("on"))
  || /^\\s*(javascript|data):/i.test(element.getAttribute("href") ?? ""),
).map((element) => element.outerHTML.slice(0, 200))
"""


def test_calls_are_read_page_by_page(page: UsagePage, office: Office) -> None:
    """Fifty at a time, none twice, none left out; models, providers and who asked are text there too."""
    page.open(office.url, "calls")
    assert len(page.table("calls").rows) == 50
    _load_all(page)
    rows = page.table("calls").rows.values()
    assert {row["generation_id"].text for row in rows} == {
        charge["generation_id"] for charge in office.simulator.truth()
    } - {row["generation_id"] for row in office.ask(ADMIN, "awaiting", {"limit": 100})["calls"]}
    told = {call["generation_id"]: call for call in _all_calls(office)}
    for row in rows:
        call = told[row["generation_id"].text]
        assert row["user"].text == call["name"] + call["email"]
        assert row["model"].text.startswith(call["model"])
        assert row["provider"].text == (call["provider"] or "–")


def test_filters_and_search_take_them_as_text(page: UsagePage, office: Office) -> None:
    """They are offered, chosen, remembered in the address and looked for as they are."""
    page.open(office.url, "calls")
    for person in (PEOPLE[0], PEOPLE[7], PEOPLE[-1]):
        page.choose("user", person.user_id)
        page.page.reload()
        page.wait_shown("calls")
        seconds_until(lambda: page.find('select[name="user"]').input_value() == person.user_id)
        (row,) = page.table("calls").rows.values()
        assert row["user"].text == person.name + person.email
    page.open(office.url, "users")
    page.find('input[name="search"]').fill("<svg onload")
    assert all("<svg onload" in row["user"].text for row in page.table("users").rows.values())
    assert page.table("users").rows


def test_a_hostile_call_arrives_while_the_page_is_open(page: UsagePage, office: Office) -> None:
    """What is told to screen readers, what is highlighted, what is printed: text."""
    page.open(office.url)
    page.wait_live()
    person = PEOPLE[30]
    generation = office.call(person, person.name, model=person.name)
    page.find("[data-announcer]:not(:empty)").wait_for(state="attached")
    assert person.name[:20] in page.find("[data-announcer]").inner_text()
    page.go("calls")
    seconds_until(lambda: generation in page.table("calls").texts("generation_id"))
    page.find('[data-action="print"]').click()
    page.page.wait_for_function("() => window.isPrinted")
    page.page.emulate_media(media="print")
    assert person.name in page.page.locator(".mai-usage-report article").inner_text()


def test_a_spreadsheet_runs_none_of_them(page: UsagePage, office: Office) -> None:
    """No cell of a CSV file begins like a formula."""
    page.open(office.url, "users")
    with page.page.expect_download() as told:
        page.find('[data-export="csv"]').click()
    cells = [cell for row in csv.reader(io.StringIO(told.value.path().read_text("utf-8-sig"))) for cell in row]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))] == []
    assert "'=1+1" in cells


def _all_calls(office: Office) -> list[dict[str, str]]:
    calls, after = [], None
    while True:
        answer = office.ask(ADMIN, "calls", {"limit": 500, **({"after": after} if after else {})})
        calls += answer["calls"]
        after = answer["next"]
        if after is None:
            return calls


def _show_all(page: UsagePage, tab: str) -> None:
    """A long table shows its first rows until it is asked for all."""
    button = page.find("#panel .data-table > button")
    if button.is_visible():
        before = len(page.table(tab).rows)
        button.click()
        assert len(page.table(tab).rows) > before


def _load_all(page: UsagePage) -> None:
    more = page.find('[data-action="more"]')
    while more.is_visible():
        rows = page.find("tbody tr").count()
        more.click()
        # Where the last page is full, one without rows comes after it.
        seconds_until(lambda: page.find("tbody tr").count() > rows or not more.is_visible())
    assert page.find("tbody tr").count() > 0
