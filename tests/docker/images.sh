# Sourced by the scripts beside it, from the root of the repository: how a file system becomes an image.
# shellcheck shell=bash

cache=${DOCKER_TEST_CACHE:-target/docker-cache}
docker=${DOCKER:-docker}
mkdir -p "$cache"

# Names the content of an image: its recipe, which is a file beside this one, and what goes in.
key_of() { # file [words]
    cat tests/docker/images.sh "tests/docker/$1" - <<<"$*" | sha256sum | cut -c1-16
}

# One Debian for all images: what compiles the program, what runs Open WebUI, and curl for its health check.
debian_tarball() {
    local tarball root
    tarball=$cache/debian-$(key_of images.sh).tar
    [[ -f $tarball ]] || {
        rm -rf "$cache"/debian-*.tar* "$cache"/debian.*
        root=$(mktemp --directory "$cache/debian.XXXXXX")
        debootstrap --variant=minbase --include=ca-certificates,curl,gcc,libc6-dev,python3 bookworm "$root" \
            >"$cache/debootstrap.log" 2>&1 || {
            tail -n 20 "$cache/debootstrap.log" >&2
            return 1
        }
        tar --create --file "$tarball.part" --exclude './var/cache/apt/*' --exclude './var/lib/apt/lists/*' \
            --directory "$root" .
        mv "$tarball.part" "$tarball"
        rm -rf "$root"
    }
    echo "$tarball"
}

has_image() { # tag key
    [[ $("$docker" image inspect --format '{{index .Config.Labels "key"}}' "$1" 2>/dev/null) == "$2" ]]
}

# Every path, directories too, must be in the tarball once: the daemon refuses duplicates.
import_image() { # tag key tarball [options of docker import]
    local tag=$1 key=$2 tarball=$3
    shift 3
    has_image "$tag" "$key" && return
    "$docker" import --change "LABEL key=$key" "$@" - "$tag" <"$tarball" >/dev/null
    echo "imported $tag"
}
