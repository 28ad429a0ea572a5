"""The roads a client can take: past the sidecar as a control, or through it with one of the two kinds of key."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import pytest

from books import assert_books_equal_truth, wait_settled
from stack import PROXY_TOKEN, SIMULATOR_KEY, Daemon, Simulator, Stack, wait_until

# token: the recommended set-up. typed-key: the OpenRouter key typed in instead of the token.
# learned-key: the same, and the sidecar was given no key; it learns the one that OpenRouter accepts.
# straight: no sidecar. What fails here is the simulator's fault or the client's, not the sidecar's.
SIDECAR_ROADS = ("token", "typed-key", "learned-key")
ROADS = (*SIDECAR_ROADS, "straight")

# Whom the calls with Open WebUI's headers are made for; all others are nobody's.
USER_ID = "3f0d2c1e-0000-4000-8000-0000000000aa"

# For what only the sidecar does.
through_sidecar = pytest.mark.parametrize("road", SIDECAR_ROADS, indirect=True)


@dataclass(frozen=True)
class Road:
    """What a client types in, and what stands behind it."""

    base_url: str
    api_key: str
    simulator: Simulator
    daemon: Daemon | None

    @contextlib.contextmanager
    def billed(self, endpoint: str) -> Iterator[list[Decimal]]:
        """What happens inside is billed as one call of `endpoint`, and afterwards the books are the bill.

        The list given inside holds what the call cost once it is left.
        """
        before = len(self.simulator.truth())
        costs: list[Decimal] = []
        yield costs
        wait_until("the call is billed", lambda: len(self.simulator.truth()) > before)
        charges = self.simulator.truth()[before:]
        assert [charge["endpoint"] for charge in charges] == [endpoint]
        costs.extend(Decimal(charge["cost"]) for charge in charges)
        if self.daemon:
            wait_settled(self.simulator, self.daemon)
            assert_books_equal_truth(self.simulator, self.daemon, [USER_ID])

    @contextlib.contextmanager
    def unseen(self) -> Iterator[None]:
        """Nothing that happens inside reaches OpenRouter, but for what the sidecar asks on its own account."""
        before = len(self._forwarded())
        yield
        assert self._forwarded()[before:] == []

    def _forwarded(self) -> list[str]:
        """All requests but those that the sidecar makes for itself: for its own generations, its key, the prices."""
        own = {f"GET /api/v1/generation?id={charge['generation_id']}" for charge in self.simulator.truth()}
        own.add("GET /api/v1/key")
        asked = [f"{request['method']} {request['path']}" for request in self.simulator.requests()]
        return [line for line in asked if line not in own and not line.startswith("GET /api/v1/models")]


def open_road(name: str, stack: Stack) -> Road:
    """Starts what the road of this name needs."""
    simulator = stack.simulator()
    if name == "straight":
        return Road(simulator.base_url, SIMULATOR_KEY, simulator, None)
    own_key = None if name == "learned-key" else SIMULATOR_KEY
    typed = PROXY_TOKEN if name == "token" else SIMULATOR_KEY
    daemon = stack.daemon(simulator, OPENROUTER_API_KEY=own_key)
    return Road(daemon.proxy_url, typed, simulator, daemon)
