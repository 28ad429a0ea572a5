"""A server of clients that `mai-usage client` has made: its folders, its containers, its nginx."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shlex
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from dockerd import Dockerd
from gateway import chosen
from stack import START_SECONDS, Program, Simulator, binary, free_ports, loopback_client, wait_until

# The simulator's own, unless another is named.
MANAGEMENT_KEY = "sk-or-v1-" + "6" * 64
MODEL = "openai/gpt-5-mini"
STAND_IN_IMAGE = "mai-usage-test/stand-in-mai:1"
# The images of a client's first start: two health checks, and mAI's own migration.
COMMAND_SECONDS = 1200.0
PASSWORD = "correct horse battery"
_NGINX = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr warn;
user root;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} default_server;
        location = /gateway {{ return 200; }}
    }}
    include {sites}/*.conf;
}}
"""


class Nginx(Program):
    """Debian's nginx, with whatever sites are in a folder."""

    def __init__(self, directory: Path, sites: Path) -> None:
        directory.mkdir(parents=True)
        sites.mkdir()
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        configuration = directory / "nginx.conf"
        configuration.write_text(_NGINX.format(directory=directory, port=self.port, sites=sites))
        command = [str(chosen("nginx")), "-p", str(directory), "-c", str(configuration), "-e", "stderr"]
        super().__init__("nginx", command, {}, directory)
        nginx = shlex.join(command)
        self.check = f"{nginx} -q -t"
        self.reload = f"{self.check} && {nginx} -s reload"

    def start(self) -> None:
        """Starts it and waits until it answers, whatever is behind it."""
        super().start()
        self.wait_ready(f"{self.url}/gateway", START_SECONDS)


@dataclass(frozen=True)
class Charged:
    """How many calls, and what they cost in all, in pico-dollars."""

    calls: int
    cost_pico_usd: int


class Fleet:
    """The clients of one server."""

    name = "clients"

    def __init__(self, directory: Path, dockerd: Dockerd, simulator: Simulator) -> None:
        self.directory = directory
        self.dockerd = dockerd
        self.simulator = simulator
        self.management_key = directory.parent / "management-key"
        _private(self.management_key, MANAGEMENT_KEY)

    def write_settings(self, **settings: str) -> None:
        """What all clients of this server have in common."""
        _private(self.directory / "server.env", "".join(f"{name}='{value}'\n" for name, value in settings.items()))

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`mai-usage …` as the provider types it, with nobody to ask."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "DOCKER_HOST": self.dockerd.address,
            # Of a careless shell: nothing of it may reach a client.
            "MAI_PORT": "1",
            "USAGE_PROXY_TOKEN": "of-the-shell",
            "COMPOSE_PROJECT_NAME": "of-the-shell",
        }
        command = [str(binary("MAI_USAGE_BIN", "mai-usage")), *words]
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        told = f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert MANAGEMENT_KEY not in told
        assert not re.search(r"sk-or-v1-[0-9a-f]{16}", told), "a secret was told"
        assert not check or done.returncode == 0, told
        return done

    def client(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`mai-usage client …`."""
        return self.run("client", *words, "--clients", str(self.directory), check=check)

    def account(self) -> list[str]:
        """The flags of whose account it is."""
        host = ["--openrouter-host", self.simulator.base_url]
        return ["--management-key-file", str(self.management_key), *host]

    def add(self, name: str, *words: str) -> Client:
        """A new client."""
        organisation = ["--organization", organisation_of(name), "--limit", "250", "--host", f"{name}.example"]
        self.client("add", name, *organisation, *words, *self.account())
        return Client(self, name)

    def listed(self) -> dict[str, dict[str, Any]]:
        """What `client list` tells, by name."""
        return {client["client"]: client for client in json.loads(self.client("list", "--json").stdout)}

    def bill(self) -> dict[str, Charged]:
        """OpenRouter's bill, by organisation."""
        charges: dict[str, list[int]] = {}
        for charge in self.simulator.truth():
            organisation = str(charge["external_user"]).partition("_user_")[0]
            charges.setdefault(organisation, []).append(charge["cost_pico_usd"])
        return {organisation: Charged(len(costs), sum(costs)) for organisation, costs in charges.items()}

    def log(self) -> str:
        """How the containers are, for the report of a failed test."""
        containers = self.dockerd.client("ps", "--all", "--format", "{{.Names}} {{.Image}} {{.Status}}").stdout
        tails = []
        for line in containers.splitlines():
            if "(healthy)" not in line:
                name = line.split()[0]
                told = self.dockerd.client("logs", "--tail", "15", name, check=False)
                tails.append(f"--- {name}\n{told.stdout}{told.stderr}")
        return containers + "\n".join(tails)


class Client:
    """One of them."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self.fleet = fleet
        self.name = name
        self.folder = fleet.directory / name
        self.session = ""

    @property
    def env(self) -> dict[str, str]:
        """Its `.env`."""
        lines = [line for line in (self.folder / ".env").read_text().splitlines() if "=" in line and line[0] != "#"]
        return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}

    @property
    def organisation(self) -> str:
        """Its id."""
        return self.env["OPENROUTER_EXTERNAL_USER"]

    @property
    def mai_name(self) -> str:
        """By what its stand-in is known."""
        return hashlib.sha256(self.env["USAGE_PROXY_TOKEN"].encode()).hexdigest()[:12]

    def container(self, service: str) -> dict[str, Any]:
        """What Docker knows about the container of a service."""
        labels = [f"com.docker.compose.project=mai-{self.name}", f"com.docker.compose.service={service}"]
        filters = [word for label in labels for word in ("--filter", f"label={label}")]
        (container,) = self.fleet.dockerd.client("ps", "--all", "--quiet", *filters).stdout.split()
        return self.fleet.dockerd.inspect(container)

    def address(self, service: str) -> str:
        """The container's own address in its network."""
        (network,) = self.container(service)["NetworkSettings"]["Networks"].values()
        return str(network["IPAddress"])

    def usage(self, path: str, bearer: str | None = None) -> httpx.Response:
        """Asks the sidecar through its published port."""
        token = bearer or self.env["USAGE_ADMIN_TOKEN"]
        with loopback_client(headers={"Authorization": f"Bearer {token}"}) as client:
            return client.get(f"http://127.0.0.1:{self.env['USAGE_PORT']}{path}")

    def mai(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Asks its mAI through its published port."""
        headers = {"Authorization": f"Bearer {self.session}"} if self.session else {}
        with loopback_client(headers=headers) as client:
            return client.request(method, f"http://127.0.0.1:{self.env['MAI_PORT']}{path}", **options)

    def ask(self, user: str, question: str, *, stream: bool = False) -> tuple[int, str]:
        """One chat of a user through mAI and sidecar: the sidecar's status and the text."""
        if self.session:
            body = {"model": MODEL, "messages": [{"role": "user", "content": question}], "stream": stream}
            answer = self.mai("POST", "/api/chat/completions", json=body)
            return answer.status_code, answer.text
        body = {"user": f"{user}-of-{self.name}", "model": MODEL, "question": question, "stream": stream}
        told = self.mai("POST", "/ask", json=body).json()
        return told["status"], told["text"]

    def booked(self) -> Charged:
        """What its ledger holds, read beside the running sidecar."""
        database = self.folder / "data/mai-usage.db"
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as book:
            calls, cost = book.execute("SELECT count(*), coalesce(sum(cost_pico_usd), 0) FROM entries").fetchone()
        return Charged(calls, cost)

    def wait_booked(self) -> Charged:
        """Waits until its ledger is OpenRouter's bill of it, to the pico-dollar."""

        def equal() -> Charged | None:
            booked = self.booked()
            return booked if booked == self.fleet.bill().get(self.organisation, Charged(0, 0)) else None

        return wait_until(f"the ledger of {self.name} is its bill", equal, 90.0)

    def connects(self, host: str, port: int) -> bool:
        """Whether a program in its mAI's container reaches a port."""
        script = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1.0)"
        mai = self.container("mai")["Id"]
        command = ["exec", mai, "python3", "-c", script, host, str(port)]
        return self.fleet.dockerd.client(*command, check=False).returncode == 0


class Chatting:
    """Everybody asks, one question after the other, until it is enough."""

    def __init__(self, clients: list[Client]) -> None:
        self.clients = clients
        self.answers: dict[str, list[tuple[int, float]]] = {client.name: [] for client in clients}
        self._over = False

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """Chats while something is done, and then waits until each was answered once more."""
        with ThreadPoolExecutor(len(self.clients)) as threads:
            chats = [threads.submit(self._chat, client) for client in self.clients]
            try:
                self._wait_for_more()
                yield
                self._wait_for_more()
            finally:
                self._over = True
            for chat in chats:
                chat.result()

    def _wait_for_more(self) -> None:
        before = {name: len(answers) for name, answers in self.answers.items()}
        wait_until(
            "each client was answered twice more",
            lambda: all(len(self.answers[name]) >= before[name] + 2 for name in before),
            120.0,
        )

    def _chat(self, client: Client) -> None:
        while not self._over:
            started = time.monotonic()
            status, _ = client.ask("anna", "And now?", stream=True)
            self.answers[client.name].append((status, time.monotonic() - started))

    def assert_undisturbed(self) -> str:
        """Every question was answered, and every answer is in the right book."""
        every = [answer for answers in self.answers.values() for answer in answers]
        assert {status for status, _ in every} == {200}, self.answers
        for client in self.clients:
            client.wait_booked()
        slowest = max(seconds for _, seconds in every)
        return f"{len(every)} chats of {len(self.clients)} others answered and booked, the slowest in {slowest:.2f} s"


def organisation_of(name: str) -> str:
    """The client's name on paper: with what files and shells take amiss."""
    return f"{name.replace('-', ' ').title()} \"Żółw\" & Co. #1"


def _private(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
