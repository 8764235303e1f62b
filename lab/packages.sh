#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that the lab needs and that are missing;
# with `peers`, those that only the benchmark needs: its client, and other tunnels.
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
    libfaketime             # clocks that are set while something runs
    util-linux              # setpriv ties the lab's processes to their parent's life
)

if [ "${1:-}" = peers ]; then
    packages=(fio socat openssh-client openssh-server stunnel4 haproxy)
fi

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
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "${missing[@]}"
    # What was not here before must not serve anybody now: the benchmark starts its own.
    for package in "${missing[@]}"; do
        case $package in
        openssh-server) "${sudo[@]}" systemctl disable --now ssh 2>/dev/null || true ;;
        stunnel4 | haproxy) "${sudo[@]}" systemctl disable --now "$package" 2>/dev/null || true ;;
        esac
    done
fi

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "$python is older than 3.11; name a newer one: make PYTHON=python3.12 ..." >&2
    exit 1
}
