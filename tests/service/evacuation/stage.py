"""An engine with processes that only pretend, and hooks that last as long as a test wants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import HookFailed
from nbdtun.evacuation.budget import Parts
from nbdtun.evacuation.journal import Journal
from nbdtun.evacuation.life import State
from nbdtun.evacuation.overview import Overview
from nbdtun.evacuation.terms import Terms
from nbdtun.evacuation.values import Entry
from nbdtun.migration.progress import Phase, Progress
from nbdtun.service.evacuation.aftermath import Aftermath
from nbdtun.service.evacuation.book import Book
from nbdtun.service.evacuation.engine import TICK, Engine
from nbdtun.service.evacuation.hooks import Hook

TO = ("hv2", "hv3")
TERMS = Terms(qmp="/run/{vm}.qmp", to=TO, copying=4, pause=60_000)


@define(eq=False)
class Pretended:
    """A process that has ended, and its last report."""

    final: Progress

    def last(self) -> Progress:
        return self.final

    def said(self) -> str:
        return ""

    def forget(self) -> None:
        pass


@define(eq=False)
class Pretence:
    """A crew without processes: each VM has the progress, and meets the end, that a test wants."""

    progress: dict[str, Progress] = field(factory=dict)
    ends: dict[str, Progress] = field(factory=dict)
    words: dict[str, tuple[str, ...]] = field(factory=dict)
    released: list[str] = field(factory=list)
    cancelled: set[str] = field(factory=set)
    answer: Deferred[bool] = field(factory=Deferred)
    line: int = 0
    parts: Parts = field(factory=Parts)
    lost: frozenset[str] = frozenset()
    stuck: frozenset[str] = frozenset()

    @property
    def living(self) -> frozenset[str]:
        return frozenset(self.progress)

    @property
    def linked(self) -> frozenset[str]:
        return self.living - self.lost

    def start(self, entry: Entry, *words: str, bandwidth: int = 0) -> None:
        self.words[entry.vm] = (entry.to, *words)
        self.is_in(entry.vm, Phase.PREPARE)

    def adopt(self, entry: Entry) -> None:
        self.is_in(entry.vm, Phase.PREPARE)

    def is_in(self, vm: str, phase: Phase) -> None:
        self.progress[vm] = Progress(0.0, 0.0, phase)

    def ended(self) -> Iterator[tuple[str, Pretended]]:
        for vm, final in [*self.ends.items()]:
            del self.progress[vm], self.ends[vm]
            yield vm, Pretended(final)

    def ask(self, parts: Parts, quick: object = ()) -> None:
        self.parts = parts

    async def cancel(self, vm: str) -> None:
        self.cancelled.add(vm)

    async def release(self, vm: str) -> bool:
        self.released.append(vm)
        return await self.answer


@define(eq=False)
class Calls:
    """The hooks: which were called for which VM; each lasts until the test ends it, and those that refuse fail then."""

    made: list[tuple[Hook, str]] = field(factory=list)
    under_way: Deferred[None] = field(factory=Deferred)
    refuse: set[tuple[Hook, str]] = field(factory=set)

    async def call(self, hook: Hook, told: Mapping[str, str]) -> None:
        self.made.append((hook, told["NBDTUN_VM"]))
        await self.under_way
        if (hook, told["NBDTUN_VM"]) in self.refuse:
            raise HookFailed("the balancer says no")


class Stage:
    """An engine on the stage."""

    def __init__(self, journal: Journal, terms: Terms) -> None:
        self.clock, self.crew, self.journal = Clock(), Pretence(), journal
        self.seen: list[Overview] = []
        nobody = cast(Any, None)
        self.hooks, self.book = Calls(), Book(journal, terms)
        self.hooks.under_way.callback(None)
        aftermath = Aftermath(self.book, cast(Any, self.hooks), nobody, lambda line: None)
        self.engine = Engine(cast(Any, self.clock), self.book, cast(Any, self.crew), aftermath, self.seen.append, lambda line: None)
        self.run = Deferred.fromCoroutine(self.engine.run())

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock.advance(TICK)

    def are_in(self, phase: Phase, *vms: str) -> None:
        for vm in vms:
            self.crew.is_in(vm, phase)
        self.tick(2)

    def ends(self, vm: str, phase: Phase, code: str | None = None) -> None:
        self.crew.ends[vm] = Progress(0.0, 0.0, phase, error=code, code=code)
        self.tick(2)

    def states(self) -> dict[str, State]:
        return {entry.vm: entry.state for entry in self.journal.entries()}
