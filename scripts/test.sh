#!/bin/sh
# Every test there is: about 40 minutes on two cores with nothing cached.
set -eu
cd "$(dirname "$0")/.."
sh scripts/prepare.sh test
sh scripts/tools.sh

say() { printf '\n== %s\n' "$1"; }

say "format and lints"
cargo fmt --all --check
cargo clippy --quiet --workspace --all-targets --locked -- --deny warnings
cargo clippy --quiet --package mai-usage --test faults --locked -- --deny warnings

say "Rust tests"
cargo build --locked --package mai-usage --package openrouter-sim
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --workspace --locked --no-fail-fast
else
    cargo test --workspace --locked --no-fail-fast
fi

say "what a call costs, counted"
cargo xtask guard

say "faults and attacks, at smoke depth"
cargo xtask faults

say "end to end: Open WebUI, the page in a browser, the official clients, Docker"
tests/install.sh
tests/open_webui/install.sh
exec target/tests-venv/bin/pytest tests
