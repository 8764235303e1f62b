"""
The hold: the memory goes as far as it can without a switchover, and stays there until the moment has come.

QEMU switches over by itself, and nothing that it can be told prevents it: a guest that changes nothing has nothing left after the first
pass, and ``pause-before-switchover`` stops the guest first. But QEMU cannot go on while nobody reads what it sends. Its thread for the
migration waits in ``write(2)`` then, as long as that lasts; the guest runs, and the monitor answers. So the tunnel stops reading within
the first pass. So much is left then that the rest of the pass cannot be on its way already, even if all of it were empty pages.

QEMU facts (7.2 and 10.0; ``migration/ram.c``, ``migration/multifd.c``): a page of which QEMU has sent nothing but that it is empty takes 9
bytes of the stream, or 8 in a packet of ``multifd``. ``remaining`` of ``query-migrate`` has the pages that no byte was sent of.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from nbdtun.deferreds import together
from nbdtun.errors import MemoryFailed
from nbdtun.migration.carrier import Ingress
from nbdtun.migration.progress import Phase
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.supervision.meter import Meter
from nbdtun.migration.supervision.moment import Moment
from nbdtun.migration.vm.memory import Outgoing, query_migration

#: The fewest bytes of the stream that a page takes.
PAGE_BYTES: Final = 8
#: The smallest size of a page.
PAGE: Final = 4096
#: QEMU's own buffers for one connection, twice their size, in bytes.
BUFFERS: Final = 64 * 1024
#: How often QEMU is asked how much is left, in seconds, while the memory is on its way.
AGAIN_SECONDS: Final = 0.02
#: The smallest step in which the memory goes on, in bytes of the stream.
LEAST: Final = 64 * 1024

_SOCKET = Path("/proc/sys/net/core/wmem_default")


def on_the_way(connections: int, socket: Path = _SOCKET) -> int:
    """The most bytes that may be on their way from QEMU to the tunnel, over so many ``connections`` beside the main one."""
    return (int(socket.read_text()) + BUFFERS) * (1 + connections)


class Hold:
    """
    Holds the memory of the QEMU behind ``monitor`` back until ``moment``, and tells ``meter``.

    ``connections`` is how many the memory has beside the main one.
    """

    def __init__(self, clock: IReactorTime, monitor: Monitor, moment: Moment, meter: Meter, connections: int) -> None:
        self._clock = clock
        self._monitor = monitor
        self._moment = moment
        self._meter = meter
        self._buffered = on_the_way(connections)
        self._held = False

    def __repr__(self) -> str:
        return f"<Hold until {self._moment!r}, with {self._buffered} bytes on the way>"

    async def before(self) -> None:
        """Hold the VM before any of its memory is sent, if there is too little of it to stop within."""
        self._held = self._moment.ahead and self._step(self._meter.now.ram.total, PAGE) > 0
        if not self._held:
            await self._moment.come(self._meter.hold)

    async def start(self, outgoing: Outgoing, ram: Ingress) -> None:
        """Let ``outgoing`` begin through ``ram``."""
        if self._held:
            ram.allow(0)
        await outgoing.start(ram)

    async def until_paused(self, outgoing: Outgoing, ram: Ingress) -> None:
        """
        Wait until the guest is paused; that is not before the moment.

        :raise MemoryFailed: QEMU gave up, or did not wait.
        """
        await together(self._keep(ram), self._paused(outgoing))

    async def _keep(self, ram: Ingress) -> None:
        if not self._held:
            return
        await self._approach(ram)
        await self._moment.come(self._meter.hold)
        self._held = False
        if self._meter.now.phase is Phase.HOLDING:
            self._meter.enter(Phase.RAM)
        ram.allow(None)

    async def _approach(self, ram: Ingress) -> None:
        """Let the memory go on in steps, each of which is too small for the end of the pass."""
        while self._moment.ahead:
            if not ram.allowance:
                now = await query_migration(self._monitor)
                step = self._step(now.left, now.page)
                if now.passes and not step:
                    return
                ram.allow(step)
            await deferLater(self._clock, AGAIN_SECONDS)

    def _step(self, left: int, page: int) -> int:
        """How many bytes of the stream may be read while ``left`` bytes of memory are left; 0 for none."""
        bytes_left = left // page * PAGE_BYTES - self._buffered
        return bytes_left if bytes_left >= LEAST else 0

    async def _paused(self, outgoing: Outgoing) -> None:
        await outgoing.paused()
        if self._held:
            why = "QEMU has stopped the guest, though it could not have sent all of its memory"
            raise MemoryFailed(f"{self._monitor.name}: {why}; migrate without --hold and --switchover")
