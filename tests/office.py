"""A made-up office: its people, the sidecar that meters them, and one host name in front, without a real Open WebUI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from books import Booking, Truth
from gateway import Gateway
from stack import PROXY_TOKEN, Daemon, Simulator, Stack, loopback_client
from stand_in import Person, StandIn

API = "/api/v1/usage/"


@dataclass
class Office:
    """Everything that runs for it."""

    simulator: Simulator
    daemon: Daemon
    stand_in: StandIn
    gateway: Gateway
    people: list[Person]

    @property
    def url(self) -> str:
        """What its people type in."""
        return self.gateway.url

    def call(self, person: Person, model: str, at: datetime | None = None, /, **knobs: Any) -> str:
        """One completion, sent to the sidecar as Open WebUI sends it. Returns its generation id.

        `at`: when OpenRouter says that it was made. The second is in the id of the generation. `knobs` are the
        simulator's.
        """
        if at:
            knobs["generation_id"] = f"gen-{int(at.timestamp())}-{uuid4().hex[:20]}"
        headers = {
            "Authorization": f"Bearer {PROXY_TOKEN}",
            "X-OpenWebUI-User-Id": person.user_id,
            "X-OpenWebUI-User-Name": quote(person.name, safe=" "),
            "X-OpenWebUI-User-Email": person.email.encode(),
            "X-OpenWebUI-User-Role": person.role,
        }
        body = {
            # The second is served where the simulator knows no model of the first name.
            "model": model,
            "models": ["example/small-model"],
            "messages": [{"role": "user", "content": "What is a sidecar?"}],
            "sim": knobs,
        }
        with loopback_client(headers=headers) as client:
            answer = client.post(f"{self.daemon.proxy_url}/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def ask(self, person: Person, path: str, question: Mapping[str, Any] | None = None) -> Any:
        """An answer of the API, as the browser of `person` gets it."""
        with loopback_client(cookies={"token": person.token}) as client:
            answer = client.get(f"{self.url}{API}{path}", params=question)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def bookings(self) -> list[Booking]:
        """OpenRouter's bill, in the sidecar's words."""
        return Truth(self.simulator, [person.user_id for person in self.people]).bookings()


def open_office(stack: Stack, people: list[Person], **settings: str) -> Office:
    """Starts it."""
    simulator = stack.simulator()
    stand_in = StandIn(people)
    stack.at_end(stand_in.stop)
    daemon = stack.daemon(simulator, OPENWEBUI_URL=stand_in.url, **settings)
    gateway = Gateway(stack.directory / "nginx", daemon.usage_url, stand_in.url)
    stack.start(gateway)
    return Office(simulator, daemon, stand_in, gateway, people)
