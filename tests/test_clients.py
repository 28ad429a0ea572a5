"""From an empty folder to the clients of a server with one command each: real Docker, one real Open WebUI, real nginx.

Three clients; as many as `CLIENTS` says for the full depth (`CLIENTS=20`, or `cargo xtask clients --full`).
"""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import httpx
import pytest

from dockerd import (
    IMAGES_SECONDS,
    OPEN_WEBUI_IMAGE,
    SIDECAR_IMAGE,
    Dockerd,
    Phases,
    build_image,
    own_network,
    private_daemon,
    run,
    simulator_for_containers,
)
from fleet import PASSWORD, STAND_IN_IMAGE, Chatting, Client, Fleet, Nginx, organisation_of
from stack import ROOT, Program, Stack, loopback_client, wait_until

FEW = 3
COUNT = int(os.environ.get("CLIENTS", FEW))
NAMES = [f"client-{number:02}" for number in range(1, COUNT + 1)]
# The one with a real Open WebUI, and the one that everything happens to.
REAL, UNLUCKY = NAMES[0], NAMES[1]
SIDECAR_ID = 65532
# Room for a ledger and its log, not for long.
SMALL_DISK = "16m"
MEMORY_LIMIT_MIB_EACH = 64
IMAGES = {
    "good": f"FROM {SIDECAR_IMAGE}\nLABEL next=1\n",
    "sick": f"FROM {SIDECAR_IMAGE}\nHEALTHCHECK --interval=1s --timeout=2s --start-period=1s --retries=2 CMD [\"/mai-usage\", \"no\"]\n",
    "dying": f"FROM {SIDECAR_IMAGE}\nCMD [\"no\"]\n",
}


@pytest.fixture(scope="module")
def images(module_stack: Stack, phases: Phases) -> None:
    """All images, made in the host's network: a cold build fetches packages."""
    with private_daemon(module_stack, phases) as dockerd:
        build_image(dockerd, phases)
        with phases.phase("images of Open WebUI and of the stand-in"):
            environment = dockerd.environment_of_clients()
            run(["tests/docker/open-webui-image.sh", OPEN_WEBUI_IMAGE], environment, IMAGES_SECONDS)
            dockerd.client("build", "--quiet", "--tag", STAND_IN_IMAGE, str(ROOT / "tests/docker/stand-in-mai"))
            for name, recipe in IMAGES.items():
                build = ["sh", "-c", f'"$DOCKER" build --quiet --tag mai-usage-test/{name}:1 - <<"E"\n{recipe}E']
                run(build, environment, IMAGES_SECONDS)


@pytest.fixture(scope="module")
def directory(images: None) -> Iterator[Path]:
    """Where the clients will be, with a small disk for the ledger of one. Made before the daemon, whose mounts are its own."""
    with tempfile.TemporaryDirectory(prefix="mai-clients-") as place:
        directory = Path(place) / "srv"
        data = directory / UNLUCKY / "data"
        data.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "none", str(data)], check=True)
        try:
            yield directory
        finally:
            # It may have been moved with its client.
            mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
            for mounted in (one for one in mounts if one.startswith(place)):
                subprocess.run(["umount", "--lazy", mounted], check=True)


@pytest.fixture(scope="module")
def server(directory: Path, tmp_path_factory: pytest.TempPathFactory, phases: Phases) -> Iterator[tuple[Stack, Dockerd]]:
    """A network as of a server of its own, and in it a Docker daemon as Debian starts it, firewall and all."""
    with own_network(), contextlib.ExitStack() as ends:
        stack = Stack(tmp_path_factory.mktemp("server"))
        ends.callback(stack.stop)
        yield stack, ends.enter_context(private_daemon(stack, phases, options=[]))


@pytest.fixture(scope="module")
def fleet(directory: Path, server: tuple[Stack, Dockerd]) -> Iterator[Fleet]:
    """A server without clients: nginx, and what all clients will have in common."""
    stack, dockerd = server
    fleet = Fleet(directory, dockerd, simulator_for_containers(dockerd, stack))
    sites = directory.parent / "sites"
    nginx = Nginx(stack.directory / "nginx", sites)
    stack.start(nginx)
    fleet.write_settings(
        MAI_IMAGE=STAND_IN_IMAGE, MAI_CERTIFICATE="none", MAI_SITES=str(sites), MAI_RELOAD=nginx.reload
    )
    Stack.programs.append(cast(Program, fleet))
    yield fleet
    Stack.programs.remove(cast(Program, fleet))


@pytest.fixture(scope="module")
def clients(fleet: Fleet, phases: Phases) -> dict[str, Client]:
    """All clients, each made by one command."""
    made = {}
    with phases.phase(f"{COUNT} clients"):
        for name in NAMES:
            image = ["--mai-image", OPEN_WEBUI_IMAGE] if name == REAL else []
            made[name] = fleet.add(name, *image)
    return made


@pytest.fixture(scope="module")
def real(clients: dict[str, Client]) -> Client:
    """The client with a real Open WebUI, in which somebody has signed up."""
    client = clients[REAL]
    account = {"name": "Anna Żółć", "email": "anna@example.com", "password": PASSWORD}
    told = client.mai("POST", "/api/v1/auths/signup", json=account).json()
    assert told["role"] == "admin"
    client.session = told["token"]
    return client


def others(clients: dict[str, Client]) -> list[Client]:
    """All but the unlucky one."""
    return [client for client in clients.values() if client.name != UNLUCKY]


def test_an_empty_folder_becomes_clients(fleet: Fleet, clients: dict[str, Client]) -> None:
    """Each has ports, a key and a ledger of its own, belongs to the right users, and is healthy."""
    listed = fleet.listed()
    assert list(listed) == NAMES
    for told in listed.values():
        assert (told["mai_usage"]["condition"], told["mai"]["condition"]) == ("healthy", "healthy")
        assert told["organisation"] == organisation_of(told["client"])
    assert [told["mai_port"] for told in listed.values()] == list(range(8001, 8001 + COUNT))
    assert [told["usage_port"] for told in listed.values()] == list(range(9001, 9001 + COUNT))
    keys = [client.env["OPENROUTER_API_KEY"] for client in clients.values()]
    assert len(set(keys)) == COUNT
    for client in clients.values():
        data = client.folder / "data"
        assert (data.stat().st_uid, data.stat().st_gid, data.stat().st_mode & 0o777) == (SIDECAR_ID, SIDECAR_ID, 0o700)
        for name in ("mai-usage.db", "mai-usage.db.lock"):
            status = (data / name).stat()
            assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (SIDECAR_ID, SIDECAR_ID, 0o600), name
        assert (client.folder.stat().st_mode & 0o777, (client.folder / ".env").stat().st_mode & 0o777) == (0o700, 0o600)


def test_the_rules_of_the_compose_file_hold(clients: dict[str, Client]) -> None:
    """As Docker has them, not as a file says them."""
    for client in clients.values():
        sidecar, mai = client.container("mai-usage"), client.container("mai")
        for container in (sidecar, mai):
            assert container["HostConfig"]["Memory"] > 0
            assert container["HostConfig"]["NanoCpus"] > 0
            assert container["HostConfig"]["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "5"}
            bindings = [one for ports in container["HostConfig"]["PortBindings"].values() for one in ports]
            assert [one["HostIp"] for one in bindings] == ["127.0.0.1"]
            for mount in container["Mounts"]:
                assert mount["Type"] == "bind", mount
                assert mount["Source"].startswith(f"{client.folder}/"), mount
        assert sidecar["Config"]["StopTimeout"] == 150
        assert sidecar["HostConfig"]["ReadonlyRootfs"]
        secrets = "\n".join(mai["Config"]["Env"])
        assert client.env["OPENROUTER_API_KEY"] not in secrets
        assert client.env["USAGE_ADMIN_TOKEN"] not in secrets
        assert client.env["WEBUI_SECRET_KEY"] not in "\n".join(sidecar["Config"]["Env"])


def test_run_again_nothing_is_made_anew(fleet: Fleet, clients: dict[str, Client]) -> None:
    """The same containers, keys and files; an `update` without a change too."""
    client = clients[NAMES[-1]]

    def state() -> tuple[str, ...]:
        files = [client.folder / ".env", client.folder / "docker-compose.yaml"]
        containers = [client.container(service)["Id"] for service in ("mai-usage", "mai")]
        return (*containers, *(file.read_text() for file in files))

    before = state()
    fleet.add(client.name)
    assert state() == before
    fleet.client("update", client.name)
    assert state() == before
    keys = fleet.run("keys", "list", "--json", *fleet.account()).stdout
    assert keys.count('"mAI Client: ') == COUNT


def test_the_first_account_is_the_administrators(real: Client) -> None:
    """And a second person cannot make one by himself."""
    account = {"name": "Bob", "email": "bob@example.com", "password": PASSWORD}
    refused = real.mai("POST", "/api/v1/auths/signup", json=account)
    assert refused.status_code == 403, refused.text
    usage = real.usage("/api/v1/usage/overview", real.session)
    assert usage.status_code == 200, usage.text


def test_each_client_is_billed_for_its_own_chats(clients: dict[str, Client], real: Client, phases: Phases) -> None:
    """All at once, streamed and not: each ledger is OpenRouter's bill of that client."""
    with ThreadPoolExecutor(COUNT) as threads:
        for stream in (False, True):
            answers = list(threads.map(lambda client: client.ask("anna", "What is Rust?", stream=stream), clients.values()))
            assert {status for status, _ in answers} == {200}, answers
    booked = {client.name: client.wait_booked() for client in clients.values()}
    assert all(charged.calls >= 2 and charged.cost_pico_usd > 0 for charged in booked.values()), booked
    cost = sum(charged.cost_pico_usd for charged in booked.values())
    bill = sum(charged.cost_pico_usd for charged in real.fleet.bill().values())
    assert cost == bill
    phases.say(f"{COUNT} ledgers together {cost} pico-USD, OpenRouter's bill {bill}")


def test_no_client_reaches_another(fleet: Fleet, clients: dict[str, Client]) -> None:
    """Not by name, not by address, not through the host; with a network in common it could, so the probe is good."""
    ring = list(zip(clients.values(), [*list(clients.values())[1:], clients[REAL]], strict=True))
    gateway = fleet.dockerd.inspect("host-side")["IPAM"]["Config"][0]["Gateway"]

    def open_doors(pair: tuple[Client, Client]) -> list[str]:
        client, other = pair
        assert client.connects("mai-usage", 8787), f"{client.name} does not reach its own sidecar"
        own_gateway = next(iter(client.container("mai")["NetworkSettings"]["Networks"].values()))["Gateway"]
        doors = [(other.address("mai-usage"), 8787), (other.address("mai-usage"), 8788), (other.address("mai"), 8080)]
        doors += [(host, int(other.env[name])) for host in (gateway, own_gateway) for name in ("USAGE_PORT", "MAI_PORT")]
        doors += [(other.container("mai-usage")["Name"].strip("/"), 8787)]
        return [f"{client.name} -> {other.name} {host}:{port}" for host, port in doors if client.connects(host, port)]

    with ThreadPoolExecutor(8) as threads:
        assert [door for doors in threads.map(open_doors, ring) for door in doors] == []

    curious, other = clients[NAMES[-1]], clients[UNLUCKY]
    network = [f"mai-{other.name}_private", curious.container("mai")["Id"]]
    address = other.address("mai-usage")
    fleet.dockerd.client("network", "connect", *network)
    try:
        assert curious.connects(address, 8787)
    finally:
        fleet.dockerd.client("network", "disconnect", *network)


def test_a_killed_client_disturbs_nobody(fleet: Fleet, clients: dict[str, Client], real: Client, phases: Phases) -> None:
    """And one command brings it back."""
    chatting = Chatting(others(clients))
    unlucky = clients[UNLUCKY]
    with chatting.going_on():
        for service in ("mai-usage", "mai"):
            fleet.dockerd.client("kill", unlucky.container(service)["Id"])
        assert fleet.listed()[UNLUCKY]["mai_usage"]["condition"] == "stopped"
    phases.say(f"one killed: {chatting.assert_undisturbed()}")
    fleet.client("update", UNLUCKY)
    assert unlucky.ask("bob", "Are you back?")[0] == 200
    unlucky.wait_booked()


def test_a_full_disk_disturbs_nobody(clients: dict[str, Client], real: Client, phases: Phases) -> None:
    """The client itself is refused before a cent is spent, and works again when there is room."""
    chatting = Chatting(others(clients))
    unlucky = clients[UNLUCKY]
    filler = unlucky.folder / "data/filler"
    with chatting.going_on():
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(b"x" * 4096)
        # What is in pages that were already its own can still be written.
        refused = wait_until("a chat is refused", lambda: (told := unlucky.ask("bob", "Is there room?"))[0] != 200 and told)
        assert refused[0] == 503, refused
    phases.say(f"one disk full: {chatting.assert_undisturbed()}")
    filler.unlink()
    wait_until("it has recovered", lambda: unlucky.ask("bob", "And now?")[0] == 200)
    unlucky.wait_booked()


def test_a_disabled_key_disturbs_nobody(fleet: Fleet, clients: dict[str, Client], real: Client, phases: Phases) -> None:
    """It is that client's own."""
    chatting = Chatting(others(clients))
    unlucky = clients[UNLUCKY]
    key = f"mAI Client: {organisation_of(UNLUCKY)}"
    with chatting.going_on():
        fleet.run("keys", "disable", key, *fleet.account())
        assert unlucky.ask("bob", "May I?")[0] in (401, 403)
    phases.say(f"one key disabled: {chatting.assert_undisturbed()}")
    fleet.run("keys", "enable", key, *fleet.account())
    assert unlucky.ask("bob", "And now?")[0] == 200


def test_nginx_takes_each_host_name_to_its_client(fleet: Fleet, clients: dict[str, Client]) -> None:
    """The written sites: the page, both APIs, mAI itself; and nobody's token opens another's books."""
    first, second = clients[NAMES[-2]], clients[NAMES[-1]]
    with loopback_client(base_url="http://127.0.0.1:80") as browser:

        def get(client: Client, path: str, **headers: str) -> tuple[int, str]:
            answer = browser.get(path, headers={"Host": f"{client.name}.example", **headers})
            return answer.status_code, answer.text

        for client, other in ((first, second), (second, first)):
            own = {"Authorization": f"Bearer {client.env['USAGE_ADMIN_TOKEN']}"}
            foreign = {"Authorization": f"Bearer {other.env['USAGE_ADMIN_TOKEN']}"}
            path = "/api/v1/usage-tracking/my-organization/usage-by-user"
            status, text = get(client, path, **own)
            assert status == 200, text
            assert f"-of-{client.name}" in text
            assert other.name not in text
            assert get(client, path, **foreign)[0] == 401
            cookie = {"Cookie": f"token=session-of-{client.mai_name}"}
            assert get(client, "/api/v1/usage/overview", **cookie)[0] == 200
            assert get(client, "/api/v1/usage/overview", Cookie=f"token=session-of-{other.mai_name}")[0] == 401
            status, text = get(client, "/usage/")
            assert (status, "mai-usage.js" in text) == (200, True), text
            assert client.mai_name in get(client, "/")[1]
            assert get(client, "/static/loader.js") == (200, (ROOT / "deploy/open-webui/loader.js").read_text())


def test_a_certificate_is_made_and_served(fleet: Fleet, clients: dict[str, Client], tmp_path: Path) -> None:
    """One command: the host name for whoever makes the certificate, then HTTPS. A site that is refused is as it was."""
    client, host = clients[NAMES[-1]], f"{NAMES[-1]}.example"
    certificate = tmp_path / "live"
    script = tmp_path / "certify"
    script.write_text(
        "#!/bin/sh\nset -e\nmkdir " + str(certificate) + "\ncd " + str(certificate) + "\n"
        'openssl req -x509 -nodes -newkey rsa:2048 -keyout privkey.pem -out fullchain.pem -subj "/CN=$1" '
        '-addext "subjectAltName=DNS:$1"\n'
    )
    script.chmod(0o700)
    fleet.client("update", client.name, "--certificate", str(certificate), "--certify", str(script))
    trusted = ssl.create_default_context(cafile=str(certificate / "fullchain.pem"))
    with loopback_client(verify=trusted) as browser:
        hello = {"headers": {"Host": host}, "extensions": {"sni_hostname": host}}

        def greets() -> bool:
            # nginx reads its sites a moment after it was told to.
            with contextlib.suppress(httpx.TransportError):
                return client.mai_name in browser.get("https://127.0.0.1/", **hello).text
            return False

        wait_until("the site is served with its certificate", greets, 20.0)
        moved = browser.get("http://127.0.0.1/usage/", headers={"Host": host})
        assert (moved.status_code, moved.headers["Location"]) == (301, f"https://{host}/usage/")
        challenge = browser.get("http://127.0.0.1/.well-known/acme-challenge/none", headers={"Host": host})
        assert challenge.status_code == 404

        site = fleet.directory.parent / f"sites/mai-{client.name}.conf"
        site.write_text("# by hand\n" + site.read_text())
        before = site.read_text()
        refused = fleet.client("update", client.name, "--reload", "echo no >&2; false", check=False)
        assert (refused.returncode, "hint:" in refused.stderr) == (1, True), refused.stderr
        assert site.read_text() == before
        assert greets()


def test_the_sidecars_need_little_memory(fleet: Fleet, clients: dict[str, Client], phases: Phases) -> None:
    """All of them together, after their chats."""
    told = fleet.dockerd.client("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}").stdout
    sizes = [re.match(r"mai-client-\d+[_-]mai-usage[_-]1 ([\d.]+)(KiB|MiB|GiB)", line) for line in told.splitlines()]
    factors = {"KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0}
    each = [float(size[1]) * factors[size[2]] for size in sizes if size]
    assert len(each) == COUNT
    phases.say(f"memory of {COUNT} sidecars: {sum(each):.1f} MiB together, {max(each):.1f} MiB the largest")
    assert max(each) < MEMORY_LIMIT_MIB_EACH


def test_an_upgrade_takes_all_and_a_bad_one_is_rolled_back(
    fleet: Fleet, clients: dict[str, Client], real: Client, phases: Phases
) -> None:
    """One at a time with a copy of the ledger; the first that does not become healthy ends it and gets its image back."""

    def image(client: Client) -> str:
        return str(client.container("mai-usage")["Config"]["Image"])

    with phases.phase(f"upgrade of {COUNT} clients"):
        fleet.client("upgrade", "--all", "--image", "mai-usage-test/good:1")
    assert {image(client) for client in clients.values()} == {"mai-usage-test/good:1"}
    for client in clients.values():
        (book,) = (client.folder / "backups").glob("*.db")
        assert book.stat().st_mode & 0o777 == 0o600
        fleet.run("verify", "--database", str(book))
    again = fleet.client("upgrade", "--all", "--image", "mai-usage-test/good:1").stdout
    assert again.count("has these images already") == COUNT

    containers = {client.name: client.container("mai-usage")["Id"] for client in clients.values()}
    for bad in ("sick", "dying") if COUNT > FEW else ("sick",):
        with phases.phase(f"upgrade to a {bad} image, and back"):
            stopped = fleet.client("upgrade", "--all", "--image", f"mai-usage-test/{bad}:1", check=False)
        assert stopped.returncode == 1, stopped.stderr
        assert f"{REAL} was not upgraded" in stopped.stderr
        assert "it has its old images again and is healthy" in stopped.stderr
        assert image(clients[REAL]) == "mai-usage-test/good:1"
        untouched = {name: clients[name].container("mai-usage")["Id"] for name in NAMES[1:]}
        assert untouched == {name: containers[name] for name in NAMES[1:]}
        assert clients[REAL].ask("anna", "Still there?")[0] == 200
    missing = fleet.client("upgrade", "--all", "--image", "mai-usage-test/nowhere:1", check=False)
    assert (missing.returncode, "there is no image" in missing.stderr) == (1, True), missing.stderr
    for client in clients.values():
        client.wait_booked()


def test_a_client_leaves(fleet: Fleet, clients: dict[str, Client]) -> None:
    """Its containers, its site and its key are gone; its folder is kept; the others stay."""
    client = clients[NAMES[-1]]
    booked = client.booked()
    key = client.env["OPENROUTER_API_KEY"]
    wrong = fleet.client("remove", client.name, "--yes", "client", "--key", "delete", *fleet.account(), check=False)
    assert (wrong.returncode, client.folder.exists()) == (2, True)
    fleet.client("remove", client.name, "--yes", client.name, "--key", "delete", *fleet.account())
    assert not client.folder.exists()
    assert list(fleet.listed()) == NAMES[:-1]
    filters = ["--filter", f"label=com.docker.compose.project=mai-{client.name}"]
    assert fleet.dockerd.client("ps", "--all", "--quiet", *filters).stdout == ""
    assert not (fleet.directory.parent / f"sites/mai-{client.name}.conf").exists()
    keys = fleet.run("keys", "list", "--json", *fleet.account()).stdout
    assert organisation_of(client.name).replace('"', '\\"') not in keys
    (kept,) = (fleet.directory / ".removed").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o700
    assert key in (kept / ".env").read_text()
    client.folder = kept
    assert client.booked() == booked
