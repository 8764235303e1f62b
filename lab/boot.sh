#!/usr/bin/env bash
# lab/boot.sh ROOT SCRATCH: boots systemd as the first process of its own namespaces, over a copy of the tree ROOT.
# The copy is an overlay in memory: nothing of ROOT, of this system's devices, kernel settings or services is touched.
# The network is a loopback of its own; with NETWORK=shared, this system's. SCRATCH is an empty directory that is mounted over
# meanwhile. CGROUP is an empty control group (cgroup2), which is all that it sees of these. It takes root.
set -euo pipefail
export tree=$1 scratch=$2 checkout cache
checkout=$(cd "$(dirname "$0")/.." && pwd)
cache=$(readlink -f "${NBDTUN_CACHE:-$checkout/.cache}") # which may be elsewhere

# Only the units that the manager itself needs: those of this machine would mount its disks and start its services.
strip() {
    rm -rf etc/systemd/system/{sysinit,basic,sockets,timers,multi-user,local-fs,graphical,network-online}.target.{wants,requires}
    find usr/lib/systemd/system lib/systemd/system -path '*.wants/*' \
        ! -name 'systemd-journald*' ! -name dbus.socket -delete 2>/dev/null || true
    mkdir -p etc/systemd/system
    for unit in tmp.mount systemd-remount-fs.service; do ln -sf /dev/null etc/systemd/system/$unit; done
    : >etc/fstab
    rm -f etc/crypttab
}

devices() {
    mount -t tmpfs -o mode=755 tmpfs dev
    mkdir dev/pts dev/shm
    for device in null zero full random urandom tty kvm fuse; do
        [ ! -e /dev/$device ] || { touch dev/$device && mount --bind /dev/$device dev/$device; }
    done
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
    mount -t tmpfs -o mode=1777 tmpfs dev/shm
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
}

boot() {
    mount --make-rprivate /
    mount -t tmpfs tmpfs "$scratch"
    mkdir "$scratch"/{upper,work,root}
    mount -t overlay -o "lowerdir=$tree,upperdir=$scratch/upper,workdir=$scratch/work" overlay "$scratch/root"
    cd "$scratch/root"
    strip
    mount -t proc proc proc
    mount --bind proc/sys proc/sys && mount -o remount,bind,ro proc/sys
    mount -t sysfs -o ro sysfs sys
    [ -d sys/fs/cgroup ] && mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs run
    touch run/nbdtun-lab # by which a process knows where it is
    devices
    for shared in "$checkout" "$cache"; do
        mkdir -p "./$shared"
        mount --bind "$shared" "./$shared"
    done
    mkdir -p mnt
    ip link set lo up
    pivot_root . mnt
    umount -l /mnt
    # A first process without these rights is a container's to systemd: it loads no modules, and sets no clock.
    exec setpriv --bounding-set=-sys_module,-sys_time,-sys_boot,-sys_rawio,-mknod,-audit_control \
        env -i container=lab PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --system --unit=basic.target --show-status=no --log-target=journal-or-kmsg
}

export -f strip devices boot
[ -z "${CGROUP:-}" ] || echo $$ >"$CGROUP/cgroup.procs"
network=--net
[ "${NETWORK:-}" != shared ] || network=
exec unshare --mount --pid $network --uts --ipc --cgroup --fork --kill-child bash -euo pipefail -c boot
