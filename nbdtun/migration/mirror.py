"""
The source's side of the disks: one mirror job a disk, onto an NBD node that reaches the destination through the tunnel.

QEMU facts (7.2 and 10.0):

- ``blockdev-add`` of an NBD node blocks QEMU's monitor while it shakes hands; so the tunnel must close the socket at once when the
  far side fails.
- ``block-job-cancel`` without force, on a mirror that is ready, copies what is left and ends without pivoting: BLOCK_JOB_COMPLETED.
  With force it drops what is in flight, also when the connection is waiting to be made again: BLOCK_JOB_CANCELLED. ``job-complete``
  would move the *source* onto the target; it is never used.
- A job that fails also ends with BLOCK_JOB_COMPLETED, with an ``error`` in it. The node can be deleted only once the job is gone:
  JOB_STATUS_CHANGE ``null``.
- An empty image makes a job of length 0.
- ``detect-zeroes=unmap`` with ``discard=unmap`` on the NBD node keep sparse images sparse.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nbdtun.errors import CommandFailed, MirrorFailed, MonitorLost
from nbdtun.migration.carrier import Entrance
from nbdtun.migration.disks import Disk
from nbdtun.migration.events import Event
from nbdtun.migration.exports import nodes
from nbdtun.migration.monitor import Monitor
from nbdtun.migration.undo import UndoStack
from nbdtun.migration.waits import every, in_time

EVENTS = ("BLOCK_JOB_READY", "BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED", "JOB_STATUS_CHANGE")


class State(enum.Enum):
    """A mirror's life; a step to the right, or to FAILED."""

    NEW = "new"
    COPYING = "copying"
    READY = "ready"
    DRAINING = "draining"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"


class Mirror:
    """
    The copying of one disk to its export ``name``, which names the node and the job as well.

    ``alarm`` is called with MirrorFailed when the job ends in a way that was not asked for.
    """

    def __init__(self, monitor: Monitor, disk: Disk, name: str, entrance: Entrance, alarm: Callable[[Exception], None]) -> None:
        self.disk = disk
        self.name = name
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._state = State.NEW
        self._monitor = monitor
        self._entrance = entrance
        self._alarm = alarm

    def __repr__(self) -> str:
        return f"<Mirror {self.name} of {self.disk.nickname} {self._state.value}>"

    async def start(self, undo: UndoStack, reconnect_delay: int, speed: int) -> None:
        """
        Connect to the export and begin to copy; ``speed`` is in bytes per second, 0 for as fast as it goes.

        :raise MirrorFailed: QEMU refused; the text says why the tunnel failed, where it did.
        """
        undo.push(f"remove the block node {self.name}", self._remove)
        try:
            await self._monitor.execute("blockdev-add", self._node(reconnect_delay))
            undo.push(f"cancel the mirror of {self.disk.nickname}", self._cancel)
            self._state = State.COPYING
            await self._monitor.execute("blockdev-mirror", self._job(speed))
        except CommandFailed as error:
            raise self._failure(str(error)) from error

    def _node(self, reconnect_delay: int) -> Mapping[str, Any]:
        return {
            "driver": "nbd",
            "node-name": self.name,
            "server": {"type": "unix", "path": self._entrance.path},
            "export": self.name,
            "reconnect-delay": reconnect_delay,
            "discard": "unmap",
            "detect-zeroes": "unmap",
        }

    def _job(self, speed: int) -> Mapping[str, Any]:
        return {"job-id": self.name, "device": self.disk.node, "target": self.name, "sync": "full", "speed": speed}

    def hear(self, event: Event) -> None:
        """An event of a block job, of whichever."""
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
        if self._state is State.COPYING:
            self._state = State.READY
            self.ready.callback(None)

    def _concluded(self, event: Event) -> None:
        error = event.data.get("error")
        if error is None and self._state in (State.DRAINING, State.CANCELLING) and self._is_expected(event.name):
            self._state = State.DONE
        elif self._state is not State.CANCELLING:
            self._state = State.FAILED
            self._alarm(self._failure(error or "its job was ended by somebody else"))

    def _is_expected(self, name: str) -> bool:
        return self._state is State.CANCELLING or name == "BLOCK_JOB_COMPLETED"

    def _failure(self, reason: str) -> MirrorFailed:
        trouble = self._entrance.trouble
        return MirrorFailed(f"disk {self.disk.nickname}: {reason}{f'; in the tunnel: {trouble}' if trouble else ''}")

    def _end(self) -> None:
        if not self.ended.called:
            self.ended.callback(None)

    async def drain(self, clock: IReactorTime, seconds: float) -> None:
        """
        Copy what is left, which must not grow any more (the guest is paused), and take everything of ours out of QEMU.

        :raise MirrorFailed: it was not done within ``seconds``; if it failed, the alarm rings as well.
        """
        self._state = State.DRAINING
        await self._monitor.execute("block-job-cancel", {"device": self.name, "force": False})
        late = f"the last writes did not reach the destination within {seconds:g} s"
        await in_time(clock, seconds, self.ended, lambda: self._failure(late))
        if self._state is not State.DONE:
            raise self._failure("its last writes were lost")
        await self._monitor.execute("blockdev-del", {"node-name": self.name})

    async def _cancel(self) -> None:
        self._state = State.CANCELLING if self._state is not State.DONE else State.DONE
        while self.name in {job["id"] for job in await self._monitor.execute("query-jobs")}:
            self.ended = Deferred()
            try:
                await self._monitor.execute("block-job-cancel", {"device": self.name, "force": True})
            except CommandFailed:
                continue  # it has just ended by itself
            await self.ended

    async def _remove(self) -> None:
        if self.name in await nodes(self._monitor):
            await self._monitor.execute("blockdev-del", {"node-name": self.name})


class Mirrors:
    """All disks of one migration, in parallel."""

    def __init__(self, monitor: Monitor, clock: IReactorTime, mirrors: Iterable[Mirror]) -> None:
        self._monitor = monitor
        self._clock = clock
        self._mirrors = tuple(mirrors)
        self._hearing: Deferred[None] | None = None

    def __repr__(self) -> str:
        return f"<Mirrors {self._mirrors}>"

    async def start(self, undo: UndoStack, reconnect_delay: int, bandwidth: int | None) -> None:
        """Start all, each with its share of ``bandwidth`` (bytes per second)."""
        undo.push("stop listening to the mirrors", self._stop_hearing)
        self._hearing = Deferred.fromCoroutine(self._hear())
        speed = max(1, bandwidth // len(self._mirrors)) if bandwidth and self._mirrors else 0
        for mirror in self._mirrors:
            await mirror.start(undo, reconnect_delay, speed)

    async def _hear(self) -> None:
        with self._monitor.listen(*EVENTS) as events:
            try:
                while True:
                    event = await events.next()
                    for mirror in self._mirrors:
                        mirror.hear(event)
            except MonitorLost:
                return  # the monitor tells everybody itself

    async def _stop_hearing(self) -> None:
        if self._hearing is not None:
            self._hearing.addErrback(lambda _: None)
            self._hearing.cancel()

    async def ready(self) -> None:
        """Wait until every disk is the same at both ends, and kept so from then on; lasts as long as the data does."""
        await every(mirror.ready for mirror in self._mirrors)

    async def drain(self, seconds: float) -> None:
        """See :meth:`Mirror.drain`; afterwards nothing of ours is left in the source QEMU's block layer."""
        await every(Deferred.fromCoroutine(mirror.drain(self._clock, seconds)) for mirror in self._mirrors)
        await self._stop_hearing()
