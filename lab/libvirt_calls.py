"""What two real libvirtds say to each other during a peer-to-peer migration: `python -m lab.libvirt_calls`, as root.

It stands between them on a UNIX socket and prints a line for each kind of message, in the order of the first of each: who sent it, the
program, the procedure, the type, how often, how long the longest was, and for a question about a feature which ones were asked for. The
table of `nbdtun/libvirt/rpc/procedures.py` is made of this. `--bodies DIR` keeps the bodies, for tests.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lab import guest
from lab.disks import MIB, Disk
from lab.domain import Domain
from lab.libvirt import Host, unable
from lab.process import MARK

HEADER = struct.Struct("!IIIiIII")
TYPES = ("call", "reply", "message", "stream", "call with descriptors", "reply with descriptors", "hole")
PROGRAMS = {0x20008086: "remote", 0x20008087: "qemu", 0x6B656570: "keepalive"}
SUPPORTS_FEATURE = 60


@dataclass
class Seen:
    """Messages that differ only in their bodies."""

    count: int = 0
    longest: int = 0
    features: list[int] = field(default_factory=list)


@dataclass
class Recorder:
    """Listens at `path`, and passes what it hears on to `to`."""

    path: Path
    to: Path
    seen: dict[tuple[str, int, int, int, int, int], Seen] = field(default_factory=dict)
    bodies: list[tuple[str, int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self.path}")
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            near, _ = self._listener.accept()
            far = socket.socket(socket.AF_UNIX)
            far.connect(f"{self.to}")
            for who, source, sink in (("source", near, far), ("destination", far, near)):
                threading.Thread(target=self._pass_on, args=(who, source, sink), daemon=True).start()

    def _pass_on(self, who: str, source: socket.socket, sink: socket.socket) -> None:
        kept = b""
        while data := source.recv(1 << 20):
            kept += data
            while len(kept) >= 4 and len(kept) >= (size := int.from_bytes(kept[:4], "big")):
                self._note(who, kept[:size])
                kept = kept[size:]
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)

    def _note(self, who: str, message: bytes) -> None:
        size, program, version, procedure, kind, _, status = HEADER.unpack_from(message)
        seen = self.seen.setdefault((who, program, version, procedure, kind, status), Seen())
        seen.count += 1
        seen.longest = max(seen.longest, size)
        if who == "source" and program in PROGRAMS and procedure == SUPPORTS_FEATURE:
            seen.features.append(int.from_bytes(message[HEADER.size :], "big"))
        self.bodies.append((who, procedure, message[HEADER.size :]))

    def lines(self) -> Iterator[str]:
        """What was seen."""
        for (who, program, version, procedure, kind, status), seen in self.seen.items():
            name = PROGRAMS.get(program, f"{program:#x}")
            features = f", features {sorted(set(seen.features))}" if seen.features else ""
            failed = f", status {status}" if status else ""
            yield f"{who}: {name} v{version} {procedure} {TYPES[kind]}{failed}: {seen.count}, up to {seen.longest} bytes{features}"


def record(directory: Path, options: list[str]) -> Recorder:
    """Migrate a domain with its disk from one libvirtd to another."""
    directory.chmod(0o755)
    with Host(directory, "here") as here, Host(directory, "there") as there:
        disk = Disk(here.spare / "vda.raw", 64 * MIB).make()
        disk.twin(there.spare / "vda.raw").make_empty()
        domain = Domain(guest.build(), (disk,))
        definition = here.spare / "web1.xml"
        definition.write_text(domain.xml())
        here.virsh("define", f"{definition}")
        here.virsh("start", domain.name)
        domain.wait_ticks(here, 5)
        recorder = Recorder(directory / "libvirt.sock", there.socket)
        uris = ["--migrateuri", f"unix://{directory}/memory.sock", "--disks-uri", f"unix://{directory}/disks.sock"]
        to = f"qemu+unix:///system?socket={recorder.path}"
        flags = ["--live", "--p2p", "--copy-storage-all", "--persistent", "--undefinesource", "--abort-on-error", *options]
        here.virsh("migrate", *flags, *uris, domain.name, to, timeout=300)
        domain.wait_ticks(there, 5)
    return recorder


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.libvirt_calls", description=__doc__.partition("\n")[0])
    parser.add_argument("--bodies", type=Path, help="a directory for the bodies, a file each")
    parser.add_argument("options", nargs="*", help="more of virsh migrate, after --")
    chosen = parser.parse_args()
    if reason := unable():
        parser.exit(1, f"{reason}\n")
    os.environ[MARK] = str(os.getpid())
    directory = Path(tempfile.mkdtemp(prefix="nt-", dir="/tmp"))
    try:
        recorder = record(directory, chosen.options)
    finally:
        shutil.rmtree(directory)
    print("\n".join(recorder.lines()))
    for number, (who, procedure, body) in enumerate(recorder.bodies if chosen.bodies else ()):
        (chosen.bodies / f"{number:03}-{who}-{procedure}").write_bytes(body)


if __name__ == "__main__":
    main()
