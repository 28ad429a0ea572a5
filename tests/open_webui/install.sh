#!/usr/bin/env bash
# Installs the real Open WebUI, without torch, into target/open-webui (a directory for PYTHONPATH).
#
# Debian's own Python does it, not the first one on PATH: the same directory is copied into a Debian container, and the
# compiled packages fit only that minor version. Relocatable: nothing in it names its own path.
# Run again, it does nothing until requirements.txt or this file changes. Needs: python3, python3-pip.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${1:-$root/target/open-webui}
python=${PYTHON:-/usr/bin/python3}

mkdir -p "$(dirname "$target")"
exec 9>"$target.lock"
flock 9

wanted=$({ "$python" --version; cat "$here/requirements.txt" "$here/install.sh"; } | sha256sum | cut -d' ' -f1)
if [ "$(cat "$target/.installed" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

# Built beside its place and moved at the end: an interrupted run leaves no half an Open WebUI that looks whole.
partial=$target.partial
rm -rf "$partial"
PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip install --quiet --no-deps --no-compile \
    --only-binary=:all: --target "$partial" --requirement "$here/requirements.txt"

# The Python of the browser's code cells: 60 MB that no test opens.
rm -rf "$partial/open_webui/frontend/pyodide" "$partial/bin"

echo "$wanted" >"$partial/.installed"
rm -rf "$target"
mv "$partial" "$target"
