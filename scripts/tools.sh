#!/bin/sh
# Installs cargo-deny (and, with `fuzz`, cargo-fuzz) below target/tools, where it is missing. Two minutes on two cores.
set -eu
cd "$(dirname "$0")/.."

tools="cargo-deny@0.20.2"
if [ "${1:-}" = fuzz ]; then
    tools="$tools cargo-fuzz@0.13.2"
fi
for tool in $tools; do
    name=${tool%@*}
    if [ -x "target/tools/bin/$name" ] || command -v "$name" >/dev/null; then continue; fi
    cargo install --quiet --locked --root target/tools "$tool"
done
