"""Pictures of every tab, light and dark, wide and on a phone, into docs/img.

    target/tests-venv/bin/python tests/screenshots.py

What they show is a made-up company; its calls really went through the sidecar to the simulator.
"""

from __future__ import annotations

import io
import random
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser

from books import BILLING_ZONE, assert_books_equal_truth, wait_settled
from browser import ORGANISATION_TABS, WIDE, UsagePage, chromium, window
from office import Office, open_office
from stack import ORGANIZATION_ID, ROOT, Stack, wait_until
from stand_in import Person

DIRECTORY = ROOT / "docs/img"
PHONE = {"width": 390, "height": 844}
SIZES = {"wide": WIDE, "phone": PHONE}
# Enough for flat colours and smooth letters, and a third of the bytes.
COLOURS = 256

COMPANY = "Zakład Mebli Dąb"
DAYS = 52
# The same pictures from the same day.
SEED = 20
NAMES = [
    "Ewa Kowalska", "Anna Żółć", "Piotr Wiśniewski", "Katarzyna Wójcik", "Tomasz Kamiński", "Agnieszka Lewandowska",
    "Michał Zieliński", "Magdalena Szymańska", "Lei Wu", "Oksana Шевченко", "Jakub Dąbrowski", "Zofia Kozłowska",
]
# Each with how often it is chosen.
MODELS = {
    "anthropic/claude-sonnet-4.5": 22,
    "openai/gpt-5-mini": 26,
    "google/gemini-2.5-flash": 18,
    "openai/gpt-5": 8,
    "deepseek/deepseek-chat-v3.1": 10,
    "mistralai/mistral-small-3.2-24b-instruct": 8,
    "qwen/qwen3-8b": 5,
    "meta-llama/llama-3.3-70b-instruct:free": 3,
}


def main() -> None:
    """Fills a sidecar and takes the pictures."""
    people = [_person(number, name) for number, name in enumerate(NAMES)]
    with tempfile.TemporaryDirectory() as directory:
        stack = Stack(Path(directory))
        try:
            names = {"ORGANIZATION_NAME": COMPANY, "OPENROUTER_EXTERNAL_USER": ORGANIZATION_ID}
            office = open_office(stack, people, **names, SPENDING_LIMIT="16", POLL_INTERVAL="2")
            _work(office)
            with chromium() as browser:
                _picture_all(browser, office)
        finally:
            stack.stop()
    total = sum(picture.stat().st_size for picture in DIRECTORY.glob("*.png"))
    print(f"{len(list(DIRECTORY.glob('*.png')))} pictures, {total / 1e6:.1f} MB, in {DIRECTORY}", file=sys.stderr)


def _person(number: int, name: str) -> Person:
    plain = name.lower().translate(str.maketrans("ąćęłńóśźżшевчнко", "acelnoszzsevcnko"))
    address = f"{plain.replace(' ', '.')}@dab.example"
    role = "admin" if number == 0 else "user"
    return Person(f"3f0d2c1e-0000-4000-8000-{number:012}", name, address, role)


def _work(office: Office) -> None:
    """Working days of everybody, each with his habits, and two calls that OpenRouter has not priced yet."""
    chance = random.Random(SEED)
    calls = 0
    for person, at in _moments(chance, office.people):
        (model,) = chance.choices(list(MODELS), list(MODELS.values()))
        office.call(
            person, model, at, prompt_tokens=int(chance.lognormvariate(10.2, 1.1)),
            completion_tokens=int(chance.lognormvariate(7.4, 0.8)),
        )
        calls += 1
    wait_settled(office.simulator, office.daemon, calls)
    assert_books_equal_truth(office.simulator, office.daemon, [person.user_id for person in office.people])
    admin = office.people[0]
    for person in office.people[1:3]:
        office.call(person, "openai/gpt-5-mini", usage="none", generation_error="500")
    wait_until("they await their cost", lambda: office.ask(admin, "awaiting")["open"] == 2)
    # Once with all of it, so that the check has something to compare.
    polls = len(office.ask(admin, "reconciliation")["polls"])
    wait_until("OpenRouter was asked again", lambda: len(office.ask(admin, "reconciliation")["polls"]) > polls + 1)


def _moments(chance: random.Random, people: list[Person]) -> Iterator[tuple[Person, datetime]]:
    now = datetime.now(BILLING_ZONE)
    for days_ago in range(DAYS, -1, -1):
        day = now - timedelta(days=days_ago)
        is_quiet = day.weekday() >= 5 and days_ago > 0
        for rank, person in enumerate(people):
            # Who is further down the list asks less.
            busy = 0.15 if is_quiet else 2.4 / (1 + rank / 4)
            for _ in range(int(chance.expovariate(1 / busy))):
                at = day.replace(hour=chance.randint(7, 17), minute=chance.randint(0, 59), second=chance.randint(0, 59))
                yield person, at if at < now else now - timedelta(minutes=chance.randint(1, 20))


def _picture_all(browser: Browser, office: Office) -> None:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for old in DIRECTORY.glob("*.png"):
        old.unlink()
    for theme in ("light", "dark"):
        for size, viewport in SIZES.items():
            _picture(browser, office, theme, size, viewport)


def _picture(browser: Browser, office: Office, theme: Any, size: str, viewport: dict[str, int]) -> None:
    with window(browser, office.url, office.people[0], color_scheme=theme, viewport=viewport) as opened:
        page = UsagePage(opened.page).open(office.url, period="last-30-days")
        page.wait_live()
        for tab in ORGANISATION_TABS:
            page.go(tab)
            # The overview whole; of long tables as much as a screen shows.
            taken = opened.page.screenshot(full_page=tab == "overview", animations="disabled", caret="hide")
            picture = Image.open(io.BytesIO(taken)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
            picture.save(DIRECTORY / f"{tab}-{theme}-{size}.png", optimize=True)
        opened.assert_calm()


if __name__ == "__main__":
    main()
