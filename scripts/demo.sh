#!/bin/sh
# Sets everything up and shows the main job: made-up chats through the sidecar to a simulated OpenRouter.
set -eu
cd "$(dirname "$0")/.."
sh scripts/prepare.sh
exec cargo run --quiet --release --locked --package mai-usage -- demo "$@"
