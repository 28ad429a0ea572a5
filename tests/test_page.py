"""The usage page in a real browser: what it shows is the bill, and nobody sees more than he may."""

from __future__ import annotations

import csv
import io
import json
import re
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Browser

from books import BILLING_ZONE, Booking, Usage, assert_books_equal_truth, sums, wait_settled
from browser import (
    ORGANISATION_TABS,
    OWN_TABS,
    PHONE,
    UsagePage,
    seconds_until,
    shown_dollars,
    window,
)
from office import Office, open_office
from stack import ADMIN_TOKEN, ORGANIZATION_NAME, Stack
from stand_in import Person, StandIn

EWA = Person("3f0d2c1e-0000-4000-8000-000000000001", "Ewa Administrator", "ewa@example.com", "admin")
ANNA = Person("3f0d2c1e-0000-4000-8000-000000000002", "Anna Żółć", "anna@example.com")
LEI = Person("3f0d2c1e-0000-4000-8000-000000000003", "李雷", "lei@example.com")
OMAR = Person("3f0d2c1e-0000-4000-8000-000000000004", "Omar عمر", "omar@example.com")
WAITING = Person("3f0d2c1e-0000-4000-8000-000000000005", "Not Yet", "later@example.com", "pending")
PEOPLE = [EWA, ANNA, LEI, OMAR, WAITING]

SMALL = "example/small-model"
DATED = "openai/gpt-5-mini"
REASONING = "openai/gpt-5"
FREE = "meta-llama/llama-3.3-70b-instruct:free"

# As a charge: 0.002002, which two decimals would call nothing; and one pico-dollar, which six would.
SMALL_COST = "0.00154"
TINY_COST = "0.000000000001"

# The page is live when a call is on it within this time after OpenRouter's bill has it.
LIVE_SECONDS = 1.5


@dataclass(frozen=True)
class Sites:
    """Two other sites; the first may show the page in a frame."""

    friend: StandIn
    stranger: StandIn


@pytest.fixture(scope="module")
def sites(module_stack: Stack) -> Sites:
    """Opened before the office, whose settings name the friend."""
    sites = Sites(StandIn([]), StandIn([]))
    for site in (sites.friend, sites.stranger):
        module_stack.at_end(site.stop)
    return sites


@pytest.fixture(scope="module")
def office(module_stack: Stack, sites: Sites) -> Office:
    """An office after two months of work, everything settled."""
    ancestors = f"'self' {sites.friend.url}"
    office = open_office(module_stack, PEOPLE, SPENDING_LIMIT="100", FRAME_ANCESTORS=ancestors)
    now = datetime.now(BILLING_ZONE)
    for days in (0, 1, 2, 3, 9, 31, 33, 62):
        at = now - timedelta(days=days)
        office.call(EWA, SMALL, at)
        office.call(ANNA, DATED, at, completion_tokens=900 + 100 * days)
        office.call(LEI, REASONING, at, prompt_tokens=120_000 + days, cached_tokens=100_000, completion_tokens=40_000)
    office.call(ANNA, SMALL, now, true_cost=SMALL_COST)
    office.call(OMAR, SMALL, now, true_cost=TINY_COST)
    office.call(ANNA, FREE, now)
    wait_settled(office.simulator, office.daemon, 27)
    return office


@pytest.fixture
def admin(browser: Browser, office: Office) -> Iterator[UsagePage]:
    """The administrator's window, in which nothing may go wrong."""
    with window(browser, office.url, EWA) as opened:
        yield UsagePage(opened.page)
        opened.assert_calm()


def figures(usage: Usage) -> tuple[str, str, str, str]:
    """What the page shows of a sum, as the API writes it."""
    return str(usage.requests), str(usage.prompt_tokens), str(usage.completion_tokens), dollars(usage.charge_pico_usd)


def dollars(pico: int) -> str:
    """Decimal text, exact, without zeros at its end."""
    text = f"{Decimal(pico).scaleb(-12):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def between(bookings: list[Booking], period: dict[str, str]) -> list[Booking]:
    """Those of the days of a period."""
    return [booking for booking in bookings if period["from"] <= booking.day <= period["to"]]


LISTS = {
    "days": ("by-day", "days", lambda row: row["day"], lambda booking: booking.day),
    "users": ("by-user", "users", lambda row: row["user_id"], lambda booking: booking.user_id),
    "models": ("by-model", "models", lambda row: row["model"], lambda booking: booking.model),
    "users-models": (
        "by-user-and-model",
        "rows",
        lambda row: f"{row['user_id']} {row['model']}",
        lambda booking: f"{booking.user_id} {booking.model}",
    ),
}


@pytest.mark.parametrize("tab", LISTS)
def test_lists_are_the_bill(admin: UsagePage, office: Office, tab: str) -> None:
    """Every row and its foot: on the screen, in the API and on OpenRouter's bill the same, to the last digit."""
    assert_books_equal_truth(office.simulator, office.daemon, [person.user_id for person in PEOPLE])
    admin.open(office.url, tab, period="last-90-days")
    path, member, key_of_row, key_of_booking = LISTS[tab]
    today = datetime.now(BILLING_ZONE).date()
    period = {"from": str(today - timedelta(days=89)), "to": str(today)}
    told = {key_of_row(row): row for row in office.ask(EWA, path, period)[member]}
    bookings = between(office.bookings(), period)
    billed = {key: figures(usage) for key, usage in sums(bookings, key_of_booking).items()}

    table = admin.table(tab)

    columns = ("requests", "prompt_tokens", "completion_tokens", "charge")
    on_screen = {key: tuple(row[column].value for column in columns) for key, row in table.rows.items()}
    in_api = {key: tuple(str(row[column]) for column in columns) for key, row in told.items()}
    assert on_screen == in_api
    assert {key: row for key, row in on_screen.items() if row[0] != "0"} == billed
    for row in table.rows.values():
        assert row["charge"].text == shown_dollars(row["charge"].value or "")
        assert row["charge"].tooltip == f"{row['charge'].value} USD"
        assert row["requests"].text == f"{int(row['requests'].value or ''):,}"
    assert tuple(table.total[column].value for column in columns) == figures(sums(bookings, lambda _: 0)[0])


def test_overview_is_the_bill(admin: UsagePage, office: Office) -> None:
    """Today, the month and its curve, and how far the limit is used."""
    before = office.ask(EWA, "overview")
    admin.open(office.url)
    told = office.ask(EWA, "overview")
    bookings = office.bookings()
    for tile, period in {"today": told["today"], "this-month": told["this_month"]}.items():
        billed = dollars(sum(booking.usage.charge_pico_usd for booking in between(bookings, period)))
        shown = admin.tile(tile)
        assert (shown.value, shown.text) == (billed, shown_dollars(billed)), tile
        assert period["charge"] == billed
    # The pace sinks with every second without a call.
    projected = Decimal(admin.tile("projected").value or "")
    assert Decimal(told["projected_charge"]) <= projected <= Decimal(before["projected_charge"])
    # 100 dollars of cost are 130 of charge.
    assert told["limit"]["charge"] == "130"
    assert admin.tile("limit").text == f"{told['limit']['used_permille'] / 10:.1f}%"
    month = {"from": told["this_month"]["from"], "to": told["today"]["to"]}
    by_day = sums(between(bookings, month), lambda booking: booking.day)
    table = admin.table("this-month")
    assert len(table.rows) == int(month["to"][-2:]), "the days without a call as well"
    for day, row in table.rows.items():
        assert row["charge"].value == dollars(by_day.get(day, Usage()).charge_pico_usd), day
    assert table.values("so_far")[0] == told["this_month"]["charge"]
    assert admin.find('[data-card="awaiting"]').inner_text().count("0") == 3
    assert admin.find('[data-card="check"]').inner_text()


def test_calls_are_the_bill(admin: UsagePage, office: Office) -> None:
    """Each call, newest first, with what OpenRouter told of it."""
    admin.open(office.url, "calls", period="last-90-days")
    table = admin.table("calls")
    charges = {charge["generation_id"]: charge for charge in office.simulator.truth()}
    bookings = dict(zip(charges, office.bookings(), strict=True))
    assert sorted(table.texts("generation_id")) == sorted(charges)
    for row in table.rows.values():
        generation = row["generation_id"].text
        assert row["charge"].value == dollars(bookings[generation].usage.charge_pico_usd)
        assert row["reasoning_tokens"].value == str(charges[generation]["reasoning_tokens"])
        assert row["cached_tokens"].value == str(charges[generation]["cached_tokens"])
    instants = table.values("at")
    assert instants == sorted(instants, key=str, reverse=True)


def test_prices_and_the_rest(admin: UsagePage, office: Office) -> None:
    """What a million tokens cost the organisation; what is not there is said in words."""
    admin.open(office.url, "prices")
    shown = admin.table("prices").rows
    for price in office.ask(EWA, "prices")["models"]:
        row = shown[price["model"]]
        assert row["prompt_per_million"].value == price["prompt_per_million"], price
        assert row["completion_per_million"].value == price["completion_per_million"], price
    assert shown[SMALL]["prompt_per_million"].value == "0.156", "0.12 dollars, marked up"
    admin.go("subscription")
    assert "not configured" in admin.text()
    admin.go("awaiting")
    assert admin.table("awaiting").rows == {}


def test_small_amounts_are_not_nothing(admin: UsagePage, office: Office) -> None:
    """A charge of a fraction of a cent has six decimals, one below those says so; only nothing is $0.00."""
    admin.open(office.url, "calls", user_id=ANNA.user_id, model=SMALL)
    (row,) = admin.table("calls").rows.values()
    assert (row["charge"].text, row["charge"].tooltip) == ("$0.002002", "0.002002 USD")
    admin.open(office.url, "users")
    assert admin.table("users").rows[OMAR.user_id]["charge"].text == "<$0.000001"
    admin.open(office.url, "models")
    assert admin.table("models").rows[FREE]["charge"].text == "$0.00"
    for tab in ORGANISATION_TABS:
        admin.go(tab)
        zeros = admin.find('data.money:text-is("$0.00")').evaluate_all("(amounts) => amounts.map(({value}) => value)")
        assert set(zeros) <= {"0"}, tab


def test_a_new_call_appears_by_itself(browser: Browser, office: Office) -> None:
    """Nobody reloads: numbers change in every open window within a second and a half."""
    with window(browser, office.url, EWA) as hers, window(browser, office.url, ANNA) as annas:
        admin, anna = UsagePage(hers.page).open(office.url), UsagePage(annas.page).open(office.url)
        for page in (admin, anna):
            page.wait_live()
            page.page.evaluate("window.isTheSameDocument = true")
        took = []
        for _ in range(3):
            office.call(ANNA, DATED)
            billed_at = time.monotonic()
            whole, mine = dollars(_sum(office, _this_month())), dollars(_sum(office, _this_month(), ANNA))
            seconds_until(lambda: admin.tile("this-month").value == whole and anna.tile("this-month").value == mine)
            took.append(time.monotonic() - billed_at)
        # The machine may be busy with something else for a moment, but not every time.
        assert min(took) < LIVE_SECONDS, took
        admin.go("calls")
        first = next(iter(admin.table("calls").rows))
        generation = office.call(LEI, SMALL)
        seconds_until(lambda: generation in admin.table("calls").texts("generation_id"))
        assert next(iter(admin.table("calls").rows)) != first, "the newest stands on top"
        assert generation not in anna.text()
        for page in (admin, anna):
            assert page.page.evaluate("window.isTheSameDocument")
        hers.assert_calm()
        annas.assert_calm()


def _this_month() -> dict[str, str]:
    today = datetime.now(BILLING_ZONE)
    return {"from": today.strftime("%Y-%m-01"), "to": today.strftime("%Y-%m-%d")}


def _sum(office: Office, period: dict[str, str], person: Person | None = None) -> int:
    bookings = between(office.bookings(), period)
    return sum(b.usage.charge_pico_usd for b in bookings if person is None or b.user_id == person.user_id)


def test_an_employee_sees_himself(browser: Browser, office: Office) -> None:
    """No tab, name or number of anybody else, and nothing asked for that is not his."""
    with window(browser, office.url, ANNA) as opened:
        page = UsagePage(opened.page).open(office.url)
        assert page.tabs() == OWN_TABS
        mine = [booking for booking in office.bookings() if booking.user_id == ANNA.user_id]
        seen = ""
        for tab in OWN_TABS:
            page.go(tab)
            if page.find('select[name="period"]').is_visible():
                page.choose("period", "last-90-days")
            seen += page.markup()
            if tab in ("days", "models", "calls"):
                billed = dollars(sum(booking.usage.charge_pico_usd for booking in mine))
                assert page.table(tab).total["charge"].value == billed, tab
        others = [text for person in PEOPLE if person != ANNA for text in (person.user_id, person.name, person.email)]
        assert [text for text in others if text in seen] == []
        asked = {re.sub(r"\?.*", "", url.removeprefix(office.url)) for url in opened.asked if "/api/" in url}
        assert {path for path in asked if "/usage/me" not in path} <= {"/api/v1/usage/prices"}
        opened.assert_calm()


def test_a_bookmark_of_the_administrator_shows_an_employee_nothing(browser: Browser, office: Office) -> None:
    """Tabs and filters that are not his are passed over, not asked for."""
    with window(browser, office.url, ANNA) as opened:
        page = UsagePage(opened.page)
        page.page.goto(f"{office.url}/usage/#tab=users&user_id={LEI.user_id}")
        page.wait_shown("overview")
        page.go("calls")
        assert LEI.user_id not in page.markup()
        opened.assert_calm()


@pytest.mark.parametrize(
    ("person", "message", "status"),
    [(None, "signed-out", 401), (replace(ANNA, user_id="nobody"), "signed-out", 401), (WAITING, "forbidden", 403)],
    ids=["nobody", "stranger", "pending"],
)
def test_strangers_see_nothing(
    browser: Browser, office: Office, person: Person | None, message: str, status: int
) -> None:
    """A message, and not one number or name; nothing more is asked for."""
    with window(browser, office.url, person) as opened:
        page = UsagePage(opened.page)
        page.page.goto(f"{office.url}/usage/#tab=users")
        page.find(f'[data-message="{message}"]').wait_for()
        assert page.tabs() == []
        assert page.find("table, data, [data-tile]").count() == 0
        assert ORGANIZATION_NAME not in page.markup()
        assert opened.refusals == [(status, f"{office.url}/api/v1/usage/me")]
        assert opened.trouble == []
        if message == "signed-out":
            assert page.find('a[href="/"]').is_visible(), "the way to sign in"


def test_the_operator_comes_by_his_token(browser: Browser, office: Office) -> None:
    """He has no account: he types the token, sees the costs beside the charges, and a reload forgets him."""
    with window(browser, office.url, None) as opened:
        page = UsagePage(opened.page)
        page.page.goto(f"{office.url}/usage/#tab=models&period=last-90-days")
        for token, tab in [("not-the-token", None), (ADMIN_TOKEN, "models")]:
            page.find("details.operator > summary").click()
            page.find('input[name="token"]').fill(token)
            page.find('[data-action="enter"]').click()
            if tab is None:
                page.find("details.operator:not([open])").wait_for()
        page.wait_shown("models")
        by_model = sums(office.bookings(), lambda booking: booking.model)
        costs = {key: row["cost"].value for key, row in page.table("models").rows.items()}
        assert costs == {model: dollars(usage.cost_pico_usd) for model, usage in by_model.items()}
        assert ADMIN_TOKEN not in page.markup() + page.page.url
        rows = json.loads(_download(page, "json"))
        assert {row["model"]: row["cost"] for row in rows} == costs, "the token goes with the download"
        kept = page.page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
        assert kept == [0, 0, ""]
        page.page.reload()
        page.find('[data-message="signed-out"]').wait_for()
        assert opened.trouble == []


def test_a_session_that_ends_takes_the_numbers_away(browser: Browser, office: Office) -> None:
    """Who signs out in another window is shown no more here."""
    with window(browser, office.url, EWA) as opened:
        page = UsagePage(opened.page).open(office.url)
        opened.context.clear_cookies()
        page.find('[data-tab="users"]').click()
        page.find('[data-message="signed-out"]').wait_for()
        assert page.find("table, data").count() == 0
        assert opened.trouble == []


def test_the_closed_sidecar(browser: Browser, office: Office) -> None:
    """Old numbers are said to be old, no number is invented, and all is live again by itself."""
    with window(browser, office.url, EWA) as opened:
        page = UsagePage(opened.page).open(office.url)
        page.wait_live()
        before = page.tile("this-month")
        office.daemon.kill()
        try:
            page.find('[data-live="off"]').wait_for()
            # The other tab has no numbers of its own, so it has none to show.
            page.find('[data-tab="models"]').click()
            page.find(".notice button").wait_for()
            seconds_until(lambda: page.find("#panel data").count() == 0)
            with window(browser, office.url, ANNA) as late:
                late.page.goto(f"{office.url}/usage/")
                assert late.refusals == [(502, f"{office.url}/usage/")]
        finally:
            office.daemon.start()
        # Unless the page was faster and has it no more.
        page.find(".notice button").evaluate_all("(buttons) => buttons.forEach((button) => button.click())")
        page.wait_shown("models")
        page.wait_live()
        page.find(".notice:empty").wait_for(state="attached")
        page.go("overview")
        assert page.tile("this-month") == before
        office.daemon.kill()
        try:
            page.find('[data-live="off"]').wait_for()
            page.find("#panel.stale").wait_for()
            assert page.tile("this-month") == before
            assert "does not answer" in page.find(".notice").inner_text()
        finally:
            office.daemon.start()
        office.call(ANNA, DATED)
        page.wait_live()
        page.find("#panel:not(.stale)").wait_for()
        seconds_until(lambda: page.tile("this-month").value == office.ask(EWA, "overview")["this_month"]["charge"])
        assert opened.trouble == []
        assert {status for status, _ in opened.refusals} == {502}


def test_zloty_and_polish(browser: Browser, stack: Stack) -> None:
    """The currency is a setting, the language the browser's; the exact dollars stay a tooltip away."""
    office = open_office(stack, PEOPLE, CURRENCY="PLN", CURRENCY_PER_USD="4.05", SHOW_COST="true")
    office.call(ANNA, SMALL, true_cost="1000")
    office.call(LEI, SMALL, true_cost=SMALL_COST)
    wait_settled(office.simulator, office.daemon, 2)
    with window(browser, office.url, EWA, locale="pl-PL") as opened:
        page = UsagePage(opened.page).open(office.url, "users")
        rows = page.table("users").rows
        spaces = str.maketrans({"\u00a0": " ", "\u202f": " "})
        charges = {person.user_id: rows[person.user_id]["charge"] for person in (ANNA, LEI)}
        assert charges[ANNA.user_id].text.translate(spaces) == "5 265,00 zł"
        assert charges[ANNA.user_id].tooltip == "5265 PLN = 1300 USD"
        assert charges[LEI.user_id].text.translate(spaces) == "0,008108 zł"
        assert charges[LEI.user_id].value == "0.002002", "what the API told, in dollars"
        assert rows[ANNA.user_id]["cost"].text.translate(spaces) == "4 050,00 zł"
        assert page.page.title() == f"Zużycie · {ORGANIZATION_NAME}"
        assert page.page.locator("html").get_attribute("lang") == "pl"
        words = [page.find(f'[data-tab="{tab}"]').inner_text() for tab in ORGANISATION_TABS]
        assert words[:4] == ["Przegląd", "Dni", "Użytkownicy", "Modele"]
        opened.assert_calm()


def test_periods(admin: UsagePage, office: Office) -> None:
    """Each one asks for its days, and the address bar remembers it."""
    admin.open(office.url, "days")
    today = datetime.now(BILLING_ZONE).date()
    first = today.replace(day=1)
    before = first - timedelta(days=1)
    expected = {
        "this-month": (first, today),
        "last-month": (before.replace(day=1), before),
        "last-30-days": (today - timedelta(days=29), today),
        "last-90-days": (today - timedelta(days=89), today),
        "this-year": (today.replace(month=1, day=1), today),
    }
    for name, (start, end) in expected.items():
        admin.choose("period", name)
        days = sorted({booking.day for booking in between(office.bookings(), {"from": str(start), "to": str(end)})})
        assert sorted(admin.table("days").rows) == days, name
    admin.choose("period", "custom")
    admin.find('input[name="from"]').fill(str(today - timedelta(days=2)))
    admin.wait_shown()
    admin.find('input[name="to"]').fill(str(today - timedelta(days=1)))
    admin.wait_shown()
    wanted = [str(today - timedelta(days=days)) for days in (1, 2)]
    seconds_until(lambda: list(admin.table("days").rows) == wanted)
    admin.page.reload()
    admin.wait_shown("days")
    assert list(admin.table("days").rows) == wanted, "a reload stays where it was"
    admin.find('input[name="from"]').fill(str(today))
    assert "must not be after" in admin.find(".wrong").inner_text()
    assert list(admin.table("days").rows) == wanted, "what makes no sense changes nothing"


def test_sorting_and_searching(admin: UsagePage, office: Office) -> None:
    """By any column, both ways; names are found without their accents; the foot adds up what is left."""
    admin.open(office.url, "users", period="last-90-days")
    amounts = [Decimal(value or "") for value in admin.table("users").values("charge")]
    assert amounts == sorted(amounts, reverse=True), "the dearest first"
    header = admin.find('th[data-column="charge"]')
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert [Decimal(value or "") for value in admin.table("users").values("charge")] == sorted(amounts)
    admin.find('th[data-column="user"]').get_by_role("button").click()
    names = admin.table("users").texts("user")
    assert [name.split()[0] for name in names[:3]] == ["Anna", "Ewa", "Omar"]
    admin.find('input[name="search"]').fill("zolc")
    found = admin.table("users")
    assert list(found.rows) == [ANNA.user_id]
    assert found.total["charge"].value == found.rows[ANNA.user_id]["charge"].value
    admin.find('input[name="search"]').fill("nobody at all")
    assert admin.table("users").rows == {}
    assert "Nothing matches" in admin.text()


def test_calls_are_filtered(admin: UsagePage, office: Office) -> None:
    """By who and by what; both are offered by name."""
    admin.open(office.url, "calls", period="last-90-days")
    admin.choose("user", ANNA.user_id)
    assert len(admin.table("calls").rows) == len([b for b in office.bookings() if b.user_id == ANNA.user_id])
    admin.choose("model", FREE)
    (row,) = admin.table("calls").rows.values()
    assert (row["charge"].value, row["user"].text) == ("0", f"{ANNA.name}{ANNA.email}")


@pytest.mark.parametrize("tab", [*LISTS, "calls"])
def test_exports_are_what_is_shown(admin: UsagePage, office: Office, tab: str) -> None:
    """The same rows and the same amounts in all three kinds of files."""
    admin.open(office.url, tab, period="last-90-days")
    charges = sorted(Decimal(value or "") for value in admin.table(tab).values("charge"))
    files = {kind: _download(admin, kind) for kind in ("csv", "xlsx", "json")}
    rows = json.loads(files["json"])
    assert sorted(Decimal(row["charge"]) for row in rows) == charges
    lines = list(csv.DictReader(io.StringIO(files["csv"].decode("utf-8-sig"))))
    assert sorted(Decimal(line["charge"]) for line in lines) == charges
    assert len(_sheet(files["xlsx"])) == len(rows) + 1, "and a line of titles"
    titles = _sheet(files["xlsx"])[0]
    in_sheet = sorted(Decimal(row[titles.index("charge")]) for row in _sheet(files["xlsx"])[1:])
    assert all(abs(a - b) < Decimal("1e-12") for a, b in zip(in_sheet, charges, strict=True))
    if tab == "users":
        assert ANNA.name in files["csv"].decode() and any(ANNA.name in row for row in _sheet(files["xlsx"]))


def _download(page: UsagePage, kind: str) -> bytes:
    with page.page.expect_download() as told:
        page.find(f'[data-export="{kind}"]').click()
    assert told.value.suggested_filename.endswith(f".{kind}")
    return told.value.path().read_bytes()


def _sheet(content: bytes) -> list[list[str]]:
    """The cells of the first sheet, row by row."""
    space = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        strings = [
            "".join(text.text or "" for text in item.iter(f"{space}t"))
            for item in ElementTree.fromstring(book.read("xl/sharedStrings.xml"))
        ]
        rows = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml")).iter(f"{space}row")
        return [[_cell(cell, space, strings) for cell in row] for row in rows]


def _cell(cell: ElementTree.Element, space: str, strings: list[str]) -> str:
    value = cell.findtext(f"{space}v") or ""
    return strings[int(value)] if cell.get("t") == "s" else value


def test_printing(admin: UsagePage, office: Office) -> None:
    """On paper there is the report of the period and nothing else; afterwards it is gone."""
    admin.open(office.url, "users", period="last-90-days")
    admin.find('[data-action="print"]').click()
    admin.page.wait_for_function("() => window.isPrinted")
    admin.page.emulate_media(media="print")
    report = admin.page.locator(".mai-usage-report article")
    assert report.is_visible()
    assert not admin.component.is_visible()
    period = {"from": str(datetime.now(BILLING_ZONE).date() - timedelta(days=89)), "to": "9999-12-31"}
    whole = dollars(_sum(office, period))
    assert report.locator("dl .money").get_attribute("value") == whole
    assert report.locator("tfoot .money data").evaluate_all("(all) => all.map(({value}) => value)") == [whole] * 3
    for person in (EWA, ANNA, LEI, OMAR):
        assert person.name in report.inner_text()
    assert WAITING.name not in report.inner_text(), "who used nothing is left out"
    assert admin.page.pdf().startswith(b"%PDF")
    admin.page.emulate_media(media="screen")
    admin.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert admin.page.locator(".mai-usage-report").count() == 0
    assert admin.component.is_visible()


def test_by_keyboard_alone(admin: UsagePage, office: Office) -> None:
    """The tabs are one stop, arrows go along them; whatever has the focus shows it."""
    admin.open(office.url)
    keyboard = admin.page.keyboard
    _press_until(admin, "Tab", '[role="tab"]')
    seen = [_focused(admin, "dataset.tab")]
    for _ in ORGANISATION_TABS[1:]:
        keyboard.press("ArrowRight")
        seen.append(_focused(admin, "dataset.tab"))
    assert seen == ORGANISATION_TABS
    keyboard.press("ArrowRight")
    assert _focused(admin, "dataset.tab") == ORGANISATION_TABS[0], "round the corner"
    keyboard.press("End")
    assert _focused(admin, "dataset.tab") == ORGANISATION_TABS[-1]
    keyboard.press("Home")
    for _ in range(2):
        keyboard.press("ArrowRight")
    admin.wait_shown("users")
    _assert_focus_is_seen(admin)
    for stop in ('select[name="period"]', 'input[name="search"]', '[data-export="csv"]', '[role="tabpanel"]', ".sort"):
        _press_until(admin, "Tab", stop)
        _assert_focus_is_seen(admin)
    keyboard.press("Enter")
    assert admin.find('thead [data-column="user"]').get_attribute("aria-sort") == "ascending"


_DEEPEST = "let at = document.activeElement; while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;"


def _focused(page: UsagePage, member: str) -> Any:
    return page.page.evaluate(f"() => {{ {_DEEPEST} return at.{member}; }}")


def _press_until(page: UsagePage, key: str, selector: str) -> None:
    for _ in range(30):
        page.page.keyboard.press(key)
        if page.page.evaluate(f"(selector) => {{ {_DEEPEST} return at.matches(selector); }}", selector):
            return
    raise AssertionError(f"{key} never reached {selector}")


def _assert_focus_is_seen(page: UsagePage) -> None:
    style = page.page.evaluate(
        f"() => {{ {_DEEPEST} const {{ outlineStyle, outlineWidth }} = getComputedStyle(at);"
        " return [outlineStyle, parseFloat(outlineWidth)]; }"
    )
    assert style[0] != "none" and style[1] >= 1, style


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_a_phone(browser: Browser, office: Office, theme: Any) -> None:
    """At 360 pixels only tables scroll sideways; light and dark are the system's choice."""
    with window(browser, office.url, EWA, viewport=PHONE, color_scheme=theme) as opened:
        page = UsagePage(opened.page).open(office.url, period="last-90-days")
        for tab in ORGANISATION_TABS:
            page.go(tab)
            assert page.sideways() == 0, tab
            box = page.find(f'[data-tab="{tab}"]').bounding_box()
            assert box and box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"], "the chosen tab is in sight"
        brightness = page.component.evaluate(_BRIGHTNESS)
        assert brightness < 80 if theme == "dark" else brightness > 200
        opened.assert_calm()


_BRIGHTNESS = """
(usage) => {
  const background = getComputedStyle(usage.shadowRoot.querySelector(".scroller, .card")).backgroundColor;
  return Math.max(...background.match(/[\\d.]+/g).slice(0, 3).map(Number));
}
"""


def test_frames(browser: Browser, office: Office, sites: Sites) -> None:
    """Whom the setting names may show the page in a frame; nobody else, though the browser has the session."""
    for site in (sites.friend, sites.stranger):
        site.documents["/frame"] = f'<!doctype html><title>Around</title><iframe src="{office.url}/usage/"></iframe>'
    with window(browser, office.url, EWA) as opened:
        opened.page.goto(f"{sites.friend.url}/frame")
        inside = opened.page.frame_locator("iframe").locator("mai-usage")
        inside.locator('[data-tile="today"]').wait_for()
        opened.assert_calm()
        with opened.page.expect_console_message(lambda said: "frame-ancestors" in said.text):
            opened.page.goto(f"{sites.stranger.url}/frame")
        assert opened.page.frame_locator("iframe").locator("mai-usage").count() == 0
