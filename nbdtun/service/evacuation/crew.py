"""
The processes under way: each migrates one VM, or finds out what became of one. They are started here, or adopted from a process before.

They are asked for their progress, and told what to do, over their control sockets, as any other command does it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import define
from twisted.internet.defer import Deferred

from nbdtun.errors import NbdtunError
from nbdtun.evacuation.values import Entry
from nbdtun.logs import make_logger
from nbdtun.migration.progress import Phase, Progress
from nbdtun.process import Reactor
from nbdtun.service.control.client import ask_by_name
from nbdtun.service.control.commands import Cancel, Set, Status
from nbdtun.service.control.names import Name
from nbdtun.service.evacuation.child import Child
from nbdtun.service.evacuation.places import Places
from nbdtun.service.local.base import base_of

#: A bandwidth that differs from the one before by less than one part of so many is not told.
COARSE: Final = 20

#: Seconds between two questions to a process, and to one that others wait for.
PACE: Final = 0.5
QUICK: Final = 0.1

#: Seconds without a link, and without an answer, after which nobody waits for a VM.
LOST_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 20.0

#: The least seconds between two reports that a rate is measured between.
MEASURED: Final = 0.5

#: The remembered rate of the line fades by this factor at each look, down to what the line carries now.
FADING: Final = 0.99

#: The bandwidth of a process that another engine has told.
UNKNOWN: Final = -1


@define(eq=False)
class Hand:
    """
    A process, the name of its control socket, what it reported last, and the bandwidth that it was told. It was ``asked`` last, and has
    ``answered`` last, at these times of the reactor's; ``heard``: it has answered once. ``rate`` is what its link has carried of late, in
    bytes per second. ``asking`` and ``cancelling``: a question, or a request to roll back, is under way.
    """

    child: Child
    name: Name
    progress: Progress
    bandwidth: int = UNKNOWN
    rate: float = 0.0
    heard: bool = False
    asked: float = -math.inf
    answered: float = -math.inf
    asking: bool = False
    cancelling: bool = False


def _differs(hand: Hand, part: int) -> bool:
    """Whether it is to be told its part of the bandwidth."""
    return abs(part - hand.bandwidth) * COARSE > hand.bandwidth


class Crew:
    """The processes of one evacuation, whose files are in ``folder``. All together have carried ``line`` bytes per second of late."""

    log = make_logger()

    def __init__(self, reactor: Reactor, places: Places, folder: Path) -> None:
        self._reactor = reactor
        self._places = places
        self._folder = folder
        self._base = base_of(places.run_dir)
        self._hands: dict[str, Hand] = {}
        self.line = 0

    def __repr__(self) -> str:
        return f"<Crew of {len(self._hands)}>"

    @property
    def living(self) -> frozenset[str]:
        """The VMs that have a process, which may have ended and not been taken leave of."""
        return frozenset(self._hands)

    @property
    def progress(self) -> Mapping[str, Progress]:
        """What each reported last."""
        return {vm: hand.progress for vm, hand in self._hands.items()}

    @property
    def lost(self) -> frozenset[str]:
        """The VMs whose link is lost at present."""
        return frozenset(vm for vm, hand in self._hands.items() if not hand.progress.link.up)

    @property
    def stuck(self) -> frozenset[str]:
        """Those that have had no link for some time, and those whose process has stopped answering."""
        return frozenset(vm for vm, hand in self._hands.items() if self._is_stuck(hand))

    def _is_stuck(self, hand: Hand) -> bool:
        link = hand.progress.link
        without = max(link.lost_for or 0.0, link.silent_for or 0.0)
        return without >= LOST_SECONDS or (hand.heard and self._reactor.seconds() - hand.answered >= SILENT_SECONDS)

    @property
    def linked(self) -> frozenset[str]:
        """The VMs that have reached their destination, and have a link at present."""
        return frozenset(vm for vm, hand in self._hands.items() if hand.progress.phase is not Phase.PREPARE and hand.progress.link.up)

    def start(self, entry: Entry, *words: str, bandwidth: int = 0) -> None:
        """
        Start the process number ``entry.attempt``, with more ``words``, and a limit in bytes per second (0: none).

        :raise OSError: it cannot be started.
        """
        hand = self._hand(entry)
        hand.bandwidth = bandwidth
        limit = ["--bandwidth", f"{bandwidth}B"] if bandwidth else []
        hand.child.start([*self._places.words(entry.vm, entry.move.place, entry.to), *words, *limit])
        self._hands[entry.vm] = hand

    def adopt(self, entry: Entry) -> None:
        """Take the process of ``entry`` as one of ours, whether it lives or has ended."""
        self._hands[entry.vm] = self._hand(entry)

    def _hand(self, entry: Entry) -> Hand:
        child = Child(self._folder, entry.vm, entry.attempt)
        name = self._places.name(entry.vm, entry.move.place)
        return Hand(child, name, Progress(time=0.0, elapsed=0.0, phase=Phase.PREPARE))

    def ended(self) -> Iterator[tuple[str, Child]]:
        """Those that have ended; they are of the crew no more."""
        for vm, hand in [*self._hands.items()]:
            if not hand.child.alive:
                del self._hands[vm]
                yield vm, hand.child

    def ask(self, parts: Mapping[str, int], quick: Collection[str] = ()) -> None:
        """
        Ask for their progress those whose time has come, and tell each its part of the bandwidth, in bytes per second; the answers come
        later. The ``quick`` are asked more often.

        One that does not answer has just begun, or is about to end; one that was stopped keeps nobody waiting.
        """
        now = self._reactor.seconds()
        self.line = max(round(sum(hand.rate for hand in self._hands.values())), round(self.line * FADING))
        for vm, hand in self._hands.items():
            presses = vm in quick or (hand.progress.phase is Phase.MIRROR and _differs(hand, parts.get(vm, 0)))
            if not hand.asking and now - hand.asked >= (QUICK if presses else PACE):
                hand.asking, hand.asked = True, now
                Deferred.fromCoroutine(self._ask(vm, hand, parts.get(vm, 0)))

    async def _ask(self, vm: str, hand: Hand, part: int) -> None:
        try:
            told = await self._say(vm, hand, Status)
            if told is None:
                return
            hand.heard, hand.answered = True, self._reactor.seconds()
            self._heed(hand, Progress.from_json(told.get("progress", {})))
            if _differs(hand, part) and await self._say(vm, hand, Set, bandwidth=part) is not None:
                hand.bandwidth = part
        except NbdtunError as error:
            self.log.warn("{vm}: {reason}", vm=vm, reason=str(error))
        finally:
            hand.asking = False

    @staticmethod
    def _heed(hand: Hand, progress: Progress) -> None:
        seconds = progress.time - hand.progress.time
        if seconds >= MEASURED:
            hand.rate = max(0, progress.link.sent - hand.progress.link.sent) / seconds
        hand.progress = progress

    async def release(self, vm: str) -> bool:
        """Let a VM that is held switch over now; returns whether its process has heard it."""
        hand = self._hands.get(vm)
        return hand is not None and await self._say(vm, hand, Set, switchover=0) is not None

    async def cancel(self, vm: str) -> None:
        """
        Have a migration rolled back; its process ends when that is done.

        One that has just begun cannot hear it yet, so this is called again as long as it is wanted.
        """
        hand = self._hands.get(vm)
        if hand is None or hand.cancelling:
            return
        hand.cancelling = True
        try:
            await self._say(vm, hand, Cancel)
        finally:
            hand.cancelling = False

    async def _say(self, vm: str, hand: Hand, command: Any, **arguments: int) -> dict[str, Any] | None:
        """Ask a process; None if it does not answer, or refuses."""
        try:
            return await ask_by_name(self._reactor, self._base, hand.name, vm, command, **arguments)
        except NbdtunError as error:
            self.log.debug("{vm}: {reason}", vm=vm, reason=str(error))
            return None
