"""
The source's side of the disks: one mirror job a disk, onto an NBD node that reaches the destination through the tunnel.

QEMU facts (7.2 and 10.0):

- ``blockdev-add`` of an NBD node blocks QEMU's monitor during the handshake; so the tunnel must close the socket at once when the
  far side fails.
- ``block-job-cancel`` without force, on a mirror that is ready, copies the rest and ends without pivoting: BLOCK_JOB_COMPLETED.
  With force it drops all requests in flight, even while the connection waits to be made again: BLOCK_JOB_CANCELLED. ``job-complete``
  would move the *source* onto the target; it is never used.
- A job that fails also ends with BLOCK_JOB_COMPLETED, with an ``error`` in it. The node can be deleted only once the job is gone:
  JOB_STATUS_CHANGE ``null``.
- ``blockdev-del`` flushes, and a flush on a broken connection waits for ``reconnect-delay``, which blocks QEMU's main loop and so the
  guest. ``yank`` ends that: it fails all requests that wait for the node, and is executed out of band, even while the monitor is busy.
- That is so only while the node is connected: the node registers with ``yank`` when a connection stands, and not while it dials again
  (block/nbd.c, ``nbd_reconnect_attempt``). So a node must be yanked before QEMU hears of the loss. Afterwards, all that drains the
  disks waits for the rest of ``reconnect-delay``: ``stop``, and before 9.1 the end of each migration of the memory (``bdrv_drain_all`` in
  migration/block.c, ``block_migration_cleanup``).
- An empty image makes a job of length 0.
- Where the target may hold data, and an NBD node may, a mirror first writes zeroes over all of it, and its ``offset`` stays 0;
  the node's ``wr_highest_offset`` (``query-blockstats``) grows meanwhile.
- ``copy-mode=write-blocking`` makes the guest's writes wait for the target; ``block-job-change`` (8.2) sets it on a running job.
- ``detect-zeroes=unmap`` with ``discard=unmap`` on the NBD node keep sparse images sparse.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from nbdtun.deferreds import gather, together, with_timeout
from nbdtun.errors import CommandFailed, MirrorFailed, MonitorError, MonitorLost
from nbdtun.migration.carrier import Ingress, with_trouble
from nbdtun.migration.ids import PREFIX
from nbdtun.migration.qmp.events import Event
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.undo import UndoStack
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.exports import nodes
from nbdtun.states import Life, Transitions

EVENTS = ("BLOCK_JOB_READY", "BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED", "JOB_STATUS_CHANGE")
AGAIN_SECONDS = 0.1
#: QEMU answers it out of band, even if its main loop is busy; if not, it is stopped.
YANK_SECONDS = 2.0

_CHANGE = "block-job-change"
_WRITE_BLOCKING = "write-blocking"


class State(enum.Enum):
    """A mirror's life."""

    NEW = "new"
    COPYING = "copying"
    READY = "ready"
    DRAINING = "draining"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"


class Trigger(enum.Enum):
    """What can happen to a mirror: our own steps, and QEMU's events about its job."""

    START = "start"
    READY = "ready"
    DRAIN = "drain"
    CANCEL = "cancel"
    COMPLETED = "completed"  # the job, without an error
    CANCELLED = "cancelled"  # the same
    BROKEN = "broken"  # the job has ended with an error


_FAILS: Final = dict.fromkeys((Trigger.COMPLETED, Trigger.CANCELLED, Trigger.BROKEN), State.FAILED)

TRANSITIONS: Final = Transitions(
    State.NEW,
    {
        State.NEW: {Trigger.START: State.COPYING, Trigger.CANCEL: State.CANCELLING, **_FAILS},
        State.COPYING: {Trigger.READY: State.READY, Trigger.CANCEL: State.CANCELLING, **_FAILS},
        State.READY: {Trigger.DRAIN: State.DRAINING, Trigger.CANCEL: State.CANCELLING, **_FAILS},
        State.DRAINING: {Trigger.CANCEL: State.CANCELLING, **_FAILS, Trigger.COMPLETED: State.DONE},
        State.CANCELLING: {Trigger.COMPLETED: State.DONE, Trigger.CANCELLED: State.DONE},
        State.DONE: {},
        State.FAILED: {Trigger.START: State.FAILED, Trigger.DRAIN: State.FAILED, Trigger.CANCEL: State.CANCELLING, **_FAILS},
    },
    impossible={Trigger.START, Trigger.DRAIN},
    ignored={Trigger.READY, Trigger.CANCEL, Trigger.COMPLETED, Trigger.CANCELLED, Trigger.BROKEN},
)


class Mirror:
    """
    The copying of one disk to its export ``name``, which names the node and the job as well.

    ``alarm`` is called with MirrorFailed when the job ends unexpectedly.
    """

    def __init__(
        self, monitor: Monitor, clock: IReactorTime, disk: Disk, name: str, ingress: Ingress, alarm: Callable[[Exception], None]
    ) -> None:
        self.disk = disk
        self.name = name
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self.write_blocking = False
        self._speed = 0
        self._severed = False
        self._life = Life(TRANSITIONS)
        self._monitor = monitor
        self._clock = clock
        self._ingress = ingress
        self._alarm = alarm

    def __repr__(self) -> str:
        return f"<Mirror {self.name} of {self.disk.nickname} {self._life.state.value}>"

    async def start(self, undo: UndoStack, settings: MigrationSettings, speed: int) -> None:
        """
        Connect to the export and begin to copy; ``speed`` is in bytes per second, 0 for no limit.

        QEMU waits for the connection, and so does its guest, at most for the settings' limit.

        :raise MirrorFailed: QEMU refused; if the tunnel failed, the text says why.
        """
        self._speed = speed
        undo.push(f"cancel the mirror of {self.disk.nickname}, {self.name}", self.cancel)
        try:
            await self._monitor.execute("blockdev-add", self._node(settings.reconnect_delay), seconds=settings.steps.connect)
            self._life.advance(Trigger.START)
            await self._monitor.execute("blockdev-mirror", self._job())
        except CommandFailed as error:
            raise self._failure(str(error)) from error

    def _node(self, reconnect_delay: int) -> Mapping[str, Any]:
        return {
            "driver": "nbd",
            "node-name": self.name,
            "server": {"type": "unix", "path": self._ingress.path},
            "export": self.name,
            "reconnect-delay": reconnect_delay,
            "discard": "unmap",
            "detect-zeroes": "unmap",
        }

    def _job(self) -> Mapping[str, Any]:
        mode = {"copy-mode": _WRITE_BLOCKING} if self.write_blocking else {}
        return {"job-id": self.name, "device": self.disk.node, "target": self.name, "sync": "full", "speed": self._speed, **mode}

    async def block_writes(self) -> None:
        """From now on the guest's writes wait until they are at the destination too; this cannot be undone."""
        self.write_blocking = True
        await self._monitor.execute(_CHANGE, {"id": self.name, "type": "mirror", "copy-mode": _WRITE_BLOCKING})

    async def set_speed(self, speed: int) -> None:
        """Copy at ``speed`` bytes per second from now on, 0 for no limit."""
        if speed != self._speed and self._life.state in (State.COPYING, State.READY, State.DRAINING):
            self._speed = speed
            with suppress(CommandFailed):  # it has just ended
                await self._monitor.execute("block-job-set-speed", {"device": self.name, "speed": speed})

    def hear(self, event: Event) -> None:
        """An event of any block job; ours are handled."""
        if event.data.get("device", event.data.get("id")) != self.name:
            return
        if event.name == "BLOCK_JOB_READY":
            self._became_ready()
        elif event.name == "JOB_STATUS_CHANGE":
            if event.data.get("status") == "null":
                self._end()
        else:
            self._concluded(event)

    def _became_ready(self) -> None:
        if self._life.advance(Trigger.READY):
            self.ready.callback(None)

    def _concluded(self, event: Event) -> None:
        error = event.data.get("error")
        ended = Trigger.COMPLETED if event.name == "BLOCK_JOB_COMPLETED" else Trigger.CANCELLED
        self._life.advance(ended if error is None else Trigger.BROKEN)
        if self._life.state is State.FAILED:
            reason = "its connection was closed at the destination" if self._severed else error
            self._alarm(self._failure(reason or "its job was ended by another tool"))

    def _failure(self, reason: str) -> MirrorFailed:
        return MirrorFailed(f"disk {self.disk.nickname}: {with_trouble(reason, self._ingress)}")

    def _end(self) -> None:
        if not self.ended.called:
            self.ended.callback(None)

    async def drain(self, seconds: float | None) -> None:
        """
        Copy the rest, which must not grow any more (the guest is paused). The job is gone then; :meth:`remove` is for the node.

        :raise MirrorFailed: it failed, and then the alarm rings as well; or it was not done within ``seconds`` (None: no limit).
        """
        self._life.advance(Trigger.DRAIN)
        await self._monitor.execute("block-job-cancel", {"device": self.name, "force": False})
        await with_timeout(self._clock, seconds, self.ended, lambda: self._failure(f"the last writes did not arrive within {seconds:g} s"))
        if self._life.state is not State.DONE:
            raise self._failure("its last writes were lost")

    async def remove(self) -> None:
        """Remove the node from QEMU, if it is there; the job must be gone. Cut off first, it is not flushed again for a round trip."""
        await self.sever()
        try:
            await self._monitor.execute("blockdev-del", {"node-name": self.name})
        except CommandFailed:
            if self.name in await nodes(self._monitor):
                raise

    async def sever(self) -> None:
        """Let all that waits for its connection fail now, and do not connect again. It is of no use while QEMU dials already."""
        self._severed = True
        with suppress(MonitorError):
            await yank(self._monitor, self.name, YANK_SECONDS)

    async def cancel(self) -> None:
        """Cancel it, in any state; safe to repeat."""
        self._life.advance(Trigger.CANCEL)
        await discard(self._monitor, self._clock, self.name)


async def discard(monitor: Monitor, clock: IReactorTime, name: str) -> None:
    """
    Remove the job and the node ``name`` from QEMU, if they exist, whatever they are doing.

    The cancellation is repeated: the job may wait for a connection that broke after the first one.
    """
    await yank(monitor, name)
    while name in await jobs(monitor):
        with suppress(CommandFailed):  # it has just ended by itself
            await monitor.execute("block-job-cancel", {"device": name, "force": True})
        await deferLater(clock, AGAIN_SECONDS)
    if name in await nodes(monitor):
        await monitor.execute("blockdev-del", {"node-name": name})


async def yank(monitor: Monitor, name: str, seconds: float | None = None) -> None:
    """Let all requests fail that wait for the connection of the NBD node ``name``, if there is such a node; ``seconds`` for the answer."""
    with suppress(CommandFailed):  # there is no such node, or none yet
        await monitor.execute("yank", {"instances": [{"type": "block-node", "node-name": name}]}, seconds=seconds, urgent=True)


async def jobs(monitor: Monitor) -> frozenset[str]:
    """The names of all jobs."""
    return frozenset(str(job["id"]) for job in await monitor.execute("query-jobs"))


async def can_change_mode(monitor: Monitor) -> bool:
    """Whether QEMU supports :meth:`Mirror.block_writes` on a running mirror."""
    return await monitor.has(_CHANGE)


async def written_up_to(monitor: Monitor, seconds: float) -> int:
    """How far our mirrors have written, in bytes of all disks together; only this grows while targets are zeroed."""
    stats = await monitor.execute("query-blockstats", {"query-nodes": True}, seconds=seconds)
    return sum(node["stats"]["wr_highest_offset"] for node in stats if str(node.get("node-name")).startswith(PREFIX))


async def sweep(monitor: Monitor, clock: IReactorTime) -> list[str]:
    """Remove the jobs and nodes that a killed migration has left; returns their names."""
    left = sorted(name for name in await jobs(monitor) | await nodes(monitor) if name.startswith(PREFIX))
    for name in left:
        await discard(monitor, clock, name)
    return left


class Mirrors:
    """All disks of one migration, in parallel."""

    def __init__(self, monitor: Monitor, mirrors: Iterable[Mirror]) -> None:
        self._monitor = monitor
        self._mirrors = tuple(mirrors)
        self._hearing: Deferred[None] | None = None

    def __repr__(self) -> str:
        return f"<Mirrors {self._mirrors}>"

    def __iter__(self) -> Iterator[Mirror]:
        return iter(self._mirrors)

    def __len__(self) -> int:
        return len(self._mirrors)

    async def start(self, undo: UndoStack, settings: MigrationSettings, speed: int) -> None:
        """Start all, each at ``speed`` bytes per second."""
        undo.push("stop listening to the mirrors", self._stop_hearing)
        self._hearing = Deferred.fromCoroutine(self._hear())
        for mirror in self._mirrors:
            await mirror.start(undo, settings, speed)

    async def _hear(self) -> None:
        with self._monitor.listen(*EVENTS) as events:
            try:
                while True:
                    event = await events.next()
                    for mirror in self._mirrors:
                        mirror.hear(event)
            except MonitorLost:
                return  # the monitor itself reports its loss

    async def _stop_hearing(self) -> None:
        if self._hearing is not None:
            self._hearing.addErrback(lambda _: None)
            self._hearing.cancel()

    async def set_speed(self, speed: int) -> None:
        """Let each copy at ``speed`` bytes per second from now on, 0 for no limit."""
        for mirror in self._mirrors:
            await mirror.set_speed(speed)

    async def ready(self) -> None:
        """Wait until all disks are in sync, and stay so; lasts as long as the data does."""
        await gather(mirror.ready for mirror in self._mirrors)

    async def sever(self) -> None:
        """See :meth:`Mirror.sever`; all at once."""
        await together(*(mirror.sever() for mirror in self._mirrors))

    async def cancel(self) -> None:
        """
        Cancel all of them.

        Do this before the memory's migration is cancelled: that may end the destination QEMU, and a connection that breaks at that
        moment holds up the jobs, and with them everything that drains the disks.
        """
        await together(*(mirror.cancel() for mirror in self._mirrors))

    async def drain(self, seconds: float | None) -> None:
        """See :meth:`Mirror.drain`."""
        await together(*(mirror.drain(seconds) for mirror in self._mirrors))
        await self._stop_hearing()

    async def remove(self) -> None:
        """See :meth:`Mirror.remove`; afterwards nothing of ours is left in the source QEMU's block layer. Safe to repeat."""
        await together(*(mirror.remove() for mirror in self._mirrors))
