"""
The destination's side of the disks: an NBD server inside the waiting QEMU, with one writable export a disk.

QEMU facts (7.2 and 10.0, with ``-drive`` and ``-blockdev``, IDE, SCSI and virtio): a writable export of a node that an
``-incoming`` machine's device holds is allowed, and activates the image by itself. Mirrors need exactly equal sizes: a disk that is
larger here is exported through a raw node of the source's size on top of it. That works on qcow2 as well, and ``blockdev-del``
removes it once ``nbd-server-stop`` has returned, which waits for the exports to be gone. From 9.1 on, a node without ``discard=unmap``
lets no holes through (QEMU's block/io.c, bdrv_co_do_pwrite_zeroes; before, an export's own node was not asked).

QEMU before 8.2 with the fix of CVE-2024-7409 (Debian's 7.2.22) never returns from ``nbd-server-stop``, and its monitor hangs, if a client
is in its handshake then: QEMU waits for the connection to end, and the handshake for an event loop that does not run meanwhile (fixed by
QEMU's 06e0f098d6). So nothing is stopped before all clients have gone; QEMU itself drops a client in its handshake after 10 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.task import deferLater

from nbdtun.errors import CommandFailed, DestinationFailed
from nbdtun.migration.ids import PREFIX, block_name
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.undo import UndoStack
from nbdtun.migration.vm.disks import Disk

LEAVING_SECONDS = 12.0
AGAIN_SECONDS = 0.002

_TABLE = Path("/proc/self/net/unix")  # of this network namespace: a connection belongs to its client's, wherever the server is
_LISTENS = "00010000"  # __SO_ACCEPTCON in the column "Flags"; see unix_seq_show() in the kernel's net/unix/af_unix.c


@frozen
class Pairing:
    """A disk at the source and its counterpart here, as the export ``name``."""

    source: Disk
    here: Disk
    name: str


def pair(session: str, wanted: tuple[Disk, ...], here: tuple[Disk, ...]) -> tuple[Pairing, ...]:
    """Name the exports: each disk of ``here`` takes its counterpart in ``wanted``."""
    return tuple(Pairing(there, mine, block_name(session, n)) for n, (there, mine) in enumerate(zip(wanted, here, strict=True)))


class Exports:
    """The NBD server of one destination QEMU, at the UNIX socket ``path``."""

    def __init__(self, clock: Any, monitor: Monitor, path: str) -> None:
        self.path = path
        self._clock = clock
        self._monitor = monitor
        self._slices: list[str] = []
        self._started = False
        self._until: float | None = None

    def __repr__(self) -> str:
        return f"<Exports {self.path} {'started' if self._started else 'stopped'}>"

    async def start(self, pairings: tuple[Pairing, ...], undo: UndoStack) -> None:
        """
        Serve all disks.

        :raise CommandFailed: QEMU refused.
        :raise DestinationFailed: another NBD server runs in this QEMU already.
        """
        await self._serve(undo)
        for pairing in pairings:
            await self._export(pairing)

    async def _serve(self, undo: UndoStack) -> None:
        try:
            undo.push("stop the NBD server", self.stop)
            self._started = True
            await self._monitor.execute("nbd-server-start", {"addr": {"type": "unix", "data": {"path": self.path}}})
        except CommandFailed as error:
            self._started = False
            if "already running" in str(error):
                raise DestinationFailed(f"{error}; if no other tool uses this VM, stop that server with nbd-server-stop") from error
            raise

    async def _export(self, pairing: Pairing) -> None:
        node = pairing.here.node
        if pairing.here.size > pairing.source.size:
            self._slices.append(pairing.name)
            await self._monitor.execute("blockdev-add", _slice(pairing.name, node, pairing.source.size))
            node = pairing.name
        export = {"type": "nbd", "id": pairing.name, "name": pairing.name, "node-name": node, "writable": True}
        try:
            await self._monitor.execute("block-export-add", export)
        except CommandFailed as error:
            raise CommandFailed(f"disk {pairing.source.nickname}: its image at the destination cannot be written to: {error}") from error

    def hurry(self) -> None:
        """Let :meth:`retire` wait no longer than a handshake can last."""
        self._until = self._clock.seconds() + LEAVING_SECONDS

    async def stop(self) -> None:
        """Stop serving soon, and remove all of our nodes; safe to repeat."""
        self.hurry()
        await self.retire()

    async def retire(self) -> None:
        """Stop serving when all clients have gone, and remove all of our nodes."""
        if self._started:
            await self._clients_gone()
        if self._started:  # another call may have waited too
            self._started = False
            await self._monitor.execute("nbd-server-stop")
        while self._slices:
            node = self._slices.pop()
            if node in await nodes(self._monitor):
                await self._monitor.execute("blockdev-del", {"node-name": node})

    async def _clients_gone(self) -> None:
        """Wait until the server has closed every connection. QEMU itself ends those that are left when there was a :meth:`hurry`."""
        while connections(self.path) and (self._until is None or self._clock.seconds() < self._until):
            await deferLater(self._clock, AGAIN_SECONDS)


def _slice(name: str, node: str, size: int) -> Mapping[str, Any]:
    """A node of ``size`` bytes at the start of ``node``; it passes the mirror's holes on."""
    return {"driver": "raw", "node-name": name, "offset": 0, "size": size, "discard": "unmap", "file": node}


async def nodes(monitor: Monitor) -> frozenset[str]:
    """The names of all block nodes."""
    return frozenset(str(node["node-name"]) for node in await monitor.execute("query-named-block-nodes", {"flat": True}))


async def sweep(monitor: Monitor) -> list[str]:
    """
    Remove the leftovers of an earlier session: its exports, their NBD server if it has no other exports, its nodes.

    Returns their names.
    """
    exports = await monitor.execute("query-block-exports")
    ours = [export["id"] for export in exports if export["id"].startswith(PREFIX)]
    if len(ours) == len(exports):
        with suppress(CommandFailed):  # it does not run
            await monitor.execute("nbd-server-stop")
    else:
        for ident in ours:
            await monitor.execute("block-export-del", {"id": ident, "mode": "hard"})
    left = [node for node in await nodes(monitor) if node.startswith(PREFIX)]
    for node in left:
        await monitor.execute("blockdev-del", {"node-name": node})
    return sorted({*ours, *left})


def connections(path: str) -> int:
    """
    The number of connections to the UNIX socket ``path`` that its server has not closed; only those made in this network namespace.

    The kernel lists them, as QEMU does not. A connection is listed until the server has closed it, even if its client has gone. The
    result is 0 where the kernel's table cannot be read.
    """
    try:
        table = _TABLE.read_text(errors="surrogateescape")
    except OSError:
        return 0
    rows = (row.split(maxsplit=7) for row in table.splitlines() if row.endswith(path))
    return sum(row[7:] == [path] and row[3] != _LISTENS for row in rows)
