"""The programs under test, as processes on loopback that never outlive their test."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
SIMULATOR_KEY = "sk-or-v1-" + "5" * 64
PROXY_TOKEN = "proxy-token-" + "a" * 32
ADMIN_TOKEN = "admin-token-" + "b" * 32
ORGANIZATION_NAME = "Company_A"
ORGANIZATION_ID = "mai_client_63a4eb6d"

# Generous, because the machine may be compiling beside the tests; a healthy run needs a fraction.
START_SECONDS = 60.0
STOP_SECONDS = 30.0
LOG_TAIL_BYTES = 12_000

Result = TypeVar("Result")

# Loaded here, because between fork and exec hardly anything may be done.
_LIBC = ctypes.CDLL(None)


class Deadline(AssertionError):
    """What was waited for did not come in time."""


def wait_until(what: str, probe: Callable[[], Result | None], seconds: float = 60.0) -> Result:
    """Asks again and again until `probe` gives something true, and returns that.

    The only place of these tests that sleeps: between two asks, never instead of one.
    """
    deadline = time.monotonic() + seconds
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() > deadline:
            raise Deadline(f"waited {seconds:g} s in vain until {what}; last seen: {result!r}")
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Distinct ports that nobody listens on. Reserved all at once, or the second might be the first again."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def loopback_client(**options: Any) -> httpx.Client:
    """An HTTP client that no proxy setting of the machine can lead away from loopback."""
    return httpx.Client(trust_env=False, timeout=60.0, **options)


def binary(variable: str, name: str) -> Path:
    """The program that `variable` names, else cargo's debug build. Missing is an error: a skip would hide it."""
    path = Path(os.environ.get(variable, TARGET / "debug" / name)).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. hint: cargo build -p {name}, or set {variable}")
    return path


def external_user(user_id: str) -> str:
    """What OpenRouter is told instead of the user's id."""
    return f"{ORGANIZATION_ID}_user_{hashlib.sha256(user_id.encode()).hexdigest()[:8]}"


def _die_with_parent() -> None:
    """Linux ends the process when pytest is killed and no fixture can: nothing is left over from a cancelled run."""
    pr_set_pdeathsig = 1
    _LIBC.prctl(pr_set_pdeathsig, signal.SIGKILL)


class Program:
    """One process with its log. Its environment is exactly what is given, so that a run does not depend on the host."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.command = command
        self.directory = directory
        self.environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(directory), **environment}
        self.log_path = directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it in the background; standard output and error go to the log, one run after the other."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
            )

    def run(self, seconds: float = STOP_SECONDS) -> subprocess.CompletedProcess[str]:
        """Runs it to its end, for the cases in which it must refuse to start."""
        return subprocess.run(
            self.command,
            env=self.environment,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def terminate(self) -> int:
        """Sends SIGTERM, as Docker does, and returns the exit status (negative: killed by that signal)."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Deadline(f"{self.name} was still there {STOP_SECONDS:g} s after SIGTERM") from None

    def kill(self) -> None:
        """Ends it at once, as a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def log(self) -> str:
        """All that it has written so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def wait_ready(self, url: str, seconds: float) -> None:
        """Waits for a 200 of `url`, and gives up at once when the process has ended."""

        def ready() -> bool:
            if not self.running():
                raise AssertionError(f"{self.name} ended before it was ready:\n{self.log()[-LOG_TAIL_BYTES:]}")
            with contextlib.suppress(httpx.TransportError):
                return client.get(url, timeout=5.0).status_code == 200
            return False

        with loopback_client() as client:
            wait_until(f"{self.name} answers {url}", ready, seconds)


class Simulator(Program):
    """A simulated OpenRouter, which keeps the true bill."""

    def __init__(self, directory: Path, key: str = SIMULATOR_KEY) -> None:
        self.key = key
        self.truth_path = directory / "truth.jsonl"
        program = str(binary("OPENROUTER_SIM_BIN", "openrouter-sim"))
        options = ["--listen", "127.0.0.1:0", "--truth", str(self.truth_path), "--key", key]
        super().__init__("openrouter-sim", [program, *options], {}, directory)
        self.control = ""
        self.base_url = ""

    def start(self) -> None:
        """Starts it and learns the port that it took."""
        super().start()
        told = wait_until("openrouter-sim tells its address", self._told_address, START_SECONDS)
        self.control = told["listening"]
        self.base_url = told["base_url"]

    def _told_address(self) -> dict[str, str] | None:
        if not self.running():
            raise AssertionError(f"openrouter-sim ended at once:\n{self.log()}")
        for line in self.log().splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n") and "base_url" in line:
                told: dict[str, str] = json.loads(line)
                return told
        return None

    def truth(self) -> list[dict[str, Any]]:
        """All charges so far, oldest first."""
        charges: list[dict[str, Any]] = self._control("GET", "/sim/truth")
        return charges

    def requests(self) -> list[dict[str, Any]]:
        """All requests so far as they arrived, keys hashed."""
        requests: list[dict[str, Any]] = self._control("GET", "/sim/requests")
        return requests

    def models(self) -> list[dict[str, Any]]:
        """The whole offer, not only what makes text."""
        with loopback_client() as client:
            answer = client.get(f"{self.base_url}/models", params={"output_modalities": "all"})
            models: list[dict[str, Any]] = answer.raise_for_status().json()["data"]
            return models

    @contextlib.contextmanager
    def knobs(self, **knobs: Any) -> Iterator[None]:
        """Sets faults for all calls, and takes them away again."""
        self._control("PUT", "/sim/knobs", json=knobs)
        try:
            yield
        finally:
            self._control("DELETE", "/sim/knobs")

    def advance_clock(self, milliseconds: int) -> None:
        """Moves its clock forward: what settles in an hour settles now."""
        self._control("POST", "/sim/clock", json={"advance_ms": milliseconds})

    def _control(self, method: str, path: str, **options: Any) -> Any:
        with loopback_client() as client:
            answer = client.request(method, f"{self.control}{path}", **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None


class Daemon(Program):
    """`mai-usage daemon`, configured by its environment alone."""

    def __init__(self, directory: Path, openrouter_host: str, **settings: str | None) -> None:
        self.program = str(binary("MAI_USAGE_BIN", "mai-usage"))
        self.database = directory / "mai-usage.db"
        self.proxy_port, self.usage_port = free_ports(2)
        self.proxy_url = f"http://127.0.0.1:{self.proxy_port}/api/v1"
        self.usage_url = f"http://127.0.0.1:{self.usage_port}"
        values: dict[str, str | None] = {
            "OPENROUTER_API_KEY": SIMULATOR_KEY,
            "OPENROUTER_HOST": openrouter_host,
            "ORGANIZATION_NAME": ORGANIZATION_NAME,
            "USAGE_PROXY_TOKEN": PROXY_TOKEN,
            "USAGE_ADMIN_TOKEN": ADMIN_TOKEN,
            "DATABASE_PATH": str(self.database),
            "BILLING_TIMEZONE": "Europe/Warsaw",
            "PROXY_LISTEN": f"127.0.0.1:{self.proxy_port}",
            "USAGE_LISTEN": f"127.0.0.1:{self.usage_port}",
            "LOG_FORMAT": "text",
            **settings,
        }
        environment = {name: value for name, value in values.items() if value is not None}
        super().__init__("mai-usage", [self.program, "daemon"], environment, directory)

    def start(self) -> None:
        """Starts it and waits until it calls itself healthy."""
        super().start()
        self.wait_ready(f"{self.usage_url}/health", START_SECONDS)

    def verify(self) -> None:
        """Lets the program check its own book: roll-up = ledger, and all else it knows to check."""
        command = [self.program, "verify", "--database", str(self.database)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"verify: exit {done.returncode}\n{done.stdout}{done.stderr}"

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Reads the book beside the running daemon, which must not notice."""
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)) as book:
            book.row_factory = sqlite3.Row
            return [dict(row) for row in book.execute(query, values)]

    def usage(self, report: str, bearer: str = ADMIN_TOKEN) -> httpx.Response:
        """One of the reports that the Usage tab reads."""
        address = f"{self.usage_url}/api/v1/usage-tracking/my-organization/{report}"
        with loopback_client() as client:
            return client.get(address, headers={"Authorization": f"Bearer {bearer}"})


class Stack:
    """Everything one test, or one module, has started."""

    # What runs now, over all stacks: the report of a failed test shows these logs.
    programs: list[Program] = []

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ends = contextlib.ExitStack()

    def start(self, program: Program) -> None:
        """Registers a program, then starts it: one that fails to start is stopped and shown as well."""
        self._ends.callback(self._end, program)
        Stack.programs.append(program)
        program.start()

    def at_end(self, end: Callable[[], object]) -> None:
        """Has something ended with the rest, in its turn."""
        self._ends.callback(end)

    def simulator(self) -> Simulator:
        """A simulated OpenRouter, started."""
        simulator = Simulator(self.directory / "openrouter-sim")
        self.start(simulator)
        return simulator

    def daemon(self, simulator: Simulator, **settings: str | None) -> Daemon:
        """A sidecar before `simulator`, started. A setting of None is left out of its environment."""
        daemon = Daemon(self.directory / "mai-usage", simulator.base_url, **settings)
        self.start(daemon)
        return daemon

    def stop(self) -> None:
        """Ends what is still running, last started first; one that resists does not save the others."""
        self._ends.close()

    @staticmethod
    def _end(program: Program) -> None:
        Stack.programs.remove(program)
        if program.running():
            program.terminate()
