#!/usr/bin/env bash
# Makes the images that the Dockerfile names in its FROM lines, under the same tags, without a registry: Debian comes from
# debootstrap, Rust is this machine's own toolchain. The Dockerfile is then built unchanged.
#
#   tests/docker/base-images.sh          in the daemon of DOCKER_HOST
#
# The file systems are kept as tarballs in target/docker-cache, so only the first run asks the package mirror.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/docker/images.sh

# The image of the build stage: a C compiler for SQLite and ring, this machine's Rust, and the certificates this machine
# trusts, which cargo needs where the way to the registry leads through an intercepting proxy.
rust_image() { # tag
    local sysroot installed asked key tarball
    sysroot=$(rustc --print sysroot)
    installed=$(rustc --version)
    asked=$(sed 's/^rust:\([0-9.]*\).*/\1/' <<<"$1")
    [[ $installed == "rustc $asked"[.\ ]* ]] || {
        echo "error: the Dockerfile asks for Rust $asked, this machine has $installed" >&2
        return 1
    }
    key=$(key_of base-images.sh "$installed" "$(sha256sum </etc/ssl/certs/ca-certificates.crt)")
    has_image "$1" "$key" && return
    tarball=$cache/rust-$key.tar
    [[ -f $tarball ]] || {
        rm -f "$cache"/rust-*.tar*
        cp "$(debian_tarball)" "$tarball.part"
        # Manual pages and the other tools would double its size. `lib` itself is in the tarball already.
        # shellcheck disable=SC2046
        tar --append --file "$tarball.part" --owner=0 --group=0 --dereference --transform 's,^,./usr/local/,S' \
            --directory "$sysroot" bin/cargo bin/rustc $(cd "$sysroot" && echo lib/*) \
            --directory /etc/ssl/certs ca-certificates.crt
        mv "$tarball.part" "$tarball"
    }
    import_image "$1" "$key" "$tarball" \
        --change 'ENV CARGO_HOME=/usr/local/cargo CARGO_HTTP_CAINFO=/usr/local/ca-certificates.crt'
}

stages=' scratch '
while read -r _ image _ stage; do
    if [[ $stages != *" $image "* ]]; then
        case $image in
        rust:*-bookworm) rust_image "$image" ;;
        debian:bookworm*) import_image "$image" "$(key_of images.sh)" "$(debian_tarball)" ;;
        *)
            echo "error: no recipe for the base image $image" >&2
            exit 1
            ;;
        esac
    fi
    stages+="$stage "
done < <(grep '^FROM ' Dockerfile)
