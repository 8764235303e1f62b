"""
Where a migration stands, as frozen values: what crosses from the migration to whoever shows it.

A :class:`Progress` is complete in itself; a display keeps no history but for its own rates' smoothing.
"""

from __future__ import annotations

import enum
from typing import Any

from attrs import frozen


class Phase(enum.Enum):
    """The steps of a migration in their order, and the four ways in which it can end."""

    PREPARE = "prepare"
    MIRROR = "mirror"
    READY = "ready"
    RAM = "ram"
    SWITCHOVER = "switchover"
    FINISH = "finish"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def final(self) -> bool:
        """Whether nothing comes after it."""
        return self in (Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED, Phase.UNKNOWN)


@frozen
class DiskProgress:
    """One disk: ``done`` of ``total`` bytes are copied (both grow while the guest writes)."""

    node: str
    total: int
    done: int


@frozen
class MemoryProgress:
    """RAM and device state: ``done`` of ``total`` bytes have been sent."""

    total: int = 0
    done: int = 0


@frozen
class LinkState:
    """The tunnel under the migration: whether it is up, for how many seconds not, and what it cost so far."""

    lost_for: float | None = None
    resumes: int = 0
    replayed: int = 0

    def __str__(self) -> str:
        return "up" if self.lost_for is None else f"link lost {self.lost_for:.0f} s, retrying"


@frozen
class Progress:
    """
    One look at a migration.

    ``time`` is seconds since the epoch, ``elapsed`` seconds since its start, ``rate`` bytes per second, ``eta`` seconds or None
    when it cannot be told. ``downtime_ms`` and ``error`` are only set in a final phase; ``code`` is the stable name of the error.
    """

    time: float
    elapsed: float
    phase: Phase
    disks: tuple[DiskProgress, ...] = ()
    ram: MemoryProgress = MemoryProgress()
    rate: float = 0.0
    eta: float | None = None
    link: LinkState = LinkState()
    downtime_ms: float | None = None
    error: str | None = None
    code: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The object that ``--progress json`` prints: see ``docs/migrate``."""
        report: dict[str, Any] = {
            "time": round(self.time, 3),
            "phase": self.phase.value,
            "disks": [{"node": d.node, "total": d.total, "done": d.done} for d in self.disks],
            "ram": {"total": self.ram.total, "done": self.ram.done},
            "rate": round(self.rate),
            "eta": None if self.eta is None else round(self.eta, 1),
            "link": {"state": str(self.link), "resumes": self.link.resumes, "replayed": self.link.replayed},
        }
        if self.phase.final:
            report |= {"downtime_ms": self.downtime_ms, "error": self.error, "code": self.code}
        return report
