"""
The progress of a migration, as frozen values: the migration reports them, and displays show them.

A :class:`Progress` is complete in itself; a display needs no history, except to smooth its own rates.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrs import NOTHING, asdict, fields, frozen

from nbdtun.errors import ProtocolViolation


class Phase(enum.Enum):
    """The steps of a migration in their order, the way back, and the five ways in which it can end."""

    PREPARE = "prepare"
    MIRROR = "mirror"
    READY = "ready"
    RAM = "ram"
    HOLDING = "holding"
    SWITCHOVER = "switchover"
    FINISH = "finish"
    SETTLE = "settle"
    ROLLBACK = "rollback"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    LOST = "lost"

    @property
    def final(self) -> bool:
        """Whether nothing comes after it."""
        return self in (Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED, Phase.UNKNOWN, Phase.LOST)

    @property
    def handed_over(self) -> bool:
        """Whether the destination has the VM, or is taking it, so that nothing can be cancelled."""
        return self in (Phase.FINISH, Phase.SETTLE)


class GuestState(enum.Enum):
    """What the guest does at the source, as far as the migration knows; the pause of the switchover is not meant."""

    UNKNOWN = "unknown"
    RUNS = "runs"
    PAUSED = "paused"


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
    """
    The tunnel under the migration.

    ``lost_for``: seconds without a link, None while there is one; ``retry_for``: seconds until it is given up. ``silent_for``: seconds for
    which the other end has sent nothing on a link, None where that is normal. ``outages`` and ``down`` (seconds) count those so far; all
    links that one cut has taken are one. ``resumes`` counts links that were replaced, ``replayed`` bytes that were sent again, and
    ``sent`` bytes that the other end has.
    """

    lost_for: float | None = None
    resumes: int = 0
    replayed: int = 0
    silent_for: float | None = None
    retry_for: float | None = None
    given_up: bool = False
    outages: int = 0
    down: float = 0.0
    sent: int = 0

    @property
    def state(self) -> str:
        """``up``, ``silent``, ``lost`` or ``given up``."""
        if self.lost_for is not None:
            return "lost"
        return "given up" if self.given_up else "up" if self.silent_for is None else "silent"

    @property
    def up(self) -> bool:
        """Whether bytes pass."""
        return self.state == "up"

    def as_json(self) -> dict[str, Any]:
        """A part of the object that ``--progress json`` prints."""
        return {
            "state": self.state,
            "lost_for": _tenths(self.lost_for),
            "retry_for": _tenths(self.retry_for),
            "silent_for": _tenths(self.silent_for),
            "outages": self.outages,
            "down": round(self.down, 1),
            "resumes": self.resumes,
            "replayed": self.replayed,
            "sent": self.sent,
        }

    @classmethod
    def from_json(cls, report: Mapping[str, Any]) -> LinkState:
        """The reverse of :meth:`as_json`."""
        times: dict[str, Any] = {name: _perhaps(_number, report.get(name)) for name in ("lost_for", "retry_for", "silent_for")}
        counts = {name: _count(report.get(name, 0)) for name in ("outages", "resumes", "replayed", "sent")}
        return cls(given_up=report.get("state") == "given up", down=_number(report.get("down", 0.0)), **times, **counts)


def _tenths(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


@frozen
class Measures:
    """
    The measures that help a migration converge, and their reasons; all empty while it converges by itself.

    ``lagging`` names disks whose remainder does not shrink, ``write_blocking`` disks whose writes wait until they are at the destination
    too. ``throttle`` is the share of time, in percent, that QEMU takes from the guest; ``passes`` is how often QEMU has gone over the
    memory; ``downtime`` is the pause that QEMU aims at, in seconds, once it was raised. ``forced``: the guest was paused because a time
    limit had passed.
    """

    lagging: tuple[str, ...] = ()
    write_blocking: tuple[str, ...] = ()
    throttle: int = 0
    passes: int = 0
    downtime: float | None = None
    forced: bool = False

    def as_json(self) -> dict[str, Any]:
        """A part of the object that ``--progress json`` prints."""
        return {
            "lagging": list(self.lagging),
            "write_blocking": list(self.write_blocking),
            "throttle": self.throttle,
            "passes": self.passes,
            "downtime_ms": None if self.downtime is None else round(self.downtime * 1000),
            "forced": self.forced,
        }

    @classmethod
    def from_json(cls, report: Mapping[str, Any]) -> Measures:
        """The reverse of :meth:`as_json`."""
        milliseconds = _perhaps(_number, report.get("downtime_ms"))
        return cls(
            lagging=tuple(map(_text, report.get("lagging", ()))),
            write_blocking=tuple(map(_text, report.get("write_blocking", ()))),
            throttle=_count(report.get("throttle", 0)),
            passes=_count(report.get("passes", 0)),
            downtime=None if milliseconds is None else milliseconds / 1000,
            forced=bool(report.get("forced")),
        )


@frozen
class Pause:
    """
    How long a guest stood still between the two hosts, in seconds, and why: ``drain`` until the last writes of its disks had arrived,
    ``memory`` until the last of its memory had, ``handover`` until the destination's answer that it runs. ``round_trip`` is one to the
    other host, which each part has some of; None if it was not measured.
    """

    drain: float
    memory: float
    handover: float
    round_trip: float | None = None

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.drain + self.memory + self.handover

    def as_json(self) -> dict[str, float | None]:
        """A part of the object that ``--progress json`` prints, in milliseconds."""
        return {name: None if seconds is None else _milliseconds(seconds) for name, seconds in asdict(self).items()}

    @classmethod
    def from_json(cls, report: Any) -> Pause:
        """The reverse of :meth:`as_json`."""
        parts = {each.name: _number(report[each.name]) / 1000 for each in fields(cls) if each.default is NOTHING}
        round_trip = _perhaps(_number, report.get("round_trip"))
        return cls(**parts, round_trip=None if round_trip is None else round_trip / 1000)


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)


@frozen
class Progress:
    """
    One sample of a migration.

    ``time`` is seconds since the epoch, ``elapsed`` seconds since its start. ``rate`` is in bytes per second, ``eta`` the seconds until
    disks and memory are copied; both are None where that cannot be told. ``downtime_ms`` is set from the phase ``settle`` on, and
    ``elapsed`` stays the same then: the VM runs at the destination. ``pause`` has its parts, where they are known. ``error`` is only set in
    a final phase, ``code`` is the stable name of the error, and ``remedy`` the part of its text that says what to do. ``guest`` tells a
    guest that runs from one that its operator has paused, or that ``--on-timeout force`` has. ``switchover_at`` is the time at which a
    migration that is held goes on, in seconds since the epoch; None where it waits for its operator's word. ``session`` has the first
    digits of the migration's id, which both hosts have; it is empty before there is one.
    """

    time: float
    elapsed: float
    phase: Phase
    disks: tuple[DiskProgress, ...] = ()
    ram: MemoryProgress = MemoryProgress()
    rate: float | None = None
    eta: float | None = None
    link: LinkState = LinkState()
    converge: Measures = Measures()
    downtime_ms: float | None = None
    pause: Pause | None = None
    error: str | None = None
    code: str | None = None
    guest: GuestState = GuestState.UNKNOWN
    switchover_at: float | None = None
    remedy: str | None = None
    session: str = ""

    def as_json(self) -> dict[str, Any]:
        """The object that ``--progress json`` prints: see ``docs/migrate``."""
        report: dict[str, Any] = {
            "time": round(self.time, 3),
            "elapsed": round(self.elapsed, 1),
            "phase": self.phase.value,
            "session": self.session,
            "disks": [{"node": d.node, "total": d.total, "done": d.done} for d in self.disks],
            "ram": {"total": self.ram.total, "done": self.ram.done},
            "rate": None if self.rate is None else round(self.rate),
            "eta": _tenths(self.eta),
            "link": self.link.as_json(),
            "converge": self.converge.as_json(),
            "guest": self.guest.value,
        }
        if self.phase is Phase.HOLDING:
            report |= {"switchover_at": self.switchover_at}
        if self.phase.final or self.phase is Phase.SETTLE:
            report |= {"downtime_ms": self.downtime_ms, "pause_ms": self.pause and self.pause.as_json()}
        if self.phase.final:
            report |= {"error": self.error, "code": self.code, "remedy": self.remedy}
        return report

    @classmethod
    def from_json(cls, report: Mapping[str, Any]) -> Progress:
        """
        The reverse of :meth:`as_json`, except for digits that it has rounded off.

        Another release may have written it. What this one does not know is passed over; what is left out has the value of a new object.

        :raise ProtocolViolation: it is not such an object, or its phase is one of another release.
        """
        try:
            return cls._of(report)
        except (KeyError, ValueError, TypeError, AttributeError) as odd:
            raise ProtocolViolation(f"the progress is malformed ({odd!r})", "is it of another release of nbdtun?") from odd

    @classmethod
    def _of(cls, report: Mapping[str, Any]) -> Progress:
        return cls(
            time=_number(report["time"]),
            elapsed=_number(report["elapsed"]),
            phase=Phase(report["phase"]),
            disks=tuple(DiskProgress(_text(disk["node"]), _count(disk["total"]), _count(disk["done"])) for disk in report.get("disks", ())),
            ram=MemoryProgress(**{name: _count(report.get("ram", {}).get(name, 0)) for name in ("total", "done")}),
            rate=_perhaps(_number, report.get("rate")),
            eta=_perhaps(_number, report.get("eta")),
            link=LinkState.from_json(report.get("link", {})),
            converge=Measures.from_json(report.get("converge", {})),
            downtime_ms=_perhaps(_number, report.get("downtime_ms")),
            pause=_perhaps(Pause.from_json, report.get("pause_ms")),
            error=_perhaps(_text, report.get("error")),
            code=_perhaps(_text, report.get("code")),
            guest=_guest(report.get("guest")),
            switchover_at=_perhaps(_number, report.get("switchover_at")),
            remedy=_perhaps(_text, report.get("remedy")),
            session=_text(report.get("session", "")),
        )


def _guest(state: object) -> GuestState:
    return next((known for known in GuestState if known.value == state), GuestState.UNKNOWN)


T = TypeVar("T")

#: More than any time in seconds, or count of bytes, that is shown.
_TOO_MUCH = 1 << 64


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _TOO_MUCH:
        raise ValueError("not a number")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _TOO_MUCH:
        raise ValueError("not a count")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _perhaps(read: Callable[[object], T], value: object) -> T | None:
    return None if value is None else read(value)
