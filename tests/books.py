"""The sidecar's books beside the simulator's bill: equal to the last pico-dollar, or a failure that says where."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from stack import ORGANIZATION_ID, Daemon, Simulator, external_user, wait_until

MARKUP = Decimal("1.3")
BILLING_ZONE = ZoneInfo("Europe/Warsaw")
UNATTRIBUTED = "unattributed"


@dataclass(frozen=True)
class Usage:
    """What a bill counts. The charge is rounded call by call, so it is a sum and not the cost times 1.3."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_pico_usd: int = 0
    charge_pico_usd: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost_pico_usd + other.cost_pico_usd,
            self.charge_pico_usd + other.charge_pico_usd,
        )

    @property
    def tokens(self) -> int:
        """Both kinds together, as the original's reports count."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Booking:
    """Who used what on which day, once or summed."""

    day: str
    user_id: str
    model: str
    usage: Usage


def made_at(generation_id: str) -> datetime:
    """When a generation was made, by the second that its id holds: OpenRouter's own clock."""
    second = re.fullmatch(r"gen-(?:[a-z]+-)?(\d{10})-.+", generation_id)
    assert second, f"{generation_id} holds no second"
    return datetime.fromtimestamp(int(second[1]), BILLING_ZONE)


def charge_of(cost_pico_usd: int) -> int:
    """Cost times markup, half to even."""
    return int((Decimal(cost_pico_usd) * MARKUP).quantize(Decimal(1), ROUND_HALF_EVEN))


def sums(bookings: Iterable[Booking], key: Callable[[Booking], Any]) -> dict[Any, Usage]:
    """Usage by user, by model, or by whatever `key` says."""
    totals: dict[Any, Usage] = defaultdict(Usage)
    for booking in bookings:
        totals[key(booking)] += booking.usage
    return dict(totals)


class Truth:
    """The simulator's bill in the sidecar's words: its users, and models by the name that was asked for."""

    def __init__(self, simulator: Simulator, user_ids: Iterable[str] = ()) -> None:
        self._users = {external_user(user_id): user_id for user_id in user_ids}
        self._models = {model["canonical_slug"]: model["id"] for model in simulator.models()}
        self.charges = {charge["generation_id"]: charge for charge in simulator.truth()}

    def bookings(self) -> list[Booking]:
        """One for each charge."""
        return [self.booking(charge) for charge in self.charges.values()]

    def booking(self, charge: Mapping[str, Any]) -> Booking:
        """What the sidecar has to book for this charge."""
        told = charge["external_user"] or ""
        assert told.startswith(f"{ORGANIZATION_ID}_user_"), f"OpenRouter was told the user {told!r}"
        cost = charge["cost_pico_usd"]
        usage = Usage(1, charge["prompt_tokens"], charge["completion_tokens"], cost, charge_of(cost))
        model = self._models.get(charge["model"], charge["model"])
        day = made_at(charge["generation_id"]).strftime("%Y-%m-%d")
        return Booking(day, self._users.get(told, UNATTRIBUTED), model, usage)


def wait_settled(simulator: Simulator, daemon: Daemon, calls: int | None = None, seconds: float = 90.0) -> None:
    """Waits until everything that was billed (at least `calls` of it) is settled, and nothing is under way."""

    def settled() -> bool:
        billed = len(simulator.truth())
        states = call_states(daemon)
        waiting = sum(count for state, count in states.items() if state not in ("settled", "void"))
        return billed >= (calls or 0) and states.get("settled", 0) == billed and waiting == 0

    try:
        wait_until("every call is settled", settled, seconds)
    except AssertionError as late:
        late.add_note(f"billed: {len(simulator.truth())}, wanted: {calls}, calls: {call_states(daemon)}")
        late.add_note(f"unsettled: {daemon.rows(_UNSETTLED)}")
        raise


_UNSETTLED = "SELECT * FROM calls WHERE state NOT IN ('settled', 'void')"


def call_states(daemon: Daemon) -> dict[str, int]:
    """How many calls are in which state."""
    rows = daemon.rows("SELECT state, count(*) AS calls FROM calls GROUP BY state")
    return {row["state"]: row["calls"] for row in rows}


def daily_bookings(daemon: Daemon) -> list[Booking]:
    """The daily rows."""
    rows = daemon.rows("SELECT * FROM daily_usage WHERE org_id = ?", ORGANIZATION_ID)
    return [Booking(row["day"], row["user_id"], row["model"], _usage(row)) for row in rows]


def _usage(row: Mapping[str, Any]) -> Usage:
    return Usage(
        row["requests"],
        row["prompt_tokens"] or 0,
        row["completion_tokens"] or 0,
        row["cost_pico_usd"],
        row["charge_pico_usd"],
    )


def assert_books_equal_truth(simulator: Simulator, daemon: Daemon, user_ids: Iterable[str] = ()) -> Truth:
    """Entry by entry and row by row the books are the bill. Call `wait_settled` first."""
    truth = Truth(simulator, user_ids)
    assert truth.charges, "nothing was billed, so nothing is shown"
    _assert_entries(daemon, truth)
    _assert_daily_rows(daemon, truth)
    daemon.verify()
    return truth


def _assert_entries(daemon: Daemon, truth: Truth) -> None:
    """One entry a charge, with OpenRouter's own figure and its charge rounded once."""
    entries = daemon.rows("SELECT * FROM entries ORDER BY id")
    assert {entry["kind"] for entry in entries} == {"call"}, "only calls were made"
    booked = [entry["generation_id"] for entry in entries]
    assert sorted(booked) == sorted(truth.charges), "each generation is booked once"
    for entry in entries:
        charge = truth.charges[entry["generation_id"]]
        found = Booking(entry["day"], entry["user_id"], entry["model"], _usage(entry))
        assert found == truth.booking(charge), f"{entry}\nis not\n{charge}"
        assert Decimal(entry["cost_text"]) == Decimal(charge["cost"]), "the text is kept as it was told"


def _assert_daily_rows(daemon: Daemon, truth: Truth) -> None:
    """Requests, tokens, cost and charge of each row, of each user, of each model and of all."""
    booked, billed = daily_bookings(daemon), truth.bookings()
    for key in _KEYS:
        assert sums(booked, key) == sums(billed, key)


_KEYS: list[Callable[[Booking], Any]] = [
    lambda booking: (booking.day, booking.user_id, booking.model),
    lambda booking: booking.user_id,
    lambda booking: booking.model,
    lambda booking: None,
]
