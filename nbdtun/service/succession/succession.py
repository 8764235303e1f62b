"""
A process among the programs of its daemon: it takes the place of the one before it, and gives it to the one after it.

The port is always open: each process holds the listening sockets, and one of them accepts. So a new program that fails to start, or is
killed later, costs nothing: the one before it accepts again. A process that was replaced ends when it has nothing left: no channel, no
session, no ended channel that its source may ask for, and no process before it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from nbdtun.deferreds import with_timeout
from nbdtun.errors import LinkLost, MigrationError, NbdtunError, TunnelError
from nbdtun.logs import make_logger
from nbdtun.ownership.reach import peer
from nbdtun.process import Reactor, adopt, quiet_factory
from nbdtun.service.control.changes import Changes, Kept
from nbdtun.service.control.daemon import Subject
from nbdtun.service.local import heritage
from nbdtun.service.local.listening import ListeningService
from nbdtun.service.succession.earlier import Earlier
from nbdtun.service.succession.later import Later
from nbdtun.service.succession.lines import introduce
from nbdtun.service.succession.place import Replaceable, Running, Surroundings
from nbdtun.units import duration_text

#: Seconds for a new program to take over.
START_SECONDS: Final = 30.0

#: Seconds for all processes to take what the daemon is told; the command waits for longer.
OBEY_SECONDS: Final = 6

#: Seconds between two looks at whether anything is left.
LOOK: Final = 1.0


class Succession(Service):
    """
    The place of ``daemon``, which has these ``listeners`` at present. ``link`` leads to the process before this one; None where there is
    none.
    """

    log = make_logger()

    def __init__(
        self,
        reactor: Reactor,
        daemon: Replaceable,
        listeners: Callable[[], Sequence[ListeningService]],
        around: Surroundings,
        link: socket.socket | None = None,
    ) -> None:
        self._reactor = reactor
        self._daemon = daemon
        self._all_listeners = listeners
        self._lost: set[str] = set()
        self._around = around
        self._link = link
        self._later: Later | None = None
        self._looking: LoopingCall | None = None
        self._limit: IDelayedCall | None = None
        self._starting: Running | None = None
        self._accepting = True
        self.subject: Subject | None = None

    def __repr__(self) -> str:
        return f"<Succession, {'accepting' if self._accepting else 'holding'}>"

    # Taking over.

    def startService(self) -> None:
        """Take the place of the process before this one, if there is one."""
        super().startService()
        if self._link is None:
            return
        self.hold()
        with self._link as link:
            earlier = Earlier(self._reactor, self._daemon.counted, peer(link).pid)
            adopt(self._reactor, link, quiet_factory(lambda: earlier))
        self._follow(earlier)
        Deferred.fromCoroutine(self._take_over(earlier)).addErrback(
            lambda failure: self._around.fail(LinkLost(f"it could not take over: {failure.getErrorMessage()}"))
        )

    def _follow(self, earlier: Earlier) -> None:
        """It is the process before this one."""
        self._daemon.follow(earlier)
        earlier.when_lost().addCallback(lambda _: self._bereaved(earlier))
        self._introduce()

    def _bereaved(self, earlier: Earlier) -> None:
        """It has ended; if it was killed, the one before it goes on."""
        if self.running and (elder := earlier.take_elder()) is not None:
            self._follow(elder)
            Deferred.fromCoroutine(elder.succeed(self._daemon.encrypted)).addErrback(lambda _: elder.hang_up())

    def _introduce(self) -> None:
        """Let the processes before and after this one know each other: this one may be killed."""
        earlier, later = self._daemon.earlier, self._later
        if earlier is not None and later is not None and self._daemon.replaced_by is not None:
            Deferred.fromCoroutine(introduce(earlier, later)).addErrback(self._not_introduced)

    def _not_introduced(self, failure: Failure) -> None:
        self.log.debug("the programs before and after this one do not know each other: {reason}", reason=failure.getErrorMessage())

    async def _take_over(self, earlier: Earlier) -> None:
        try:
            if self._daemon.fixed:
                raise LinkLost(self._daemon.fixed)
            kept, ports = await earlier.succeed(self._daemon.encrypted)
            for label in heritage.left(ports):
                self._daemon.keep_port(label)
        except NbdtunError as error:
            self.log.error("the new program does not take over: {reason}", reason=error.line, code=error.code)
            self._around.fail(error)
            return
        self._accept()
        heritage.renounce()
        self._daemon.took_over()
        earlier.begun([each.label for each in self._listeners])
        self.log.info("took over: what the program before this one has goes on there")
        await self._go_on(kept)

    async def _go_on(self, kept: Kept) -> None:
        """All processes go on with what was set by hand, and with the files as they are now."""
        try:
            if self.subject is not None:
                self.subject.go_on(kept)
        except NbdtunError as error:
            self.log.warn("what was set at the program before this one is not taken: {reason}", reason=error.line, code=error.code)
        for line in await self.tell(Changes(file=True)):
            self.log.warn("{line}", line=line)

    # What the daemon is told.

    @property
    def replaced_by(self) -> int | None:
        """The process that has taken over from this one."""
        return self._daemon.replaced_by

    @property
    def kept(self) -> Kept:
        """What was set by hand."""
        return Kept() if self.subject is None else self.subject.kept

    async def tell(self, changes: Changes, within: int = OBEY_SECONDS) -> list[str]:
        """Tell the processes before this one; return a line for each that has not taken it. It takes so many seconds at most."""
        earlier = self._daemon.earlier
        return [] if earlier is None else await earlier.obey(changes, within)

    async def obey(self, changes: Changes, within: int) -> list[str]:
        """Take what the process after this one was told, and tell those before, so that it hears of the one that hangs."""
        missed = [] if self.subject is None else await self.subject.obey(changes)
        return missed + await self.tell(changes, max(1, within - 1))

    # Giving it away.

    async def replace(self, seconds: float | None = None) -> dict[str, Any]:
        """
        Start the program again, as it is now on disk, and give it the place; return the ``successor``, its process id.

        What is under way stays here until it ends; after ``seconds``, if any are given, as at a shutdown.

        :raise MigrationError: it cannot be replaced, or the new program does not take over; then nothing has changed.
        """
        if self._later is not None:
            by = self._daemon.replaced_by
            raise MigrationError("this program is being replaced" if by is None else "this program was replaced", f"ask @{by}" * bool(by))
        if self._daemon.fixed:
            raise MigrationError(self._daemon.fixed, "restart the daemon")
        self._later = later = Later(self._reactor, self, self._daemon)
        try:
            process = self._start(later)
        except OSError as error:
            self._later = None
            raise MigrationError(f"the new program cannot be started: {error.strerror}; nothing has changed") from error
        await self._handed_over(later, process)
        self._replaced(later, process, seconds)
        return {"successor": process.pid}

    def _start(self, later: Later) -> Running:
        """Start it (:exc:`OSError`); what was taken for it is closed, and it ends, if it cannot be reached."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            adopt(self._reactor, ours, quiet_factory(lambda: later))
            kept = {each.label: each.descriptor for each in self._listeners}
            try:
                return self._around.start(theirs, {**kept, heritage.BUCKET: self._daemon.throttle.share()})
            except OSError:
                later.hang_up()
                raise

    async def _handed_over(self, later: Later, process: Running) -> None:
        late = f"the new program has not taken over within {START_SECONDS:g} s"
        self._starting = process
        try:
            await with_timeout(self._reactor, START_SECONDS, later.begun(), lambda: LinkLost(late))
        except TunnelError as error:
            what = late if str(error) == late else "the new program ended before it took over"
            process.kill()
            later.hang_up()
            self._later = None
            self._accept()
            raise MigrationError(f"{what}; nothing has changed", "the daemon's log has its reason") from error
        finally:
            self._starting = None

    def _replaced(self, later: Later, process: Running, seconds: float | None) -> None:
        self._is_replaced(process.pid)
        self._give_up(set(later.listens))
        self._around.main(process.pid)
        self.log.info("replaced by process {pid}, which accepts connections from now on", pid=process.pid)
        later.when_lost().addCallback(lambda _: self._left(later, process.pid))
        self._introduce()
        self._looking = LoopingCall(self._look)
        self._looking.clock = self._reactor
        self._looking.start(LOOK, now=False)
        if seconds is not None:
            self._limit = self._reactor.callLater(seconds, self._late, seconds)

    def _is_replaced(self, by: int | None) -> None:
        """Remember it, and tell the process before this one: if this one is killed, it must not take the place that another one has."""
        self._daemon.replaced_by = by
        if self._daemon.earlier is not None:
            self._daemon.earlier.replaced(by)

    def _give_up(self, kept: set[str]) -> None:
        """Close the listening sockets that the new program, whose options may be other ones, has no use for."""
        for each in self._listeners:
            if each.label not in kept:
                each.alone()
                maybeDeferred(each.stopService).addErrback(lambda _: None)
                self._lost.add(each.label)

    def _late(self, seconds: float) -> None:
        self.log.warn("{time} have passed since this program was replaced: ending what is left", time=duration_text(seconds))
        self._around.leave(False)

    def _look(self) -> None:
        if self._later is not None:
            self._later.tell()
        if self._daemon.finished:
            self.log.info("nothing is left of what this program had: it ends")
            self._around.stop()

    def _left(self, later: Later, pid: int) -> None:
        """The process after this one has ended: in good order with the whole daemon, or it was killed."""
        if later.leaves or not self.running:
            return
        if later.replaced_by is not None:
            self._go_on_without(later, pid, later.replaced_by)
            return
        self._forget()
        self._later = None
        self._is_replaced(None)
        self._around.main(os.getpid())
        self._accept()
        self.log.warn("process {pid}, which had taken over, is gone: this program accepts connections again", pid=pid)

    def _go_on_without(self, later: Later, pid: int, by: int) -> None:
        """It was killed, and ``by`` has its place."""
        self._daemon.replaced_by = by
        if (heir := later.take_heir()) is None:
            how = "what this program has goes on while its links last"
        else:
            how = "from now on they come through process {by}"
            self._later = heir
            heir.when_lost().addCallback(lambda _: self._left(heir, by))
        self.log.warn(f"process {{pid}} is gone, through which lost links came back here: {how}", pid=pid, by=by)

    def _forget(self) -> None:
        if self._looking is not None and self._looking.running:
            self._looking.stop()
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        self._looking = self._limit = None

    def stopService(self) -> None:
        """Stop; the process after this one goes on, unless it has not taken over yet."""
        super().stopService()
        self._forget()
        if self._starting is not None:
            self._starting.kill()
        if self._later is not None:
            self._later.tell()
            self._later.hang_up()

    @property
    def _listeners(self) -> list[ListeningService]:
        return [each for each in self._all_listeners() if each.listens and each.label not in self._lost]

    def give_way(self) -> None:
        """Accept nothing more (:exc:`MigrationError`: this process is shutting down meanwhile, and the daemon with it)."""
        if self._daemon.fixed:
            raise MigrationError(self._daemon.fixed)
        self.hold()

    def hold(self) -> None:
        """Accept nothing more."""
        self._accepting = False
        for each in self._listeners:
            each.hold()

    def _accept(self) -> None:
        if not self._accepting and self.running:
            self._accepting = True
            for each in self._listeners:
                each.go_on()

    def leave(self, *, at_once: bool) -> None:
        """Stop, in good order or at once."""
        self._around.leave(at_once)
