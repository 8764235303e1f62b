"""The workers of one migration: no more than it has use for at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from attrs import evolve

from nbdtun.config.settings import Dialling
from nbdtun.errors import NbdtunError
from nbdtun.libvirt import domain
from nbdtun.libvirt.connection import Libvirt
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.vm.disks import inventory
from nbdtun.service.tunnel.far import Far
from nbdtun.service.workers.crew import Crew, Workers
from nbdtun.tunnel.source.client import Source


async def useful(monitor: Monitor, settings: MigrationSettings) -> int:
    """
    How many channels a migration fills at a time: one for each disk, then one for each connection of the memory.

    The memory of one that is held stays with the main process.
    """

    async def count() -> int:
        return len((await inventory(monitor)).disks)

    return await _useful(count, settings)


async def useful_to_domain(libvirt: Libvirt, settings: MigrationSettings) -> int:
    """The same for a domain of libvirt's."""

    def count(opened: Any) -> int:
        return len(domain.read(opened.lookupByName(settings.vm).XMLDesc(0)).copied)

    return await _useful(lambda: libvirt.do(count), settings)


async def _useful(count: Callable[[], Awaitable[int]], settings: MigrationSettings) -> int:
    disks = len(settings.disks or ())
    with suppress(NbdtunError):  # the migration will say what is wrong
        disks = disks or await count()
    return max(disks, 0 if settings.switchover else 1 + settings.connections)


class Hired:
    """
    ``workers`` for a migration with these ``settings``, by way of ``reached`` if ssh or a code leads to its destination.

    Where the links go through ssh, there are none; ``say`` is told so, if somebody has asked for them.
    """

    def __init__(self, workers: Workers | None, settings: Dialling, reached: Far | None, say: Callable[[str], object]) -> None:
        self._workers = workers
        self._settings = settings
        self._reached = reached
        self._say = say
        self._crew: Crew | None = None

    def __repr__(self) -> str:
        return f"<Hired {self._crew}>"

    @property
    def wanted(self) -> bool:
        """Whether there are to be some."""
        return self._workers is not None

    def begin(self, source: Source, most: int) -> None:
        """Start those that have the channels of ``source``, and no more than ``most``."""
        workers, settings = self._workers, self._settings
        if workers is None:
            return
        if self._reached is None:
            dialling: Dialling | None = settings.dialling
        else:
            dialling = self._reached.dialling(settings.tunnel)
        if dialling is None:
            if workers.asked:
                self._say("the links go through ssh, so one process has all channels, and no worker")
        elif (count := min(workers.count, most)) > 1:
            self._crew = Crew.of(source, dialling, evolve(workers, count=count), lambda: True)
            self._crew.open()

    def report(self) -> list[dict[str, Any]]:
        """See :attr:`Crew.report`."""
        return [] if self._crew is None else self._crew.report

    async def close(self) -> None:
        """End all."""
        if self._crew is not None:
            await self._crew.close()
