"""The image and the Compose file as an operator uses them: real Docker, a real Open WebUI, a simulated OpenRouter.

Nothing is pulled: the base images are made by `tests/docker/`. The daemon is a private one, with its own state in
`target/docker-cache`, and it leaves the firewall and the routing of the host alone: images are built in the host's
network, containers reach each other through their bridge, and published ports are carried by Docker's own proxy
process. All traffic stays on loopback and on that bridge, except that the first runs fetch packages.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import shutil
import socket
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
from stack import (
    ADMIN_TOKEN,
    ORGANIZATION_ID,
    ORGANIZATION_NAME,
    PROXY_TOKEN,
    ROOT,
    SIMULATOR_KEY,
    START_SECONDS,
    TARGET,
    Program,
    Simulator,
    Stack,
    external_user,
    free_ports,
    loopback_client,
    wait_until,
)

COMPOSE_FILE = ROOT / "docker-compose.customization.yaml"
CACHE = TARGET.resolve() / "docker-cache"
OPEN_WEBUI_IMAGE = "mai-usage-test/open-webui:0.12.4"
SIDECAR_IMAGE = "mai-usage:latest"
SESSION_SECRET = "session-secret-" + "c" * 32
# A range that is rarely used. Its first network belongs to the host's side, where the simulator listens.
ADDRESS_POOL = "base=10.213.0.0/16,size=24"

MODEL = "openai/gpt-5-mini"
SIDECAR_UID = 65532
# A program of this kind is about 20 MB; twice that says that something was put in by mistake.
IMAGE_LIMIT_BYTES = 40_000_000

# Cold, on two cores that others use as well: debootstrap, and a release build of everything.
IMAGES_SECONDS = 600.0
BUILD_SECONDS = 1500.0
HEALTHY_SECONDS = 240.0
# A sidecar with nothing under way is gone in a moment; its drain may take 120 s, its grace is 150 s.
STOP_LIMIT_SECONDS = 30.0


def docker_client() -> str:
    """Debian's own client, if a newer one shadows it: that is what the Dockerfile promises to work with."""
    return "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"


class Phases:
    """How long the slow steps took, told as they end even where the output of tests is captured."""

    def __init__(self, config: pytest.Config) -> None:
        self._reporter: Any = config.pluginmanager.getplugin("terminalreporter")
        self._capture: Any = config.pluginmanager.getplugin("capturemanager")

    def say(self, line: str) -> None:
        """Writes a line past the capture."""
        with self._capture.global_and_fixture_disabled():
            self._reporter.write_line(f"docker: {line}")

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times what is done inside."""
        started = time.monotonic()
        yield
        self.say(f"{name}: {time.monotonic() - started:.1f} s")


class Dockerd(Program):
    """A Docker daemon for these tests alone."""

    def __init__(self, directory: Path, state: Path) -> None:
        # A socket's path may have 108 bytes, so these stand in a short directory and not under pytest's.
        self.address = f"unix://{state}/docker.sock"
        options = [
            f"--host={self.address}",
            f"--data-root={CACHE / 'daemon'}",
            f"--exec-root={state}/exec",
            f"--pidfile={state}/docker.pid",
            f"--default-address-pool={ADDRESS_POOL}",
            "--log-level=warn",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
        ]
        path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        # Its mounts are in a namespace of its own, so even a killed daemon leaves none behind.
        super().__init__("dockerd", ["unshare", "--mount", "dockerd", *options], path, directory)

    def start(self) -> None:
        """Starts it, waits until it answers, and removes what an interrupted run has left in it."""
        super().start()
        wait_until("dockerd answers", self._answers, START_SECONDS)
        self.clear()

    def _answers(self) -> bool:
        if not self.running():
            raise DockerImpossible(f"dockerd ended at once: {self.log()[-600:]}")
        return self.client("version", check=False).returncode == 0

    def clear(self) -> None:
        """Removes containers, networks and volumes. Images stay for the next run, but a week-old layer is dropped."""
        for container in self.client("ps", "--all", "--quiet").stdout.split():
            self.client("rm", "--force", "--volumes", container)
        self.client("network", "prune", "--force")
        for volume in self.client("volume", "ls", "--quiet").stdout.split():
            self.client("volume", "rm", volume)
        self.client("image", "prune", "--force", "--filter", "until=168h")

    def environment_of_clients(self) -> dict[str, str]:
        """What every client and script needs: the tests' own variables, and this daemon."""
        return {
            **os.environ,
            "DOCKER": docker_client(),
            "DOCKER_BUILDKIT": "0",
            "DOCKER_HOST": self.address,
            "DOCKER_TEST_CACHE": str(CACHE),
        }

    def client(self, *words: str, check: bool = True, seconds: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Runs `docker …`."""
        return run([docker_client(), *words], self.environment_of_clients(), seconds, check=check)

    def inspect(self, name: str) -> dict[str, Any]:
        """All that Docker knows about a container or an image."""
        return json.loads(self.client("inspect", name).stdout)[0]


class DockerImpossible(Exception):
    """This machine cannot run a Docker daemon."""


def run(
    command: list[str], environment: Mapping[str, str], seconds: float, *, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs a command; one that fails shows the end of what it said."""
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert not check or done.returncode == 0, (
        f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    )
    return done


@pytest.fixture(scope="module")
def phases(request: pytest.FixtureRequest) -> Phases:
    """Where the slow steps tell their times."""
    return Phases(request.config)


@pytest.fixture(scope="module")
def dockerd(module_stack: Stack, phases: Phases) -> Iterator[Dockerd]:
    """The daemon, started. The only reasons to skip are in here."""
    if os.geteuid() != 0:
        pytest.skip("a Docker daemon of one's own needs root")
    if missing := [name for name in ("dockerd", "docker", "debootstrap") if shutil.which(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: docker.io debootstrap)")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock, tempfile.TemporaryDirectory(prefix="mai-docker-") as state:
        fcntl.flock(lock, fcntl.LOCK_EX)
        daemon = Dockerd(module_stack.directory / "dockerd", Path(state))
        try:
            with phases.phase("daemon"):
                module_stack.start(daemon)
        except DockerImpossible as reason:
            pytest.skip(str(reason))
        yield daemon
        daemon.clear()
        daemon.terminate()


@pytest.fixture(scope="module")
def image(dockerd: Dockerd, phases: Phases) -> dict[str, Any]:
    """The sidecar's image, built from the Dockerfile as it is."""
    with phases.phase("base images"):
        run(["tests/docker/base-images.sh"], dockerd.environment_of_clients(), IMAGES_SECONDS)
    proxies = [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "no_proxy")]
    options = [word for name in proxies for word in ("--build-arg", name)]
    with phases.phase("docker build"):
        dockerd.client(
            "build", "--network", "host", *options, "--tag", SIDECAR_IMAGE, ".", seconds=BUILD_SECONDS
        )
    described = dockerd.inspect(SIDECAR_IMAGE)
    phases.say(f"image: {described['Size'] / 1e6:.1f} MB")
    return described


@pytest.fixture(scope="module")
def simulator(dockerd: Dockerd, module_stack: Stack) -> Simulator:
    """A simulated OpenRouter at an address of the host that every container reaches."""
    dockerd.client("network", "create", "host-side")
    network = dockerd.inspect("host-side")
    gateway = network["IPAM"]["Config"][0]["Gateway"]
    simulator = Simulator(module_stack.directory / "openrouter-sim")
    simulator.command[simulator.command.index("--listen") + 1] = f"{gateway}:0"
    module_stack.start(simulator)
    return simulator


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


def compose_command(name: str) -> list[str] | None:
    """How this machine calls that Compose, if it has it."""
    if name == "docker-compose":
        return [name] if shutil.which(name) else None
    for docker in ("/usr/bin/docker", "docker"):
        with contextlib.suppress(OSError):
            if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
                return [docker, "compose"]
    return None


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
