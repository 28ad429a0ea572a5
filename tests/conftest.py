"""Fixtures that start the programs, and the logs of those programs under a failed test."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest
from playwright.sync_api import Browser

from browser import chromium
from dockerd import Dockerd, Phases, private_daemon
from roads import ROADS, Road, open_road
from stack import LOG_TAIL_BYTES, Stack

# Some of the clients under test read the proxy settings of the host; nothing here may leave loopback.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds what the programs wrote to the report of a test that failed."""
    report = yield
    if report.failed:
        for program in Stack.programs:
            report.sections.append((f"log of {program.name}", program.log()[-LOG_TAIL_BYTES:]))
    return report


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Programs for one test."""
    yield from _stack(tmp_path_factory)


@pytest.fixture(scope="module")
def module_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Programs that the tests of one module share."""
    yield from _stack(tmp_path_factory)


def _stack(directories: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(directories.mktemp("stack"))
    try:
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the tests of a module; each opens windows of its own.

    Not for all: as long as it is there, nothing else of this process can run an event loop.
    """
    with chromium() as browser:
        yield browser


@pytest.fixture(params=ROADS)
def road(request: pytest.FixtureRequest, stack: Stack) -> Road:
    """Each way to OpenRouter, opened anew: one wrong entry must not fail the tests that come after it."""
    return open_road(request.param, stack)


@pytest.fixture(scope="module")
def phases(request: pytest.FixtureRequest) -> Phases:
    """Where the slow steps tell their times."""
    return Phases(request.config)


@pytest.fixture(scope="module")
def dockerd(module_stack: Stack, phases: Phases) -> Iterator[Dockerd]:
    """A Docker daemon, started; the tests are skipped where none can be."""
    with private_daemon(module_stack, phases) as daemon:
        yield daemon
