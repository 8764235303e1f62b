#!/usr/bin/env bash
# lab/tree.sh SUITE COMMAND...: runs a command in a copy of this checkout, in a tree of another Debian release.
# bare-SUITE is a tree of its own, with systemd, man, Python and QEMU, that nothing is installed into: `lab.packaged` copies it.
# The tree is bootstrapped once, into the cache. The command has mounts and processes of its own, which end with
# it; the network, the devices, the environment and pip's configuration are this system's. It takes root.
set -euo pipefail
[ "$(id -u)" -eq 0 ] || exec sudo --preserve-env "$0" "$@"
checkout=$(cd "$(dirname "$0")/.." && pwd)
. "$checkout/lab/apt.sh"
. /etc/os-release
export suite=$1 tree=$cache/$1
export place=/srv/nbdtun # the checkout's copy; its virtual environment and its cache stay from run to run
shift

bootstrap() {
    "$checkout/lab/packages.sh" trees
    local mirror=()
    if [ "$ID" = debian ]; then # the mirror that the system itself uses; elsewhere debootstrap knows one
        mirror=("$(apt_get indextargets --format '$(SITE)' 'Created-By: Packages' "Release: $VERSION_CODENAME" | head -n 1)")
    fi
    local include=ca-certificates,make
    case $suite in bare-*) include=ca-certificates,systemd,dbus,iproute2,man-db,python3,qemu-system-x86,qemu-utils ;; esac
    echo "bootstrapping Debian's $suite"
    rm -rf "$tree" "$tree.new"
    debootstrap --variant=minbase --include=$include "${suite#bare-}" "$tree.new" "${mirror[@]}" >"$cache/$suite.log" 2>&1 || {
        tail -n 5 "$cache/$suite.log" >&2
        exit 1
    }
    mv "$tree.new" "$tree"
}

copy() {
    mkdir -p "$tree$place"
    find "$tree$place" -mindepth 1 -maxdepth 1 ! -name .venv ! -name .cache ! -name '*.egg-info' -exec rm -rf {} +
    cd "$checkout"
    git -c safe.directory="$checkout" ls-files -z --cached --others --exclude-standard |
        while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
        tar -c --null -T - | tar -x -C "$tree$place"
}

# What pip reads, and what its options name: files, directories, and indexes, whose pages link to their neighbours.
pip_files() {
    python3 -m pip config debug | sed -n 's#^ *\(/.*\), exists: True$#\1#p'
    python3 -m pip config list | sed -E "s#\\\\n# #g; s#https?://[^ ']*##g; s#file://(/[^ ']+)/[^ ']+#\1#g" | grep -oE "/[^ ']+" || true
}

borrow() {
    if [ -d "$1" ]; then mkdir -p "$tree$1"; else mkdir -p "$(dirname "$tree$1")" && touch "$tree$1"; fi
    mount --rbind -o ro "$1" "$tree$1"
}

enter() {
    mount --bind "$tree" "$tree"
    mount -t proc proc "$tree/proc"
    mount -t tmpfs tmpfs "$tree/run"
    mount --rbind /sys "$tree/sys"
    mount --rbind /dev "$tree/dev"
    pip_files 2>/dev/null | sort -u | while read -r path; do [ ! -e "$path" ] || borrow "$path"; done
    cp -L /etc/resolv.conf /etc/hosts "$tree/etc/"
    cd "$tree"
    pivot_root . mnt
    umount -l /mnt
    cd "$place"
    # Not exec: the first process of a namespace has to bury the others' dead.
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u NBDTUN_CACHE -u VIRTUAL_ENV -u PYTHONPATH \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

exec 9>"$tree.lock"
flock -n 9 || { echo "another run uses $tree" >&2; exit 1; }
[ -d "$tree" ] || bootstrap
copy
eval "$(apt-config shell http_proxy Acquire::http::Proxy)"
[ -z "${http_proxy:-}" ] || export http_proxy
export -f pip_files borrow enter
exec unshare --mount --pid --fork --kill-child bash -euo pipefail -c 'enter "$@"; exit $?' enter "$@"
