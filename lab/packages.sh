#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that the lab needs and that are missing;
# with `peers`, those that only the benchmark needs: its client, and other tunnels;
# with `trees`, those that bootstrap another Debian release; with `deb`, those that build the package;
# with `modular`, those that compile libvirt's modular daemons.
# With all of them there it does nothing: no network, no root.
set -euo pipefail

packages=(
    python3 python3-venv    # the product and its tests; 3.11 or later
    qemu-system-x86         # both ends of every migration
    qemu-utils              # qemu-img: making and comparing disks
    nbdkit libnbd-bin       # an NBD server and client (nbdcopy) that are not QEMU
    socat                   # the plainest other tunnel, to measure against
    busybox-static cpio     # the guest's user space and its initramfs
    xz-utils zstd           # kernel modules come compressed on newer releases
    openssl ca-certificates # certificates that the product did not make itself
    gnutls-bin              # certtool: the same, as QEMU's documentation makes them
    libfaketime             # clocks that are set while something runs
    gcc libc6-dev           # a program that attacks, and must be quick
    libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients # libvirt's own migration, through the tunnel
    libvirt-dev pkg-config python3-dev # libvirt's binding for Python is compiled
    ovmf swtpm swtpm-tools  # firmware with variables, and a TPM, in real guests
    apparmor checkpolicy    # the rules for their sockets are compiled
    polkitd dbus            # a libvirt that asks who may use it
    parted lvm2             # storage pools on block devices
    util-linux              # setpriv ties the lab's processes to their parent's life
    openssh-client openssh-server # `--to ssh://HOST`, and a host to reach by it
    systemd man-db          # the units and the manuals, as these two read them
    zsh                     # what it completes, beside bash
    prometheus              # promtool, and a Prometheus that scrapes a migration
    iproute2 iptables       # the cable between two hosts that are namespaces, and a firewall
)

# From Debian 13 and Ubuntu 25.04 on, libvirt's backends for partitions and LVM are packages of their own.
case $(. /etc/os-release && echo "${VERSION_CODENAME:-}") in
bookworm | jammy | noble) ;;
*) packages+=(libvirt-daemon-driver-storage-disk libvirt-daemon-driver-storage-logical) ;;
esac

case ${1:-} in
peers) packages=(fio socat openssh-client openssh-server stunnel4 haproxy) ;;
deb) packages=(build-essential debhelper dh-virtualenv python3-venv lintian) ;;
modular)
    packages=(dpkg-dev gcc libc6-dev meson ninja-build pkg-config python3-docutils xsltproc libxml2-utils gettext)
    packages+=(libglib2.0-dev libxml2-dev libgnutls28-dev libtirpc-dev rpcsvc-proto libyajl-dev libjson-c-dev)
    ;;
trees) packages=(debootstrap debian-archive-keyring) ;;
esac

# While it is there, the services that packages bring are not started (invoke-rc.d(8)).
policy=/usr/sbin/policy-rc.d
start_nothing() {
    [ ! -e $policy ] || return 0
    trap '"${sudo[@]}" rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee $policy >/dev/null
    "${sudo[@]}" chmod +x $policy
}

# disable_new BEFORE: what was not among those packages must not be started by the next boot: the lab starts its own.
disable_new() {
    installed | comm -13 "$1" - | grep -E '^(openssh-server|stunnel4|haproxy|prometheus|libvirt-daemon.*|apparmor|lvm2)$' | xargs -r dpkg -L |
        sed -n 's#.*/systemd/system/\([^/@]*\.\(service\|socket\|timer\)\)$#\1#p' |
        xargs -r "${sudo[@]}" systemctl disable 2>/dev/null || true
}

installed() { dpkg-query -W -f '${Package}\n' | sort; }

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done

if [ ${#missing[@]} -gt 0 ]; then
    sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { echo "as root: apt-get install ${missing[*]}" >&2; exit 1; }
        sudo=(sudo)
    fi
    echo "installing ${missing[*]}"
    # A dead third-party source must not stop us: what counts is the install.
    "${sudo[@]}" apt-get update -q || true
    start_nothing
    before=$(mktemp)
    installed >"$before"
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "${missing[@]}"
    disable_new "$before"
    rm -f "$before"
fi

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "$python is older than 3.11; name a newer one: make PYTHON=python3.12 ..." >&2
    exit 1
}
