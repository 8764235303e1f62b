"""
The workers of one end: a new channel goes to the one that has the fewest of its kind, and of all.

The channels of one VM are spread that way. A worker that ends takes its channels with it: what was in its memory cannot be known, and is
never guessed. Another takes its place. While there is none, the main process has new channels itself.
"""

from __future__ import annotations

import errno
import pickle
import secrets
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NoReturn

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from nbdtun.deferreds import branch, end_of, gather, together, with_timeout
from nbdtun.errors import NbdtunError
from nbdtun.logs import make_logger
from nbdtun.process import adopt, quiet_factory
from nbdtun.service.workers.hosted import Hosted
from nbdtun.service.workers.lines import Lines
from nbdtun.service.workers.worker import Process, Worker
from nbdtun.tunnel.channels.splice import Farewell
from nbdtun.tunnel.destination.server import Destination
from nbdtun.tunnel.opening.commands import IDENT_SIZE
from nbdtun.tunnel.runtime.runtime import Runtime
from nbdtun.tunnel.settings import labels
from nbdtun.tunnel.source.client import Source

#: Seconds for all workers to begin, before a channel goes to one of those that have.
FIRST: Final = 5.0

#: Seconds until another worker takes the place of one that has ended.
RESTART: Final = 1.0

#: Seconds for a worker to tell its figures, where somebody waits for them.
LOOK: Final = 2.0

#: Seconds between two signs of life that a worker is asked for, and those after which one that gives none is ended.
WATCH, HANGS = 20.0, 60.0

#: How many workers that have ended a report has, and how many of their channels.
REMEMBERED: Final = 8

#: Starts a process that has this end of a pair of sockets.
Start = Callable[[socket.socket], Process]


@frozen
class Workers:
    """So many, in processes that ``start`` makes; ``asked`` for, or because there are cores for them."""

    count: int
    start: Start
    asked: bool = True


def _nobody(_: socket.socket) -> NoReturn:
    raise OSError(errno.EPERM, "there are to be no workers")


NOBODY: Final = Workers(0, _nobody)


class Crew:
    """
    ``workers`` of the end whose ``runtime`` this is, by its ``settings``; there may be none.

    While ``renews`` says so, another takes the place of one that has ended: not in a process that was replaced, whose program's files are
    those of another release by now.
    """

    log = make_logger()

    def __init__(self, runtime: Runtime, settings: object, workers: Workers, renews: Callable[[], bool]) -> None:
        self._runtime = runtime
        self._settings = pickle.dumps(settings) if workers.count else b""
        self._count = workers.count
        self._spare = 0
        self._start = workers.start
        self._renews = renews
        self._lines = Lines(runtime.line_limit, runtime.reactor.seconds)
        self._first: Deferred[Any] | None = None
        self._watching = LoopingCall(self._watch)
        self._watching.clock = runtime.reactor
        self._later: set[IDelayedCall] = set()
        self._closed = False
        self._gone: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        self.workers: list[Worker] = []

    def __repr__(self) -> str:
        return f"<Crew of {self.workers}>"

    @classmethod
    def of(cls, tunnel: Source | Destination, settings: object, workers: Workers | None, renews: Callable[[], bool]) -> Crew:
        """Make the one that has the channels of ``tunnel``; without ``workers``, it has these itself."""
        crew = cls(tunnel.runtime, settings, workers or NOBODY, renews)
        tunnel.hosts = crew if workers is not None else None
        return crew

    def open(self) -> None:
        """Start all workers."""
        if not self._count:
            return
        self._runtime.throttle.heeded.append(self._settle)
        self._spare = self._runtime.spare.share(self._count)
        self._first = Deferred.fromCoroutine(gather([self._enlist() for _ in range(self._count)]))
        self._watching.start(WATCH, now=False)

    def _enlist(self) -> Deferred[None]:
        """Start one; the Deferred fires once it has begun, or will not."""
        try:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                worker = Worker(self._runtime, self._start(theirs), self._lines.write)
                ours.setblocking(False)
                adopt(self._runtime.reactor, ours, quiet_factory(lambda: worker))
        except OSError as error:
            self.log.error("a worker cannot be started: {reason}; trying again", reason=error.strerror)
            self._renew_in(WATCH)
            return succeed(None)
        self.workers.append(worker)
        worker.when_lost().addCallback(lambda _: self._ended(worker))
        return Deferred.fromCoroutine(self._begin(worker))

    async def _begin(self, worker: Worker) -> None:
        try:
            await worker.begin(self._settings, self._spare)
        except (NbdtunError, OSError) as error:
            if not self._closed:
                self.log.error("worker {pid} does not begin: {reason}", pid=worker.pid, reason=str(error))
            worker.refused = True
            worker.hang_up()

    def _ended(self, worker: Worker) -> None:
        names = worker.end()
        if worker in self.workers:
            self.workers.remove(worker)
        if self._closed:
            return
        self._gone.append({"pid": worker.pid, "ended": worker.ending, "channels": names[: self._count * REMEMBERED]})
        with_it = f", and with it {len(names)} channel{'s' * (len(names) > 1)}" if names else ""
        self.log.error("worker {pid} has ended ({how}){with_it}", pid=worker.pid, how=worker.ending, with_it=with_it)
        if self._renews() and not worker.refused:
            self._renew_in(RESTART)

    def _renew_in(self, seconds: float) -> None:
        later = self._runtime.reactor.callLater(seconds, lambda: self._renew(later))
        self._later.add(later)

    def _renew(self, later: IDelayedCall) -> None:
        self._later.discard(later)
        if self._renews():
            self._enlist()

    def _watch(self) -> None:
        """One that hangs is ended, as a service manager ends a daemon that does: its sources would dial in vain until they give up."""
        for worker in self.workers:
            if worker.begun and not worker.watched:
                worker.watched = True
                Deferred.fromCoroutine(worker.look(HANGS)).addBoth(self._heard, worker)

    def _heard(self, answer: object, worker: Worker) -> None:
        worker.watched = False
        if isinstance(answer, Failure):
            worker.hang_up()

    async def _choose(self, target: str, sock: socket.socket) -> Worker | None:
        """The one for a new channel to ``target``, once all have begun for the first time, or take too long; None where there is none."""
        if self._first is not None and not self._first.called:
            try:
                await with_timeout(self._runtime.reactor, FIRST, branch(self._first), TimeoutError)
            except TimeoutError:
                self._first = None
            except BaseException:
                sock.close()
                raise
        kind = _kin(target)

        def load(worker: Worker) -> tuple[int, int]:
            return sum(_kin(each.target) == kind for each in worker.channels.values()), len(worker.channels)

        return min((worker for worker in self.workers if worker.begun), key=load, default=None)

    async def make(self, ident: bytes, target: str, sock: socket.socket, window: int, *, urgent: bool) -> Hosted | None:
        """See :class:`~nbdtun.tunnel.channels.carried.Hosts`."""
        worker = await self._choose(target, sock)
        return None if worker is None else worker.make(ident, sock, target, window, urgent=urgent)

    async def open_channel(
        self, target: str, sock: socket.socket, *, urgent: bool, secret: bytes, session: bytes, farewell: Farewell | None
    ) -> tuple[Hosted, Deferred[object]] | None:
        """See :class:`~nbdtun.tunnel.channels.carried.Hosts`."""
        worker = await self._choose(target, sock)
        ident, about = secrets.token_bytes(IDENT_SIZE), {"secret": secret, "session": session}
        return None if worker is None else worker.open(ident, sock, target, urgent=urgent, farewell=farewell, **about)

    def settle(self, settings: object) -> None:
        """Let all go on with these settings."""
        if self._count:
            self._settings = pickle.dumps(settings)
            self._settle(self._settings)

    def _settle(self, settings: bytes | None = None) -> None:
        for worker in self.workers:
            Deferred.fromCoroutine(worker.settle(settings)).addErrback(self._unsettled, worker)

    def _unsettled(self, failure: Failure, worker: Worker) -> None:
        if not worker.lost:
            self.log.error("worker {pid} keeps its settings: {reason}", pid=worker.pid, reason=failure.getErrorMessage())

    async def look(self) -> None:
        """Let all tell what their channels have done by now; one that hangs is not waited for."""
        with suppress(NbdtunError):
            await together(*(worker.look(LOOK) for worker in self.workers if worker.begun))

    @property
    def report(self) -> list[dict[str, Any]]:
        """The workers, with the names of their channels; and those that have ended lately, with those that they had."""
        there = [{"pid": each.pid, "ended": None, "channels": sorted(one.name for one in each.channels.values())} for each in self.workers]
        return [*there, *self._gone]

    async def close(self) -> None:
        """End all, once they have done what they were told."""
        self._closed = True
        if self._watching.running:
            self._watching.stop()
        for later in self._later:
            later.cancel()
        self._later.clear()
        await self.look()
        for worker in tuple(self.workers):
            worker.hang_up()
        await gather([end_of(worker.when_lost()) for worker in tuple(self.workers)])


def _kin(target: str) -> str:
    """What the targets of one VM have in common: its session; of others, the name."""
    return labels(target, "").get("session", target)
