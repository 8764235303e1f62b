"""
The register of a destination's sessions: those under way, and, for a while, those that have ended.

A VM has one session under way at a time. An ended one is remembered so that a source that lost the answer to Finish can ask again.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nbdtun.deferreds import gather, with_timeout
from nbdtun.errors import DestinationFailed
from nbdtun.logs import make_logger
from nbdtun.migration.bond import Bond, Claim
from nbdtun.migration.control.channel import Control
from nbdtun.migration.destination.life import State
from nbdtun.migration.destination.session import Session
from nbdtun.migration.tally import Tally

REMEMBERED = 256

#: What :class:`~nbdtun.migration.progress.Phase` calls the states that a session can be in, and its ends.
PHASES: Final = {
    State.NEW: "prepare",
    State.PREPARING: "prepare",
    State.PREPARED: "mirror",
    State.LISTENING: "ram",
    State.FINISHING: "finish",
    State.FINISHED: "settle",
    State.ABORTING: "rollback",
}
OUTCOMES: Final = {State.FINISHED: "completed", State.ABORTED: "failed", State.UNCERTAIN: "unknown"}
FAREWELL_SECONDS = 5.0

#: The reason of a session that was undone without its source's knowledge: the source prepares it again with the next daemon.
LEFT = "is left to the next daemon"


@frozen
class Entry:
    """A session, the VM that it is for, and the control channel that began it; and when, by the reactor's clock."""

    vm: str
    session: Session
    control: Control
    bond: Bond = field(factory=Bond)
    began: float = 0.0


class Register:
    """Keeps sessions; ``busy`` has the one under way for each VM, ``latest`` the last one, and ``tally`` counts how they ended."""

    log = make_logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self.busy: dict[str, Entry] = {}
        self.latest: dict[str, Session] = {}
        self.tally = Tally()
        self._paused: set[str] = set()  # known sessions whose guests' downtimes are counted
        self._reactor = reactor
        self._known: dict[str, Session] = {}
        self._bonds: dict[str, Bond] = {}
        self._connected: dict[Control, Session] = {}

    def __repr__(self) -> str:
        return f"<Register of {len(self.busy)} sessions under way, {len(self._known)} in all>"

    def __contains__(self, ident: str) -> bool:
        return ident in self._known

    def __len__(self) -> int:
        return len(self._known)

    def add(self, entry: Entry) -> None:
        """Keep a session that begins."""
        session = entry.session
        self._bonds[session.ident] = entry.bond
        self._known[session.ident] = self.latest[entry.vm] = session
        self.busy[entry.vm] = entry
        session.over.addCallback(lambda _: self._over(entry))
        self._connected[entry.control] = session
        entry.control.when_lost().addCallback(lambda _: self._hung_up(entry))
        over = [ident for ident, old in self._known.items() if old.state.over]
        over.sort(key={last.ident for last in self.latest.values()}.__contains__)  # one VM's earlier ones before another's last
        for ident in over[: max(0, len(self._known) - REMEMBERED)]:
            del self._known[ident], self._bonds[ident]
            self._paused.discard(ident)
        for vm in [vm for vm, last in self.latest.items() if last.ident not in self._known]:
            del self.latest[vm]

    def find(self, ident: str, claim: Claim) -> Session | None:
        """The session of that id, for the source that began it; None if there is none, or none any more."""
        return self._known[ident] if ident in self._known and self._bonds[ident].admits(claim) else None

    def last(self, vm: str, claim: Claim) -> Session | None:
        """The latest session of ``vm``, for a source of the same name that has lost its journal."""
        session = self.latest.get(vm)
        return session if session is not None and self._bonds.get(session.ident, Bond()).is_of(claim) else None

    def session(self, ident: str, claim: Claim) -> Session:
        """
        The session of that id, for the source that began it.

        :raise DestinationFailed: there is none, or none any more.
        """
        found = self.find(ident, claim)
        if found is None:
            raise DestinationFailed("the destination does not know this session; its daemon has been restarted")
        return found

    def paused(self, ident: str, claim: Claim, seconds: float) -> None:
        """A source tells for how long the guest of its session stood still; it counts once."""
        session = self.find(ident, claim)
        if session is not None and session.state is State.FINISHED and ident not in self._paused:
            self._paused.add(ident)
            self.tally.downtimes.note(seconds)

    def hurry(self) -> None:
        """Watch no guest any longer that has arrived."""
        for session in self._known.values():
            session.fate.hurry()

    async def settled(self) -> None:
        """Wait for the ends of sessions: until all is cleaned up, and until their sources hang up, which a limit bounds once for each."""
        parting = [control for control, session in self._connected.items() if session.state.over]
        await gather(map(self._farewell, parting))
        for control in parting:  # a killed source never hangs up
            self._connected.pop(control, None)
        for session in tuple(self._known.values()):
            await session.cleaned_up

    def _farewell(self, control: Control) -> Deferred[Any]:
        """A source hangs up when its part is done."""
        return with_timeout(self._reactor, FAREWELL_SECONDS, control.when_lost(), TimeoutError).addErrback(lambda _: None)

    def _over(self, entry: Entry) -> None:
        """Its monitor is free when it is cleaned up."""
        vm, session = entry.vm, entry.session
        session.cleaned_up.addCallback(lambda _: self._free(entry))
        session.cleaned_up.addCallback(lambda _: self._count(entry))
        why = f": {session.reason}" if session.reason else ""
        state = f"{session.state.value}{why}" if session.reason != LEFT else LEFT
        self.log.info("{vm}: session {session} {state}", vm=vm, session=session.ident[:8], state=state)

    def _free(self, entry: Entry) -> None:
        if self.busy.get(entry.vm) is entry:
            del self.busy[entry.vm]

    def _count(self, entry: Entry) -> None:
        """One that is left to the next daemon has not ended."""
        session = entry.session
        if session.reason != LEFT:
            outcome = "lost" if session.fate.lost else OUTCOMES[session.state]
            self.tally.end(outcome, PHASES[session.reached], self._reactor.seconds() - entry.began)

    def _hung_up(self, entry: Entry) -> None:
        if self._connected.get(entry.control) is entry.session:
            del self._connected[entry.control]
