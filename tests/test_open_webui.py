"""The main job: a real Open WebUI, its users' chats, and a bill that is right to the last pico-dollar."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import pytest

from books import Truth, Usage, assert_books_equal_truth, sums, wait_settled
from stack import (
    ADMIN_TOKEN,
    ORGANIZATION_NAME,
    PROXY_TOKEN,
    SIMULATOR_KEY,
    Daemon,
    Simulator,
    Stack,
    external_user,
    free_ports,
    wait_until,
)
from webui import Account, OpenWebUi

SMALL = "example/small-model"
DATED = "openai/gpt-5-mini"
# OpenRouter's dated name for it is not its id with a date behind it, so nothing but the catalogue joins the two.
RENAMED = "anthropic/claude-sonnet-4.5"
REASONING = "openai/gpt-5"
EMBEDDING = "openai/text-embedding-3-small"

# In one new chat: the answer, the title, the tags, the follow-up questions. In an old one: answer and follow-ups.
CALLS_OF_A_NEW_CHAT = 4
CALLS_OF_A_NEXT_MESSAGE = 2
# The title, asked for at once, and the answer: nothing is asked about a stopped one.
CALLS_OF_A_STOPPED_CHAT = 2


@dataclass
class Company:
    """One client company at work."""

    simulator: Simulator
    daemon: Daemon
    webui: OpenWebUi
    admin: Account
    anna: Account
    lei: Account
    quiet: Account
    calls: dict[str, int] = field(default_factory=dict)

    @property
    def accounts(self) -> list[Account]:
        """Everybody, also who asks nothing."""
        return [self.admin, self.anna, self.lei, self.quiet]

    @property
    def user_ids(self) -> list[str]:
        """The ids of everybody."""
        return [account.user_id for account in self.accounts]

    def made(self, account: Account, calls: int) -> None:
        """Notes how many calls the sidecar must find for this user."""
        self.calls[account.user_id] = self.calls.get(account.user_id, 0) + calls

    def truth(self) -> Truth:
        """The simulator's bill."""
        return Truth(self.simulator, self.user_ids)


@pytest.fixture(scope="module")
def company(module_stack: Stack) -> Company:
    """Open WebUI, sidecar and simulator after a day's work, with everything settled."""
    company = _open_company(module_stack)
    _browser_chats(company)
    _api_calls(company)
    _file(company)
    _stopped_stream(company)
    wait_settled(company.simulator, company.daemon, sum(company.calls.values()), seconds=180)
    return company


def _open_company(stack: Stack) -> Company:
    simulator = stack.simulator()
    (port,) = free_ports(1)
    daemon = stack.daemon(simulator)
    webui = OpenWebUi(stack.directory / "open-webui", port, daemon.proxy_url, PROXY_TOKEN)
    stack.start(webui)
    admin = webui.sign_up("Ewa Admin", "ewa@example.com")
    anna = webui.add(admin, "Zażółć 李雷", "anna@example.com")
    lei = webui.add(admin, "Lei Wu", "lei@example.com")
    quiet = webui.add(admin, "Quiet 100% + more", "quiet@example.com")
    return Company(simulator, daemon, webui, admin, anna, lei, quiet)


def _browser_chats(company: Company) -> None:
    """Streamed chats with their background tasks, of everybody at once and by several models."""
    chats = [
        (account, account.send(model, f"What is {model}? I am {account.name}."))
        for account, model in [(company.admin, SMALL), (company.anna, DATED), (company.lei, RENAMED)]
    ]
    for account, chat in chats:
        assert account.wait_answered(chat)
        company.made(account, CALLS_OF_A_NEW_CHAT)
    anna, first = chats[1]
    second = anna.send(REASONING, "And in two words?", after=first)
    assert anna.wait_answered(second)
    company.made(anna, CALLS_OF_A_NEXT_MESSAGE)


def _api_calls(company: Company) -> None:
    """Plain API calls with the user's own session, whole and streamed."""
    assert company.anna.ask(SMALL, "Whole, please.")
    company.made(company.anna, 1)
    events = company.lei.ask_streamed(DATED, "Streamed, please: zażółć gęślą jaźń.")
    assert events[-1] == "[DONE]"
    assert '"cost"' in "".join(events), "the usage of the last chunk reaches the caller"
    company.made(company.lei, 1)


def _file(company: Company) -> None:
    """An attached file, whose one piece is embedded through the sidecar."""
    company.lei.upload("notes.txt", "A sidecar sits beside the motorcycle and goes where it goes.")
    company.made(company.lei, 1)


def _stopped_stream(company: Company) -> None:
    """The Stop button: no usage ever comes, and `GET /generation` knows the cost only at the second ask."""
    with company.simulator.knobs(content="word " * 900, chunks=900, chunk_delay_ms=100, generation_misses=1):
        chat = company.anna.send(RENAMED, "Tell me everything.")
        wait_until("the answer has begun", lambda: company.anna.answer(chat).get("content"))
        company.anna.stop(chat)
        wait_until("the stopped stream is billed", lambda: _cancelled(company.simulator))
    company.made(company.anna, CALLS_OF_A_STOPPED_CHAT)


def _cancelled(simulator: Simulator) -> list[dict[str, Any]]:
    return [charge for charge in simulator.truth() if charge["cancelled"]]


def test_each_user_pays_for_his_own_calls(company: Company) -> None:
    """Chats, background tasks, API calls and embeddings: as many as were made, and exactly what they cost."""
    truth = assert_books_equal_truth(company.simulator, company.daemon, company.user_ids)
    by_user = sums(truth.bookings(), lambda booking: booking.user_id)
    assert {user_id: usage.requests for user_id, usage in by_user.items()} == company.calls
    by_model = sums(truth.bookings(), lambda booking: booking.model)
    assert set(by_model) == {SMALL, DATED, RENAMED, REASONING, EMBEDDING}


def test_stopped_stream_costs_what_was_sent(company: Company) -> None:
    """Its cost came from OpenRouter's record, and its model has one name however its calls were settled."""
    (charge,) = _cancelled(company.simulator)
    entries = company.daemon.rows("SELECT * FROM entries WHERE generation_id = ?", charge["generation_id"])
    assert [(entry["user_id"], entry["model"], entry["cost_source"]) for entry in entries] == [
        (company.anna.user_id, RENAMED, "generation")
    ]
    assert 0 < entries[0]["completion_tokens"] < 900, "the stop reached OpenRouter, which ends the bill"


def test_users_are_known_by_name(company: Company) -> None:
    """Names arrive percent-encoded and are kept as people write them."""
    known = {row["user_id"]: row for row in company.daemon.rows("SELECT * FROM users")}
    for account in (company.admin, company.anna, company.lei):
        row = known[account.user_id]
        assert (row["name"], row["external_user"]) == (account.name, external_user(account.user_id))
    assert {known[company.admin.user_id]["role"], known[company.anna.user_id]["role"]} == {"admin", "user"}


def test_summary_report(company: Company) -> None:
    """The Usage tab's head and days, in marked-up dollars."""
    bookings = company.truth().bookings()
    total = sums(bookings, lambda _: None)[None]
    stats = _report(company, "usage-summary")["stats"]
    month = stats["current_month"]
    found = (month["total_tokens"], month["total_requests"], _pico(month["total_cost"]))
    assert found == (total.tokens, total.requests, total.charge_pico_usd)
    used = [day for day in stats["daily_breakdown"] if day["requests"]]
    found_days = {day["date"]: (day["tokens"], day["requests"], _pico(day["cost"])) for day in used}
    assert found_days == _figures(sums(bookings, lambda booking: booking.day))
    assert month["days_with_usage"] == len(used)
    assert stats["monthly_summary"]["total_unique_users"] == len(company.calls)
    assert stats["client_org_name"] == ORGANIZATION_NAME


def test_report_by_user(company: Company) -> None:
    """Everybody who used something, dearest first."""
    report = _report(company, "usage-by-user")
    rows = report["user_usage"]
    assert _user_figures(rows) == _figures(_by_user(company))
    costs = [row["markup_cost"] for row in rows]
    assert costs == sorted(costs, reverse=True)
    names = {row["user_id"]: (row["user_name"], row["external_user_id"]) for row in rows}
    anna = company.anna
    assert names[anna.user_id] == (anna.name, external_user(anna.user_id))


def test_report_by_model(company: Company) -> None:
    """Each model that was used; the others, if they are listed, with nothing."""
    rows = _report(company, "usage-by-model")["model_usage"]
    found = {row["model_name"]: (row["total_tokens"], row["total_requests"], _pico(row["markup_cost"])) for row in rows}
    billed = _figures(sums(company.truth().bookings(), lambda booking: booking.model))
    assert {name: figures for name, figures in found.items() if name in billed or any(figures)} == billed


REPORTS = pytest.mark.parametrize("report", ["usage-summary", "usage-by-user", "usage-by-model"])


@REPORTS
def test_reports_need_credentials(company: Company, report: str) -> None:
    """Neither a stranger's token nor the one that may spend can read."""
    assert company.daemon.usage(report, "no-such-token").status_code == 401
    assert company.daemon.usage(report, PROXY_TOKEN).status_code == 401


def test_nothing_personal_leaves_the_house(company: Company) -> None:
    """OpenRouter sees the organisation's key and our hash of the user; no name, address, id, chat or token."""
    secrets = [PROXY_TOKEN, ADMIN_TOKEN, *_personal(company)]
    own_key = hashlib.sha256(SIMULATOR_KEY.encode()).hexdigest()
    requests = company.simulator.requests()
    assert len(requests) >= sum(company.calls.values())
    for request in requests:
        headers = dict(request["headers"])
        assert not [name for name in headers if name.startswith("x-openwebui")]
        # The list of models is public; all else is asked with the organisation's key (the simulator keeps its hash).
        assert headers.get("authorization", own_key if request["method"] == "GET" else None) == own_key
        told = unquote(json.dumps(request, ensure_ascii=False))
        assert not [secret for secret in secrets if secret in told]


def test_the_log_is_silent(company: Company) -> None:
    """No key, token, address or text of a chat in the sidecar's log; each user's first call is told once."""
    log = company.daemon.log()
    addresses = [f"{name}@example.com" for name in ("ewa", "anna", "lei", "quiet")]
    texts = ["Tell me everything", "Whole, please", "This is a simulated answer", "beside the motorcycle"]
    for secret in [PROXY_TOKEN, ADMIN_TOKEN, SIMULATOR_KEY, company.admin.token, *addresses, *texts]:
        assert secret not in log
    assert log.count("Auto-learning") == len(company.calls)


def _personal(company: Company) -> list[str]:
    """What must not leave the house."""
    accounts = company.accounts
    return ["@example.com", *(account.name for account in accounts), *(account.user_id for account in accounts)]


def _report(company: Company, report: str, bearer: str = ADMIN_TOKEN) -> dict[str, Any]:
    """A report as JSON."""
    answer = company.daemon.usage(report, bearer)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["success"] is True
    return found


def _by_user(company: Company) -> dict[str, Usage]:
    return sums(company.truth().bookings(), lambda booking: booking.user_id)


def _figures(usage: dict[str, Usage]) -> dict[str, tuple[int, int, int]]:
    """What the reports show of each usage: tokens, requests, and the charge."""
    return {key: (used.tokens, used.requests, used.charge_pico_usd) for key, used in usage.items()}


def _user_figures(rows: list[dict[str, Any]]) -> dict[str, tuple[int, int, int]]:
    """The same of the rows of users who used something."""
    found = {row["user_id"]: (row["total_tokens"], row["total_requests"], _pico(row["markup_cost"])) for row in rows}
    return {user_id: figures for user_id, figures in found.items() if any(figures)}


def _pico(dollars: float) -> int:
    """A JSON number of dollars in pico-dollars: at these amounts its 15 digits are more than enough."""
    return round(Decimal(repr(dollars)) * 10**12)
