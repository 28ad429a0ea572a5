#!/bin/sh
# Builds the program as the Dockerfile does, the C library linked in, and prints where it is.
set -eu
cd "$(dirname "$0")/.."
host=$(rustc --print host-tuple)
RUSTFLAGS="-C target-feature=+crt-static" SQLX_OFFLINE=true \
    cargo build --quiet --release --locked --package mai-usage --target "$host"
echo "$PWD/target/$host/release/mai-usage"
