"""`make demo`: a guest with a disk moves while it runs, the cable is pulled on the way, and then the proof of it.

As root it is one command between two hosts, which are namespaces of this machine: the other one has nothing but
ssh, QEMU and nbdtun. Where that cannot be, both ends are on this machine: two QEMUs, `twistd nbdtun-dest`, and
`nbdtun migrate`, with a relay between them that plays the cable. In either case nothing is left behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lab import guest, hosts, ticks
from lab.crossing import VM, Crossing, certificates
from lab.daemon import BIN
from lab.disks import MIB, Disk
from lab.hosts import Cable, Host
from lab.pair import Pair, Plan
from lab.process import MARK, Process, marked, wait
from lab.qemu import CPU, MEMORY, native
from lab.sshd import SSHD, Sshd

SIZE = 1024 * MIB
RATE = 100.0 * MIB
"""What the relay carries, in bytes a second: slow enough for the migration to last some seconds."""
PULL_AT = 200 * MIB
PULLED = 4.0

QMP, IMAGE, CONSOLE = "/run/qemu/web1.qmp", "/srv/vm/web1.qcow2", "/srv/vm/web1.console"


def say(text: str) -> None:
    print(f"\n==> {text}", flush=True)


def two_hosts(directory: Path) -> list[str]:
    """Move a guest to a host that is not prepared; what is wrong afterwards, which is nothing."""
    say("Two hosts; at the first a guest writes numbered ticks to a disk of 1 GiB")
    with Host(directory, "source") as here, Host(directory, "dest") as there:
        cable = Cable(here, there)
        disk = _disk(here)
        with _qemu(here) as vm, Sshd(directory, host=there, address=cable.addresses[1]) as sshd:
            wait(lambda: _ticks(here) >= 20, 60, "ticks", vm)
            print(f"tick {_ticks(here)} reported at the source")
            say(f"One command; dest has only ssh, QEMU and nbdtun; the cable is pulled for {PULLED:g} s on the way")
            words = ["nbdtun", "migrate", VM, "--qmp", QMP, "--to", sshd.to]
            print(f"$ {' '.join(words)}", flush=True)
            command = ["env", *(f"{name}={value}" for name, value in sshd.environment.items()), f"{BIN}/{words[0]}", *words[1:]]
            if status := _migrate([*here.enter, *command], cable.sent, lambda: _pull(cable)):
                return [f"nbdtun migrate: exit status {status}", sshd.far_log()[-2000:]]
            say("The proof")
            return _prove_hosts(here, there, disk, vm)


def _disk(here: Host) -> Disk:
    for path in (QMP, IMAGE):
        here.path(path).parent.mkdir()
    return Disk(here.path(IMAGE), SIZE, "qcow2").make()


def _qemu(here: Host) -> Process:
    """The VM, as somebody starts one."""
    command = [
        *native().command(),
        *("-machine", "pc-q35-7.2", "-accel", "tcg", "-cpu", CPU, "-m", f"{MEMORY}k", "-nodefaults", "-display", "none"),
        *guest.build().arguments(1),
        *("-drive", f"id=vda,if=virtio,format=qcow2,file={IMAGE},discard=unmap", "-serial", f"file:{CONSOLE}"),
        *("-qmp", f"unix:{QMP},server=on,wait=off"),
    ]
    return Process([*here.enter, *command], here.root / "qemu.log")


def _ticks(host: Host) -> int:
    """The last tick that was reported at a host."""
    console = host.path(CONSOLE)
    return ticks.reported(console.read_text(errors="replace")) if console.exists() else 0


def _pull(cable: Cable) -> None:
    cable.pull()
    time.sleep(PULLED)
    cable.plug()


def _prove_hosts(here: Host, there: Host, disk: Disk, vm: Process) -> list[str]:
    last = _ticks(here)
    print(f"tick {last} was the last at the source")
    wait(lambda: _ticks(there) > 0, 20, "ticks at the destination")
    first = there.path(CONSOLE).read_text(errors="replace").split("\n")[0].strip()
    print(f"{first} was the first at the destination")
    wait(lambda: _ticks(there) >= last + 20, 60, "ticks at the destination")
    reported = _ticks(there)
    print(f"tick {reported} reported there since: the guest runs on")
    arrived = disk.twin(there.path(IMAGE))
    faults = [*ticks.lost(arrived.ticks(), reported), *(f"wrong from byte {offset}" for offset in arrived.wrong())]
    if first != f"tick {last + 1}":
        faults.append(f"{first} does not follow tick {last}")
    return _told(faults, vm)


def one_host(directory: Path) -> list[str]:
    """Move a guest to a QEMU that waits on this machine; what is wrong afterwards, which is nothing."""
    say("A source and a destination; the guest writes numbered ticks to a disk of 1 GiB")
    with Pair(directory, guest.build(), [Plan(SIZE)]) as pair:
        print(f"tick {pair.source.wait_ticks(20)} reported at the source")
        say(f"The destination's daemon, and the migration; its cable is pulled for {PULLED:g} s on the way")
        with Crossing(pair, certificates(directory / "tls"), cable=True) as crossing:
            cable = crossing.cable
            cable.slow(RATE)
            command = [f"{BIN}/nbdtun", "migrate", *crossing.arguments()]
            if status := _migrate(command, lambda: cable.counters().up, lambda: cable.pull(PULLED)):
                return [f"nbdtun migrate: exit status {status}", crossing.daemon.log()[-2000:]]
        say("The proof")
        return _prove(pair)


def _migrate(command: list[str], sent: Callable[[], int], pull: Callable[[], None]) -> int:
    """Run `nbdtun migrate` on this terminal, and pull the cable in the middle of the disk; its exit status."""
    with subprocess.Popen(command, env={**os.environ, MARK: f"{os.getpid()}"}) as moving:
        try:
            before = sent()
            while moving.poll() is None and sent() < before + PULL_AT:
                time.sleep(0.02)
            pull()
            return moving.wait()
        except KeyboardInterrupt:  # it has got the same Ctrl-C, and rolls back
            with suppress(TimeoutError):
                wait(lambda: not any("nbdtun migrate" in command for command in marked().values()), 10, "the rollback")
            raise


def _prove(pair: Pair) -> list[str]:
    last = pair.source.ticks()
    print(f"tick {last} was the last at the source")
    print(f"tick {pair.destination.wait_ticks()} was the first at the destination")
    print(f"tick {pair.destination.wait_ticks(20)} reported there since: the guest runs on")
    return _told(pair.faults(), pair.source)


def _told(faults: list[str], source: Process) -> list[str]:
    if not faults:
        print("every reported tick and every other block is on the destination's disk")
    if source.running():
        return [*faults, "the source's QEMU is still there"]
    print("the source's QEMU is gone")
    return faults


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what must end, ends tidily
    why = hosts.unable() or ("" if shutil.which(SSHD) else "openssh-server is not installed")
    if why:
        print(f"both ends on this machine, since {why}")
    try:
        # Short, because a UNIX socket's path ends at 107 bytes.
        with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as name:
            faults = (one_host if why else two_hosts)(Path(name))
    except KeyboardInterrupt:
        say("Interrupted; nothing is left")
        return 130
    say("\n".join(["FAILED", *faults[:20]]) if faults else "It moved, and nothing was lost")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
