"""One host name for Open WebUI and the sidecar, as in front of a client company: Debian's nginx with deploy/nginx."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from stack import ROOT, START_SECONDS, Program, free_ports

SITE = ROOT / "deploy/nginx/usage.conf"
LOADER = ROOT / "deploy/open-webui/loader.js"

_CONFIGURATION = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr warn;
{user}
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
        listen 127.0.0.1:{port};
        location = /gateway {{ return 200; }}
        set $mai_usage {sidecar};
        set $open_webui {open_webui};
        set $mai_usage_loader {loader};
        include {site};
    }}
}}
"""


def chosen(name: str) -> Path:
    """A program of Debian's. Missing is an error: a skip would hide it."""
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise FileNotFoundError(f"{name} is missing. hint: apt-get install {name}")
    return Path(found)


class Gateway(Program):
    """nginx before a sidecar and an Open WebUI, both given as their addresses (`http://127.0.0.1:8788`)."""

    def __init__(self, directory: Path, sidecar: str, open_webui: str, loader: Path = LOADER) -> None:
        directory.mkdir(parents=True)
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        configuration = directory / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                directory=directory,
                # The repository may be readable for its owner only.
                user="user root;" if os.geteuid() == 0 else "",
                sidecar=sidecar.removeprefix("http://"),
                open_webui=open_webui.removeprefix("http://"),
                port=port,
                loader=loader,
                site=SITE,
            )
        )
        command = [str(chosen("nginx")), "-p", str(directory), "-c", str(configuration), "-e", "stderr"]
        super().__init__("nginx", command, {}, directory)

    def start(self) -> None:
        """Starts it and waits until it answers, whatever is behind it."""
        super().start()
        self.wait_ready(f"{self.url}/gateway", START_SECONDS)
