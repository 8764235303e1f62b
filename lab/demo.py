"""`make demo`: a guest with a disk moves while it runs, and then the proof of it.

Only processes that an operator would start: two QEMUs, `twistd nbdtun-dest`, and
`nbdtun migrate` on this terminal.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from lab import guest
from lab.daemon import BIN, Twistd, free_port
from lab.disks import MIB
from lab.pair import Pair, Plan


def say(text: str) -> None:
    print(f"\n==> {text}", flush=True)


def demo(directory: Path) -> list[str]:
    """Move a guest; what is wrong afterwards, which is nothing."""
    certificates = directory / "tls"
    port = free_port()
    subprocess.run([BIN / "nbdtun", "certs", certificates, "--host", "127.0.0.1"], check=True)
    say("A source and a destination; the guest writes numbered ticks to a disk of 1 GiB")
    with Pair(directory, guest.build(), [Plan(1024 * MIB)]) as pair:
        print(f"tick {pair.source.wait_ticks(20)} reported at the source")
        say("The destination's daemon, and the migration")
        options = ["--tls-dir", f"{certificates}"]
        vm = ["--vm", f"web1={pair.destination.qmp_path}"]
        with Twistd(directory, "nbdtun-dest", "--listen", f"tcp:{port}", *vm, *options) as daemon:
            daemon.wait_port(port)
            to = ["--to", f"tcp:127.0.0.1:{port}"]
            command: list[str | Path] = [BIN / "nbdtun", "migrate", "web1", "--qmp", pair.source.qmp_path, *to, *options]
            if status := subprocess.run(command).returncode:
                return [f"nbdtun migrate: exit status {status}", daemon.log()[-2000:]]
        say("The proof")
        return _prove(pair)


def _prove(pair: Pair) -> list[str]:
    last = pair.source.ticks()
    print(f"tick {last} was the last at the source")
    print(f"tick {pair.destination.wait_ticks(20)} reported at the destination: the guest runs there")
    faults = pair.faults()
    if not faults:
        print("every reported tick and every other block is on the destination's disk")
    if pair.source.running():
        return [*faults, f"the source's QEMU is still there: {pair.source.status()}"]
    print("the source's QEMU is gone")
    return faults


def main() -> int:
    # Short, because a UNIX socket's path ends at 107 bytes.
    with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as name:
        faults = demo(Path(name))
    say("\n".join(["FAILED", *faults[:20]]) if faults else "It moved, and nothing was lost")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
