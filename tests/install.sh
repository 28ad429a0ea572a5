#!/usr/bin/env bash
# Makes target/tests-venv, the Python that runs these tests. Run again, it does nothing until requirements.txt changes.
# Needs: python3-venv. The Open WebUI under test is not in it (open_webui/install.sh): the two pin different versions
# of the same packages.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${1:-$here/../target/tests-venv}
python=${PYTHON:-/usr/bin/python3}

wanted=$({ "$python" --version; cat "$here/requirements.txt" "$here/install.sh"; } | sha256sum | cut -d' ' -f1)
if [ "$(cat "$venv/.installed" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

rm -rf "$venv"
"$python" -m venv "$venv"
PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip install --quiet --no-deps \
    --only-binary=:all: --requirement "$here/requirements.txt"
echo "$wanted" >"$venv/.installed"
