#!/bin/sh
# Installs what is missing to build; with `test`, to test; with `bench`, to measure (`python`, `node`: peers written in these).
# Debian 12; used by demo.sh, test.sh and bench/run.sh.
set -eu

packages="gcc libc6-dev"
for purpose; do
    case $purpose in
        test)
            packages="$packages ca-certificates chromium curl debootstrap docker.io docker-compose e2fsprogs faketime iproute2 \
                nginx openssl procps python3 python3-pip python3-venv strace util-linux valgrind"
            ;;
        bench) packages="$packages nginx util-linux" ;;
        python) packages="$packages python3 python3-venv" ;;
    esac
    case $purpose in
        # Node.js from elsewhere brings its own, beside which Debian's does not go.
        test | node) if ! command -v npm >/dev/null; then packages="$packages npm"; fi ;;
    esac
done

missing=""
for package in $packages; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed \
        || missing="$missing $package"
done
if [ -n "$missing" ]; then
    echo "installing:$missing" >&2
    as_root=""
    if [ "$(id -u)" != 0 ]; then as_root=sudo; fi
    $as_root apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

if ! command -v cargo >/dev/null; then
    echo "error: cargo is not installed; hint: https://rustup.rs" >&2
    exit 1
fi
