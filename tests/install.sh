#!/usr/bin/env bash
# Makes target/tests-venv, the Python that runs these tests, with the accessibility checker (axe-core) in it. Run again, it
# does nothing until one of the files here changes. Needs: python3-venv, npm. The Open WebUI under test is not in it
# (open_webui/install.sh): the two pin different versions of the same packages.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${1:-$here/../target/tests-venv}
python=${PYTHON:-/usr/bin/python3}

wanted=$({ "$python" --version; cat "$here"/{requirements.txt,axe/package.json,axe/package-lock.json,install.sh}; } \
    | sha256sum | cut -d' ' -f1)
if [ "$(cat "$venv/.installed" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

rm -rf "$venv"
"$python" -m venv "$venv"
PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip install --quiet --no-deps \
    --only-binary=:all: --requirement "$here/requirements.txt"

# `ci` installs exactly what the lock says, by its hash.
mkdir "$venv/axe"
cp "$here"/axe/package*.json "$venv/axe"
npm ci --prefix "$venv/axe" --ignore-scripts --no-audit --no-fund --loglevel=error

echo "$wanted" >"$venv/.installed"
