#!/usr/bin/env bash
# Makes the image of a real Open WebUI for the Compose test: Debian's Python and the packages of tests/open_webui/install.sh.
# It starts without the Internet and downloads no model.
#
#   tests/docker/open-webui-image.sh TAG
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/docker/images.sh

tag=$1
packages=target/open-webui
tests/open_webui/install.sh
key=$(key_of open-webui-image.sh "$(<"$packages/.installed")")
has_image "$tag" "$key" && exit
tarball=$cache/open-webui-$key.tar
[[ -f $tarball ]] || {
    rm -f "$cache"/open-webui-*.tar*
    cp "$(debian_tarball)" "$tarball.part"
    tar --append --file "$tarball.part" --owner=0 --group=0 --exclude __pycache__ --transform 's,^\.,./app/open-webui,S' \
        --directory "$packages" .
    mv "$tarball.part" "$tarball"
}
import_image "$tag" "$key" "$tarball" \
    --change 'WORKDIR /app/backend' \
    --change 'ENV PYTHONPATH=/app/open-webui DATA_DIR=/app/backend/data' \
    --change 'ENV FROM_INIT_PY=true OFFLINE_MODE=true HF_HUB_OFFLINE=1 RAG_EMBEDDING_ENGINE=openai ENABLE_OLLAMA_API=false' \
    --change 'VOLUME /app/backend/data' \
    --change 'EXPOSE 8080' \
    --change 'CMD ["python3", "-m", "uvicorn", "open_webui.main:app", "--host", "0.0.0.0", "--port", "8080"]'
