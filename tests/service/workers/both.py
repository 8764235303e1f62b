"""Both ends of a tunnel in one process, each with workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve

from nbdtun.service.destination import DestinationService
from nbdtun.service.source import SourceService
from nbdtun.service.workers.crew import Workers
from nbdtun.service.workers.worker import Worker
from nbdtun.tunnel.settings import Limits
from tests.service.stage import Asking, Way
from tests.service.workers.stage import Yard, until


class Both:
    """Both ends, which have workers of the same yard."""

    def __init__(self, base: Path, workers: Workers | None = None) -> None:
        self.way, self.yard = Way(base), Yard()
        self.way.settings = evolve(self.way.settings, resume_window=20.0)
        self.way.workers = workers or self.yard.workers(2)
        self.destination = self.way.destination(limits=Limits(channels_per_peer=5))
        self.source = self.way.source()
        self.programs: list[Asking] = []

    @property
    def services(self) -> tuple[DestinationService, SourceService]:
        return self.destination, self.source

    async def begin(self) -> None:
        self.port = await self.way.serve()
        for service in self.services:
            service.startService()

    async def end(self) -> None:
        for service in reversed(self.services):
            await service.stopService()
        await self.port.stopListening()  # type: ignore[misc]
        await until(lambda: all(each.keeper.lost for each in self.yard.made))
        assert not any(each.keeper._channels for each in self.yard.made)

    async def enter(self, count: int) -> None:
        for _ in range(count):
            self.programs.append(await self.way.enter())
            assert await self.programs[-1].ask(b"ping") == b"ping"

    async def hung(self) -> tuple[Worker, Any]:
        """A worker that hears nothing any more, and its transport: it has one of two channels."""
        await self.begin()
        await self.enter(2)
        hung = self.destination.crew.workers[0]
        ears: Any = self.yard.of(hung.pid).transport
        assert ears is not None
        ears.pauseProducing()
        return hung, ears
