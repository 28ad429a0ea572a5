"""The page's functions that need no browser, by Node.js: amounts, periods, words, the live stream's text."""

from __future__ import annotations

import subprocess
from pathlib import Path

import playwright

from stack import ROOT

# Debian's own Node.js is older than the browsers that the page is for.
NODE = Path(playwright.__file__).parent / "driver/node"


def test_functions() -> None:
    """All of crates/usage-api/tests/page."""
    tests = sorted((ROOT / "crates/usage-api/tests/page").glob("*.test.mjs"))
    assert tests
    done = subprocess.run([NODE, "--test", *tests], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
