"""
libvirt's own migration of a domain: one call that lasts until its end, in a thread of its own; and what is asked meanwhile.

libvirt facts (9.0 and 11): ``virDomainGetJobStats`` and ``virDomainGetBlockJobInfo`` are answered during a migration, the latter with an
empty answer while there is no such job. ``virDomainMigrateSetMaxSpeed`` and ``...SetMaxDowntime`` are taken at any time, but only have an
effect once the memory is being sent: the mirrors keep the speed that they began with. ``virDomainAbortJob`` comes too late while the
destination takes over; it fails then, and the call's own end counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

from attrs import field, frozen
from twisted.internet.defer import Deferred

from nbdtun.errors import NbdtunError
from nbdtun.libvirt.connection import Libvirt
from nbdtun.libvirt.near.order import Order, speed
from nbdtun.libvirt.near.survey import BLOCKED, RUNNING

T = TypeVar("T")

#: virDomainJobType: a job without, and with, an end that can be foreseen.
_UNBOUNDED, _BOUNDED = 2, 1
#: virDomainGetJobStatsFlags: those of the last job, which has completed.
_COMPLETED_STATS: Final = 1
#: virDomainEventID: a job has ended; its numbers come along.
_JOB_COMPLETED: Final = 22
#: virDomainUndefineFlagsValues: its NVRAM file stays.
_KEEP_NVRAM: Final = 1 << 3


@frozen
class Seen:
    """
    One look at the job: ``disks`` by their targets, each with the bytes that are copied and all; ``sent`` and ``left`` of the memory.

    ``passes`` is how often QEMU has begun to go over the memory, ``throttle`` the percentage that auto-converge takes from the guest.
    """

    disks: Mapping[str, tuple[int, int]] = field(factory=dict)
    sent: int = 0
    left: int = 0
    passes: int = 0
    throttle: int = 0

    @property
    def in_memory(self) -> bool:
        """Whether the disks are in sync, and the memory is being sent."""
        return self.sent > 0

    @classmethod
    def of(cls, stats: Mapping[str, Any], disks: Mapping[str, Mapping[str, Any]]) -> Seen:
        """Read the answers of ``virDomainGetJobStats``, and of ``virDomainGetBlockJobInfo`` for each disk."""
        return cls(
            disks={target: (told["cur"], told["end"]) for target, told in disks.items() if told},
            sent=stats.get("memory_processed", 0),
            left=stats.get("memory_remaining", 0),
            passes=stats.get("memory_iteration", 0),
            throttle=stats.get("auto_converge_throttle", 0),
        )


class Job:
    """
    The migration of the domain with this ``uuid`` at ``libvirt``.

    Each question may raise :exc:`~nbdtun.errors.LibvirtError`, with libvirt's own text.
    """

    def __init__(self, libvirt: Libvirt, uuid: str = "") -> None:
        self.uuid = uuid
        self._libvirt = libvirt
        self._ended: list[Mapping[str, Any]] = []  #: what libvirt has told of the job at its end

    def __repr__(self) -> str:
        return f"<Job of {self.uuid}>"

    def start(self, order: Order) -> Deferred[None]:
        """Begin; the Deferred has the call's end, in whatever way. Cancelling it ends nothing: see :meth:`abort`."""

        def migrate(connection: Any) -> None:
            domain = connection.lookupByUUIDString(self.uuid)
            connection.domainEventRegisterAny(domain, _JOB_COMPLETED, lambda _, __, stats, ___: self._ended.append(stats), None)
            domain.migrateToURI3(order.uri, dict(order.parameters), int(order.flags))

        return self._libvirt.apart(migrate)

    async def look(self, targets: tuple[str, ...]) -> Seen:
        """See how far it is, with these disks; nothing before it has begun, or after its end."""

        def ask(domain: Any) -> Seen:
            stats = domain.jobStats()
            if stats.get("type") not in (_BOUNDED, _UNBOUNDED):
                return Seen()
            return Seen.of(stats, {target: domain.blockJobInfo(target) for target in targets})

        with suppress(NbdtunError):  # it is over, and the domain gone
            return await self._ask(ask)
        return Seen()

    async def is_under_way(self) -> bool:
        """Whether libvirt has a job of the domain."""
        stats = await self._ask(lambda domain: domain.jobStats())
        return stats.get("type") in (_BOUNDED, _UNBOUNDED)

    async def abort(self) -> None:
        """End it, if that is still possible; the call ends then, or has."""
        with suppress(NbdtunError):
            await self._libvirt.apart(lambda connection: connection.lookupByUUIDString(self.uuid).abortJob())  # before a look that waits

    async def limit(self, bandwidth: int | None, downtime: float) -> None:
        """Limit the memory's ``bandwidth``, in bytes per second, and the ``downtime`` that QEMU aims at, in seconds."""

        def limit(domain: Any) -> None:
            domain.migrateSetMaxSpeed(speed(bandwidth))
            domain.migrateSetMaxDowntime(max(1, round(downtime * 1000)))

        await self._ask(limit)

    @property
    def last(self) -> Seen:
        """What libvirt has told at the end; nothing if it has not."""
        return Seen.of(self._ended[-1], {}) if self._ended else Seen()

    async def downtime(self) -> float | None:
        """Seconds for which the guest stood still, after the end; None if libvirt does not know any more."""
        stats: Mapping[str, Any] = self._ended[-1] if self._ended else {}
        if not stats:
            with suppress(NbdtunError):  # one that is undefined here has gone, and its job with it
                stats = await self._ask(lambda domain: domain.jobStats(_COMPLETED_STATS))
        told = stats.get("downtime")
        return None if told is None else float(told) / 1000

    async def pause(self) -> None:
        """Pause the guest; it runs again where the migration ends."""
        await self._ask(lambda domain: domain.suspend())

    async def pause_again(self) -> None:
        """Pause the guest if it runs; one that stands still may be libvirt's own, which takes no such call then."""
        state = await self.state()
        if state is not None and state[0] in (RUNNING, BLOCKED):
            await self.pause()

    async def resume(self) -> None:
        """Let the guest run on."""
        await self._ask(lambda domain: domain.resume())

    async def end(self, *, undefine: bool) -> None:
        """
        End the domain, whose guest runs elsewhere. ``undefine`` it as well, if it is persistent; else it is not started with its host any
        more. Its images stay.
        """

        def end(domain: Any) -> None:
            persistent = domain.isPersistent()
            if domain.isActive():
                domain.destroy()
            if persistent and undefine:
                domain.undefineFlags(_KEEP_NVRAM)
            elif persistent:
                domain.setAutostart(0)

        await self._ask(end)

    async def state(self) -> tuple[int, int] | None:
        """The domain's state and the reason for it, as libvirt numbers them; None if there is no such domain any more."""

        def ask(connection: Any) -> tuple[int, int] | None:
            found = [each for each in connection.listAllDomains() if each.UUIDString() == self.uuid]
            return tuple(found[0].state()) if found else None

        return await self._libvirt.do(ask)

    async def _ask(self, work: Callable[[Any], T]) -> T:
        return await self._libvirt.do(lambda connection: work(connection.lookupByUUIDString(self.uuid)))
