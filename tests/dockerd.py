"""A Docker daemon for the tests alone, the images in it, and a simulated OpenRouter that containers reach.

Nothing is pulled: the base images are made by `tests/docker/`. The daemon has its own state in `target/docker-cache`, and it
leaves the firewall and the routing of the host alone: images are built in the host's network, containers reach each other
through their bridge, and published ports are carried by Docker's own proxy process. Where the firewall itself is to be shown,
the test moves into a network of its own first, and the daemon works there as it does on a server. All traffic stays on
loopback and on those bridges, except that the first runs fetch packages.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from stack import ROOT, START_SECONDS, TARGET, Program, Simulator, Stack, wait_until

CACHE = TARGET.resolve() / "docker-cache"
OPEN_WEBUI_IMAGE = "mai-usage-test/open-webui:0.12.4"
SIDECAR_IMAGE = "mai-usage:latest"
# A range that is rarely used. Its first network belongs to the host's side, where the simulator listens.
ADDRESS_POOL = "base=10.213.0.0/16,size=24"

# What leaves the firewall and the routing alone.
UNOBTRUSIVE = ["--iptables=false", "--ip6tables=false", "--ip-forward=false"]
CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)

# Cold, on two cores that others use as well: debootstrap, and a release build of everything.
IMAGES_SECONDS = 600.0
BUILD_SECONDS = 1500.0


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

    def __init__(self, directory: Path, state: Path, options: list[str]) -> None:
        # A socket's path may have 108 bytes, so these stand in a short directory and not under pytest's.
        self.address = f"unix://{state}/docker.sock"
        words = [
            f"--host={self.address}",
            f"--data-root={CACHE / 'daemon'}",
            f"--exec-root={state}/exec",
            f"--pidfile={state}/docker.pid",
            f"--default-address-pool={ADDRESS_POOL}",
            "--log-level=warn",
            "--bridge=none",
            *options,
        ]
        path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        # Its mounts are in a namespace of its own, so even a killed daemon leaves none behind.
        super().__init__("dockerd", ["unshare", "--mount", "dockerd", *words], path, directory)

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


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """Moves this thread, and what it starts, into a network without any way out; with ports and a firewall of its own."""
    with open("/proc/thread-self/ns/net") as before:
        if _LIBC.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            assert _LIBC.setns(before.fileno(), CLONE_NEWNET) == 0


@contextlib.contextmanager
def private_daemon(stack: Stack, phases: Phases, options: list[str] = UNOBTRUSIVE) -> Iterator[Dockerd]:
    """The daemon, started. The only reasons to skip are in here."""
    if os.geteuid() != 0:
        pytest.skip("a Docker daemon of one's own needs root")
    if missing := [name for name in ("dockerd", "docker", "debootstrap") if shutil.which(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: docker.io debootstrap)")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock, tempfile.TemporaryDirectory(prefix="mai-docker-") as state:
        fcntl.flock(lock, fcntl.LOCK_EX)
        daemon = Dockerd(stack.directory / "dockerd", Path(state), options)
        try:
            with phases.phase("daemon"):
                stack.start(daemon)
        except DockerImpossible as reason:
            pytest.skip(str(reason))
        try:
            yield daemon
        finally:
            daemon.clear()
            daemon.terminate()


def build_image(dockerd: Dockerd, phases: Phases) -> dict[str, Any]:
    """The sidecar's image, built from the Dockerfile as it is; with `IMAGE_AS_IT_IS=1` that of an earlier run.

    The latter is for work on these tests alone: a change of any source builds the program anew, for minutes.
    """
    if os.environ.get("IMAGE_AS_IT_IS"):
        return dockerd.inspect(SIDECAR_IMAGE)
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


def simulator_for_containers(dockerd: Dockerd, stack: Stack) -> Simulator:
    """A simulated OpenRouter at an address of the host that every container reaches."""
    dockerd.client("network", "create", "host-side")
    network = dockerd.inspect("host-side")
    gateway = network["IPAM"]["Config"][0]["Gateway"]
    simulator = Simulator(stack.directory / "openrouter-sim")
    simulator.command[simulator.command.index("--listen") + 1] = f"{gateway}:0"
    stack.start(simulator)
    return simulator


def compose_command(name: str) -> list[str] | None:
    """How this machine calls that Compose, if it has it."""
    if name == "docker-compose":
        return [name] if shutil.which(name) else None
    for docker in ("/usr/bin/docker", "docker"):
        with contextlib.suppress(OSError):
            if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
                return [docker, "compose"]
    return None
