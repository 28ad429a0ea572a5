"""The image and the Compose file as an operator uses them: real Docker, a real Open WebUI, a simulated OpenRouter."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from books import charge_of
from dockerd import (
    IMAGES_SECONDS,
    OPEN_WEBUI_IMAGE,
    SIDECAR_IMAGE,
    Dockerd,
    Phases,
    build_image,
    compose_command,
    docker_client,
    run,
    simulator_for_containers,
)
from stack import (
    ADMIN_TOKEN,
    ORGANIZATION_ID,
    ORGANIZATION_NAME,
    PROXY_TOKEN,
    ROOT,
    SIMULATOR_KEY,
    Program,
    Simulator,
    Stack,
    external_user,
    free_ports,
    loopback_client,
    wait_until,
)

COMPOSE_FILE = ROOT / "docker-compose.customization.yaml"
SESSION_SECRET = "session-secret-" + "c" * 32
MODEL = "openai/gpt-5-mini"
SIDECAR_UID = 65532
# A program of this kind is about 20 MB; twice that says that something was put in by mistake.
IMAGE_LIMIT_BYTES = 40_000_000

HEALTHY_SECONDS = 240.0
# A sidecar with nothing under way is gone in a moment; its drain may take 120 s, its grace is 150 s.
STOP_LIMIT_SECONDS = 30.0


@pytest.fixture(scope="module")
def image(dockerd: Dockerd, phases: Phases) -> dict[str, Any]:
    """The sidecar's image, built from the Dockerfile as it is."""
    return build_image(dockerd, phases)


@pytest.fixture(scope="module")
def simulator(dockerd: Dockerd, module_stack: Stack) -> Simulator:
    """A simulated OpenRouter at an address of the host that every container reaches."""
    return simulator_for_containers(dockerd, module_stack)


@dataclass
class Organization:
    """One client's containers, and the first account in its mAI."""

    dockerd: Dockerd
    command: list[str]
    directory: Path
    mai_port: int
    usage_port: int
    name: str = "containers"
    session: str = ""
    user_id: str = ""
    answers: list[str] = field(default_factory=list)

    def compose(self, *words: str, seconds: float = 600.0, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs Compose on the file as it is, with this organisation's `.env` and nothing of the tests' variables."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "DOCKER_HOST": self.dockerd.address,
            "COMPOSE_PROJECT_NAME": "mai-test",
        }
        place = ["--file", str(COMPOSE_FILE), "--project-directory", str(self.directory)]
        return run([*self.command, *place, *words], environment, seconds, check=check)

    def log(self) -> str:
        """What both containers wrote, for the report of a failed test."""
        return self.compose("logs", "--no-color", "--tail", "60", check=False).stdout

    def container(self, service: str) -> dict[str, Any]:
        """What Docker knows about the container of a service."""
        return self.dockerd.inspect(self.compose("ps", "--quiet", service).stdout.strip())

    def up(self) -> None:
        """Starts both and waits until both call themselves healthy."""
        self.compose("up", "--detach")
        for service in ("mai-usage", "mai"):
            wait_until(f"{service} is healthy", functools.partial(self._healthy, service), HEALTHY_SECONDS)

    def _healthy(self, service: str) -> bool:
        return self.container(service)["State"]["Health"]["Status"] == "healthy"

    def mai(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Asks Open WebUI, through its published port."""
        headers = {"Authorization": f"Bearer {self.session}"} if self.session else {}
        with loopback_client(headers=headers) as client:
            answer = client.request(method, f"http://127.0.0.1:{self.mai_port}{path}", **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def usage(self, path: str, bearer: str = ADMIN_TOKEN) -> httpx.Response:
        """Asks the sidecar, through its published port."""
        with loopback_client(headers={"Authorization": f"Bearer {bearer}"}) as client:
            return client.get(f"http://127.0.0.1:{self.usage_port}{path}")

    def usage_by_user(self, bearer: str = ADMIN_TOKEN) -> list[dict[str, Any]]:
        """What the Usage tab shows of each user."""
        answer = self.usage("/api/v1/usage-tracking/my-organization/usage-by-user", bearer)
        assert answer.status_code == 200, answer.text
        return answer.json()["user_usage"]

    def sign_up(self) -> None:
        """The first account becomes the admin."""
        account = {"name": "Anna Żółć", "email": "anna@example.com", "password": "correct horse battery"}
        told = self.mai("POST", "/api/v1/auths/signup", json=account).json()
        assert told["role"] == "admin"
        self.session, self.user_id = told["token"], told["id"]

    def chat(self, question: str, *, stream: bool) -> str:
        """One question to a model, and the text that came back."""
        messages = [{"role": "user", "content": question}]
        asked = {"model": MODEL, "messages": messages, "stream": stream}
        return self.mai("POST", "/api/chat/completions", json=asked).text


def write_settings(directory: Path, settings: Mapping[str, str]) -> None:
    """`.env` from `.env.example`, filled in as the operator does it: every name has to be in there."""
    wanted = dict(settings)
    lines = []
    for line in (ROOT / ".env.example").read_text().splitlines():
        name = line.removeprefix("#").partition("=")[0]
        lines.append(f"{name}={wanted.pop(name)}" if name in wanted else line)
    assert not wanted, f".env.example does not know {', '.join(wanted)}"
    (directory / ".env").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module", params=["docker-compose", "docker compose"])
def organization(
    request: pytest.FixtureRequest,
    dockerd: Dockerd,
    image: dict[str, Any],
    simulator: Simulator,
    phases: Phases,
) -> Iterator[Organization]:
    """A client set up from nothing: both containers run, the admin has signed up and asked two questions."""
    command = compose_command(request.param)
    if command is None:
        pytest.skip(f"`{request.param}` is not installed")
    with phases.phase("image of Open WebUI"):
        script = "tests/docker/open-webui-image.sh"
        run([script, OPEN_WEBUI_IMAGE], dockerd.environment_of_clients(), IMAGES_SECONDS)
    mai_port, usage_port = free_ports(2)
    directory = Path(tempfile.mkdtemp(prefix="mai-compose-"))
    client = Organization(dockerd, command, directory, mai_port, usage_port)
    write_settings(
        directory,
        {
            "OPENROUTER_API_KEY": SIMULATOR_KEY,
            "OPENROUTER_HOST": simulator.base_url,
            "ORGANIZATION_NAME": ORGANIZATION_NAME,
            "USAGE_PROXY_TOKEN": PROXY_TOKEN,
            "USAGE_ADMIN_TOKEN": ADMIN_TOKEN,
            "WEBUI_SECRET_KEY": SESSION_SECRET,
            "MAI_IMAGE": OPEN_WEBUI_IMAGE,
            "MAI_USAGE_IMAGE": SIDECAR_IMAGE,
            "MAI_PORT": f"127.0.0.1:{mai_port}",
            "USAGE_PORT": str(usage_port),
        },
    )
    try:
        with phases.phase(f"{request.param} up"):
            client.up()
        client.sign_up()
        client.answers = [client.chat("What is Rust?", stream=False), client.chat("And why?", stream=True)]
        Stack.programs.append(cast(Program, client))
        yield client
        Stack.programs.remove(cast(Program, client))
    except Exception as error:
        error.add_note(client.log())
        raise
    finally:
        client.compose("down", "--volumes", "--timeout", "5", check=False)
        shutil.rmtree(directory)


@pytest.mark.parametrize("missing", ["USAGE_PROXY_TOKEN", "WEBUI_SECRET_KEY"])
def test_compose_refuses_to_start_without_a_secret(missing: str, tmp_path: Path) -> None:
    """Compose would put an empty text in its place, and everybody could use the proxy."""
    command = compose_command("docker-compose") or compose_command("docker compose")
    if command is None:
        pytest.skip("neither docker-compose nor Compose v2 is installed")
    secrets = {"USAGE_PROXY_TOKEN": PROXY_TOKEN, "WEBUI_SECRET_KEY": SESSION_SECRET}
    write_settings(tmp_path, {**secrets, missing: ""})
    place = ["--file", str(COMPOSE_FILE), "--project-directory", str(tmp_path)]
    done = run([*command, *place, "config"], {"PATH": os.environ["PATH"]}, 60.0, check=False)
    assert done.returncode != 0
    assert f"{missing} is missing in .env" in done.stderr


def test_the_image_holds_the_program_and_nothing_else(dockerd: Dockerd, image: dict[str, Any]) -> None:
    """No shell, no package, no root."""
    assert image["Size"] < IMAGE_LIMIT_BYTES
    assert image["Config"]["User"] == f"{SIDECAR_UID}:{SIDECAR_UID}"
    container = dockerd.client("create", SIDECAR_IMAGE).stdout.strip()
    export = f"{docker_client()} export {container} | tar --list"
    listed = run(["sh", "-c", export], dockerd.environment_of_clients(), 60.0).stdout.split()
    dockerd.client("rm", "--volumes", container)
    made_by_docker = {".dockerenv", "dev", "proc", "sys"}
    assert {name.split("/")[0] for name in listed} - made_by_docker == {"data", "etc", "mai-usage", "tmp"}


def test_a_chat_is_billed_to_its_user(organization: Organization, simulator: Simulator) -> None:
    """Through every part: mAI, its headers, the sidecar, OpenRouter, the ledger, the Usage tab's numbers."""
    assert all("assistant" in answer for answer in organization.answers), organization.answers
    told = external_user(organization.user_id)
    charges = [charge for charge in simulator.truth() if charge["external_user"] == told]
    assert {charge["streamed"] for charge in charges} == {True, False}
    assert all(charge["cost_pico_usd"] > 0 for charge in charges)
    requests = len(charges)

    def booked() -> dict[str, Any] | None:
        rows = [row for row in organization.usage_by_user() if row["user_id"] == organization.user_id]
        return rows[0] if rows and rows[0]["total_requests"] == requests else None

    row = wait_until("both calls are settled", booked)
    charged = sum(charge_of(charge["cost_pico_usd"]) for charge in charges)
    assert row["markup_cost"] == pytest.approx(float(Decimal(charged) / 10**12), rel=1e-9)
    assert row["total_tokens"] == sum(charge["prompt_tokens"] + charge["completion_tokens"] for charge in charges)
    assert row["external_user_id"] == told
    assert row["user_name"] == "Anna Żółć"


def test_the_static_program_resolves_names(organization: Organization) -> None:
    """A C library that is linked in asks Docker's DNS all the same: a second sidecar finds `mai` by its name."""
    settings = ["OPENROUTER_HOST=http://mai:8080/nowhere", f"OPENROUTER_API_KEY={SIMULATOR_KEY}"]
    options = [word for setting in settings for word in ("--env", setting)]
    client = organization.dockerd.client
    container = client("run", "--detach", "--network", "mai-test_private", *options, SIDECAR_IMAGE).stdout.strip()
    try:
        polled = "polled OpenRouter"
        wait_until("the second sidecar has polled", lambda: polled in client("logs", container).stderr, 60.0)
        lines = [line for line in client("logs", container).stderr.splitlines() if polled in line]
        assert "cannot reach" not in lines[0], lines[0]
    finally:
        client("rm", "--force", "--volumes", container)


def test_the_proxy_is_not_published(organization: Organization) -> None:
    """The road to OpenRouter is open to the private network alone."""
    ports = organization.container("mai-usage")["NetworkSettings"]["Ports"]
    assert ports["8787/tcp"] is None
    assert ports["8788/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(organization.usage_port)}]
    for path in ("/v1/models", "/api/v1/models", "/api/v1/chat/completions"):
        assert organization.usage(path, PROXY_TOKEN).status_code in (401, 404, 405)


def test_the_sidecar_has_no_privileges(organization: Organization) -> None:
    """As the kernel sees it, not as the file says it."""
    container = organization.container("mai-usage")
    process = Path("/proc") / str(container["State"]["Pid"])
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(SIDECAR_UID)}
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    mounts = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
    options = {mount[4]: mount[5].split(",") for mount in mounts}
    assert "ro" in options["/"]
    assert "rw" in options["/data"]
    assert "rw" in options["/tmp"]
    assert container["HostConfig"]["Memory"] > 0
    assert container["HostConfig"]["NanoCpus"] > 0
    assert container["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert container["Config"]["StopTimeout"] == 150


def test_each_container_holds_only_its_own_secrets(organization: Organization) -> None:
    """Whoever breaks into mAI finds no key of OpenRouter, and whoever breaks into the sidecar signs no session."""
    mai = organization.container("mai")["Config"]["Env"]
    assert f"OPENAI_API_KEY={PROXY_TOKEN}" in mai
    for secret in (SIMULATOR_KEY, ADMIN_TOKEN, "openrouter.ai", "OPENROUTER_"):
        assert secret not in "\n".join(mai)
    addresses = [value for name, _, value in (line.partition("=") for line in mai) if name.endswith("_BASE_URL")]
    assert set(addresses) == {"http://mai-usage:8787/api/v1"}
    sidecar = organization.container("mai-usage")["Config"]["Env"]
    assert f"OPENROUTER_API_KEY={SIMULATOR_KEY}" in sidecar
    assert SESSION_SECRET not in "\n".join(sidecar)


def test_a_stopped_sidecar_ends_cleanly_and_the_books_outlive_it(organization: Organization, phases: Phases) -> None:
    """SIGTERM is an ordinary end, and `down` removes containers, not the ledger."""
    before = organization.usage_by_user()
    started = time.monotonic()
    with phases.phase("stop of the sidecar"):
        organization.compose("stop", "mai-usage")
    assert time.monotonic() - started < STOP_LIMIT_SECONDS
    stopped = organization.compose("ps", "--all", "--quiet", "mai-usage").stdout.strip()
    state = organization.dockerd.inspect(stopped)["State"]
    assert (state["Status"], state["ExitCode"], state["OOMKilled"]) == ("exited", 0, False)

    with phases.phase("down and up again"):
        organization.compose("down")
        organization.up()
    assert organization.usage_by_user() == before
