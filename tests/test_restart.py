"""Ends and beginnings: what a restart keeps, what it heals, and what the daemon refuses to start with."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from books import assert_books_equal_truth, call_states, wait_settled
from stack import (
    ADMIN_TOKEN,
    PROXY_TOKEN,
    SIMULATOR_KEY,
    Daemon,
    Stack,
    free_ports,
    loopback_client,
    wait_until,
)

MODEL = "example/small-model"
USER_ID = "3f0d2c1e-0000-4000-8000-0000000000bb"
HOUR_MS = 3_600_000

EXIT_OK = 0
EXIT_BUSY = 75
EXIT_CONFIGURATION = 78


def chat(daemon: Daemon, key: str = PROXY_TOKEN, **members: Any) -> httpx.Response:
    """One call of the user, as Open WebUI sends it."""
    with _chat(daemon, key, **members) as answer:
        answer.read()
    assert answer.status_code == 200, answer.text
    return answer


@contextlib.contextmanager
def _chat(daemon: Daemon, key: str = PROXY_TOKEN, **members: Any) -> Iterator[httpx.Response]:
    """The same, while its answer arrives."""
    headers = {"Authorization": f"Bearer {key}", "X-OpenWebUI-User-Id": USER_ID, "X-OpenWebUI-User-Role": "user"}
    body = {"model": MODEL, "messages": [{"role": "user", "content": "What is a sidecar?"}], **members}
    with loopback_client(headers=headers) as client:
        with client.stream("POST", f"{daemon.proxy_url}/chat/completions", json=body) as answer:
            yield answer


def all_rows(daemon: Daemon) -> dict[str, list[dict[str, Any]]]:
    """The book."""
    tables = ("users", "calls", "entries", "daily_usage")
    return {table: daemon.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in tables}


def test_rows_stay(stack: Stack) -> None:
    """The same file, the same rows, and the sums go on."""
    simulator = stack.simulator()
    daemon = stack.daemon(simulator)
    chat(daemon)
    chat(daemon, stream=True)
    wait_settled(simulator, daemon, calls=2)
    before = all_rows(daemon)
    assert before["daily_usage"][0]["requests"] == 2

    assert daemon.terminate() == EXIT_OK
    daemon.start()

    assert all_rows(daemon) == before
    chat(daemon)
    wait_settled(simulator, daemon, calls=3)
    assert_books_equal_truth(simulator, daemon, [USER_ID])


def test_open_call_is_settled_after_a_restart(stack: Stack) -> None:
    """OpenRouter knows the cost only an hour later; by then the daemon is another process."""
    simulator = stack.simulator()
    daemon = stack.daemon(simulator)
    chat(daemon, stream=True, sim={"cost": "missing", "settle_after_ms": HOUR_MS})
    wait_until("the call is open", lambda: call_states(daemon) == {"open": 1})

    assert daemon.terminate() == EXIT_OK
    simulator.advance_clock(HOUR_MS)
    daemon.start()

    wait_settled(simulator, daemon, calls=1)
    assert_books_equal_truth(simulator, daemon, [USER_ID])
    assert [row["cost_source"] for row in daemon.rows("SELECT cost_source FROM entries")] == ["generation"]


def test_power_cut_in_the_middle_of_a_stream(stack: Stack) -> None:
    """The client has seen the head, so the generation id is on disk, and its cost can be asked for."""
    simulator = stack.simulator()
    daemon = stack.daemon(simulator)
    slow = {"content": "word " * 900, "chunks": 900, "chunk_delay_ms": 100}
    with _chat(daemon, stream=True, sim=slow) as answer:
        assert next(answer.iter_lines())
        daemon.kill()

    wait_until("the cut stream is billed", simulator.truth)
    daemon.start()

    wait_settled(simulator, daemon, calls=1)
    truth = assert_books_equal_truth(simulator, daemon, [USER_ID])
    assert [charge["cancelled"] for charge in truth.charges.values()] == [True]


def test_a_stream_under_way_is_drained(stack: Stack) -> None:
    """SIGTERM lets the answer come to its end before the daemon leaves, as Docker's grace period allows."""
    simulator = stack.simulator()
    daemon = stack.daemon(simulator)
    with _chat(daemon, stream=True, sim={"chunks": 20, "chunk_delay_ms": 100, "content": "word " * 20}) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert daemon.process is not None
        daemon.process.terminate()
        assert "data: [DONE]" in list(lines)
    assert daemon.process.wait(30) == EXIT_OK

    daemon.start()
    wait_settled(simulator, daemon, calls=1)
    truth = assert_books_equal_truth(simulator, daemon, [USER_ID])
    assert [charge["cancelled"] for charge in truth.charges.values()] == [False]


def test_learned_key_outlives_a_restart(stack: Stack) -> None:
    """The key that an admin typed in once is enough to settle what was left open, before anybody asks again."""
    simulator = stack.simulator()
    daemon = stack.daemon(simulator, OPENROUTER_API_KEY=None)
    chat(daemon, SIMULATOR_KEY, stream=True, sim={"cost": "missing", "settle_after_ms": HOUR_MS})
    wait_until("the call is open", lambda: call_states(daemon) == {"open": 1})

    assert daemon.terminate() == EXIT_OK
    simulator.advance_clock(HOUR_MS)
    daemon.start()

    wait_settled(simulator, daemon, calls=1)
    assert_books_equal_truth(simulator, daemon, [USER_ID])


def test_second_daemon_on_the_same_file(stack: Stack) -> None:
    """Two writers would bill twice: the second leaves at once, and the first does not notice."""
    simulator = stack.simulator()
    first = stack.daemon(simulator)
    second = Daemon(stack.directory / "second", simulator.base_url, DATABASE_PATH=str(first.database))
    refused = second.run()
    assert refused.returncode == EXIT_BUSY, refused.stderr
    assert str(first.database) in refused.stderr
    chat(first)
    wait_settled(simulator, first, calls=1)
    assert_books_equal_truth(simulator, first, [USER_ID])


@pytest.fixture
def simulator_address() -> str:
    """An address where nobody is: a daemon that refuses its configuration asks nobody."""
    return f"http://127.0.0.1:{free_ports(1)[0]}/api/v1"


def test_all_errors_of_a_configuration_are_told_at_once(stack: Stack, simulator_address: str) -> None:
    """Who has six mistakes in his .env does not want to start six times; nor to see a secret in a log."""
    wrong = {
        "OPENROUTER_HOST": "not an address",
        "BILLING_TIMEZONE": "Mars/Olympus",
        "POLL_INTERVAL": "often",
        "SPENDING_LIMIT": "a lot",
        "PROXY_LISTEN": "everywhere",
        "USAGE_PROXY_TOKEN": "too-short",
    }
    daemon = Daemon(stack.directory, simulator_address, **wrong)
    refused = daemon.run()
    assert refused.returncode == EXIT_CONFIGURATION, refused.stderr
    assert [name for name in wrong if name not in refused.stderr] == []
    for secret in (SIMULATOR_KEY, ADMIN_TOKEN, "too-short"):
        assert secret not in refused.stdout + refused.stderr
    assert not daemon.database.exists()


def test_without_keys_it_starts_and_says_what_is_missing(stack: Stack) -> None:
    """A container with an empty .env comes up, tells what it needs, and lets nobody in meanwhile."""
    simulator = stack.simulator()
    missing = ("OPENROUTER_API_KEY", "USAGE_PROXY_TOKEN", "USAGE_ADMIN_TOKEN")
    daemon = stack.daemon(simulator, ORGANIZATION_NAME=None, BILLING_TIMEZONE=None, **dict.fromkeys(missing))
    assert [name for name in missing if name not in daemon.log()] == []
    with _chat(daemon, PROXY_TOKEN) as answer:
        assert answer.status_code == 401
    assert daemon.usage("usage-summary").status_code == 401
    assert [request for request in simulator.requests() if request["method"] == "POST"] == []


def test_a_file_that_others_may_read_is_refused(stack: Stack) -> None:
    """It holds a key, names and addresses."""
    simulator = stack.simulator()
    daemon = stack.daemon(simulator)
    assert daemon.terminate() == EXIT_OK
    assert daemon.database.stat().st_mode & 0o777 == 0o600
    daemon.database.chmod(0o644)
    refused = daemon.run()
    assert refused.returncode == EXIT_CONFIGURATION, refused.stderr
    assert str(daemon.database) in refused.stderr
    assert daemon.database.stat().st_mode & 0o777 == 0o644, "it is not for the daemon to change it"


def test_health_for_docker(stack: Stack) -> None:
    """`mai-usage health` is what Docker runs: exit 0 and the reasons while it serves, exit 1 and a reason after."""
    daemon = stack.daemon(stack.simulator())
    command = [daemon.program, "health"]
    environment = {"USAGE_LISTEN": f"0.0.0.0:{daemon.usage_port}"}
    healthy = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert healthy.returncode == EXIT_OK, healthy.stderr
    assert json.loads(healthy.stdout)["ledger"] == {"writable": True}
    assert daemon.terminate() == EXIT_OK
    gone = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert gone.returncode == 1
    assert "no sidecar answers" in gone.stderr


def test_the_scheduled_poll_fires_after_ten_minutes(stack: Stack) -> None:
    """On a wall clock that runs sixty times as fast, the schedule itself polls every ten minutes of that clock."""
    daemon = Daemon(stack.directory / "mai-usage", stack.simulator().base_url)
    # The library by itself: the `faketime` program would start the daemon as a child that outlives it.
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    daemon.environment |= {"LD_PRELOAD": str(library), "FAKETIME": "+0 x60"}
    # The time-outs and pauses of the program keep their true pace.
    daemon.environment["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
    stack.start(daemon)
    polls = "SELECT polled_at_ms FROM reconciliations ORDER BY id"
    wait_until("three polls", lambda: len(daemon.rows(polls)) >= 3, 60.0)
    first, second, third, *_ = [row["polled_at_ms"] for row in daemon.rows(polls)]
    # The alarm clock looks twice a second: half a minute of the fast clock; as much again for a busy machine.
    for pause_ms in (second - first, third - second):
        assert 540_000 <= pause_ms <= 660_000
