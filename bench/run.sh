#!/bin/sh
# Measures the sidecar beside other proxies; Debian 12, two cores. The callers and the simulated OpenRouter are on the first core, the
# proxies on the second.
#   --full       more turns, and longer ones
#   --litellm    also LiteLLM (PyPI); --portkey  also the Portkey gateway (npm)
#   --growth     instead of all that: how the cost grows; --hour  whether memory grows in an hour of load
#   --json FILE  also the figures as JSON; --write  the tables into docs/benchmarks.md; --help  the rest
set -eu
cd "$(dirname "$0")/.."

litellm=1.106.2
portkey=1.15.2

packages=bench
for argument; do
    case $argument in
        --litellm) packages="$packages python" ;;
        --portkey) packages="$packages node" ;;
    esac
done
# shellcheck disable=SC2086 # a list of words
sh scripts/prepare.sh $packages

for argument; do
    shift
    case $argument in
        --full) set -- "$@" --depth full ;;
        --litellm)
            folder=target/tools/litellm
            [ -d $folder ] || python3 -m venv $folder
            $folder/bin/pip install --quiet --disable-pip-version-check "litellm[proxy]==$litellm"
            set -- "$@" --litellm $folder/bin/litellm
            ;;
        --portkey)
            folder=target/tools/portkey
            program=$folder/node_modules/@portkey-ai/gateway/build/start-server.js
            npm install --silent --no-fund --no-audit --prefix $folder "@portkey-ai/gateway@$portkey"
            set -- "$@" --portkey $program
            ;;
        *) set -- "$@" "$argument" ;;
    esac
done

ulimit -n "$(ulimit -Hn)"
export SQLX_OFFLINE=true
sidecar=$(scripts/shipped.sh)
cargo build --quiet --release --locked --package bench
exec taskset --cpu-list 0 target/release/bench --sidecar "$sidecar" --core 1 "$@"
