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
from nbdtun.evacuation.budget import Parts
from nbdtun.evacuation.values import Entry
from nbdtun.logs import make_logger
from nbdtun.migration.progress import Phase, Progress
from nbdtun.process import Reactor
from nbdtun.service.control.client import ask_by_name
from nbdtun.service.control.commands import YIELD_SECONDS, Cancel, Set, Status, Yield
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

#: The bandwidth of a process that another engine may have told, or an operator.
UNKNOWN: Final = -1

#: Seconds after which a process is told again to give way: it does so no longer than that by itself.
AGAIN: Final = YIELD_SECONDS / 3


@define(eq=False)
class Hand:
    """
    A process, the name of its control socket, what it reported last, and the bandwidth that it has as far as we know. ``wish`` is the one
    that an operator has told it, 0 for none. It ``yields`` to others as far as it was told at the time ``told``, 0 for not at all. It was
    ``asked`` last, and has ``answered`` last, at these times of the reactor's; ``heard``: it has answered once. ``rate`` is what its link
    has carried of late, in bytes per second. ``asking`` and ``cancelling``: a question, or a request to roll back, is under way.
    """

    child: Child
    name: Name
    progress: Progress
    bandwidth: int = UNKNOWN
    wish: int = 0
    yields: int = 0
    told: float = -math.inf
    rate: float = 0.0
    heard: bool = False
    asked: float = -math.inf
    answered: float = -math.inf
    asking: bool = False
    cancelling: bool = False


def _differs(part: int, told: int) -> bool:
    """Whether a process that was told so many bytes per second is to be told ``part``."""
    return abs(part - told) * COARSE > told


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

    def ask(self, parts: Parts, quick: Collection[str] = ()) -> None:
        """
        Ask for their progress those whose time has come, and tell each its part of the bandwidth; the answers come later. The ``quick`` are
        asked more often.

        One that does not answer has just begun, or is about to end; one that was stopped keeps nobody waiting.
        """
        now = self._reactor.seconds()
        self.line = max(round(sum(hand.rate for hand in self._hands.values())), round(self.line * FADING))
        for vm, hand in self._hands.items():
            share, yields = parts.shares.get(vm, 0), parts.yields.get(vm, 0)
            presses = vm in quick or (hand.progress.phase is Phase.MIRROR and _differs(yields, hand.yields))
            if not hand.asking and now - hand.asked >= (QUICK if presses else PACE):
                hand.asking, hand.asked = True, now
                Deferred.fromCoroutine(self._ask(vm, hand, share, yields))

    async def _ask(self, vm: str, hand: Hand, share: int, yields: int) -> None:
        try:
            told = await self._say(vm, hand, Status)
            if told is None:
                return
            hand.heard, hand.answered = True, self._reactor.seconds()
            self._heed(hand, Progress.from_json(told.get("progress", {})))
            await self._share(vm, hand, share, told)
            await self._yield(vm, hand, yields)
        except NbdtunError as error:
            self.log.warn("{vm}: {reason}", vm=vm, reason=str(error))
        finally:
            hand.asking = False

    async def _share(self, vm: str, hand: Hand, share: int, told: Mapping[str, Any]) -> None:
        """Tell it its share of the bandwidth, or what an operator has told it, if that is less; ``told`` is its report."""
        if "bandwidth" not in told:  # it has not begun, or has nothing to change any more
            return
        has = told["bandwidth"] or 0
        if has != hand.bandwidth:
            hand.wish = 0 if hand.bandwidth == UNKNOWN and share else has
            hand.bandwidth = has
        part = min(share or hand.wish, hand.wish or share)
        if _differs(part, has):
            heard = await self._say(vm, hand, Set, bandwidth=part) is not None
            hand.bandwidth = part if heard else UNKNOWN

    async def _yield(self, vm: str, hand: Hand, yields: int) -> None:
        """Have it give way: told again and again, as it ends that by itself when this engine is killed."""
        late = yields and self._reactor.seconds() - hand.told >= AGAIN
        if (late or _differs(yields, hand.yields)) and await self._say(vm, hand, Yield, bandwidth=yields) is not None:
            hand.yields, hand.told = yields, self._reactor.seconds()

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
