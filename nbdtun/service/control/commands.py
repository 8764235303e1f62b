"""
The questions over a control socket, and the report that is the answer to each.

AMP, one box each way. The command may be of another release than the process: each question offers versions, as everywhere. Every command
is answered with the same report, as JSON::

    Status                    the report, and nothing else
    Set  bandwidth, downtime, switchover
                              each may be left out
    Yield  bandwidth          a migration: use no more than that for some seconds
    Serve  vms                a destination's daemon: VMs to serve besides, or no more
    Replace  keep             a destination's daemon: let a new program take over; answered when it has
    Reload                    a daemon with a configuration file; what it took of it, and what it did not
    Cancel                    cancels; answered when all has ended, with the last report
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from attrs import frozen
from twisted.protocols import amp

from nbdtun.amp import CheckedCommand, Number, Object
from nbdtun.errors import ProtocolViolation
from nbdtun.migration.control.commands import ERRORS
from nbdtun.typed import of_json
from nbdtun.versions import AGREED, OFFER, Speaks

#: The bandwidth that means no limit, on the wire.
NO_LIMIT = 0

#: Seconds for which a migration gives way without being told so again.
YIELD_SECONDS = 5.0

#: What this release speaks.
LOCAL = Speaks("the control socket's protocol")

#: The most seconds for which a replaced program may keep what it has.
MAX_SECONDS = 10 * 366 * 86400

#: Bytes of an AMP value.
_MOST = 0xFFFF


class Report(amp.Argument):
    """A JSON object with a name. If it is too large, its lists are left out, the longest first, and named as ``left_out``."""

    def fromString(self, data: bytes) -> dict[str, Any]:
        report = json.loads(data)
        if not isinstance(report, dict) or not isinstance(report.get("name"), str):
            raise TypeError("not an object with a name")
        return report

    def toString(self, report: Mapping[str, Any]) -> bytes:
        data = json.dumps(report).encode()
        while len(data) > _MOST and (longest := _longest(report)):
            report = _without(report, longest)
            data = json.dumps(report).encode()
        return data


def _longest(report: Mapping[str, Any]) -> str:
    """The name of the longest list in it, or in the objects in it; empty if there is none."""
    found = {name: value for part in (report, *_objects(report)) for name, value in part.items() if isinstance(value, list) and value}
    found.pop("left_out", None)
    return max(found, key=lambda name: len(json.dumps(found[name])), default="")


def _without(report: Mapping[str, Any], longest: str) -> dict[str, Any]:
    def cut(part: Mapping[str, Any]) -> dict[str, Any]:
        return {name: [] if name == longest else value for name, value in part.items()}

    left = {name: cut(value) if isinstance(value, dict) else value for name, value in cut(report).items()}
    return {**left, "left_out": [*report.get("left_out", []), longest]}


def _objects(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [value for value in report.values() if isinstance(value, dict)]


class _Reported(CheckedCommand):
    arguments: ClassVar = [*OFFER]
    response: ClassVar = [*AGREED, (b"report", Report())]
    errors = ERRORS


class Status(_Reported):
    """Ask for the report."""


class Set(_Reported):
    """
    Change the limits: ``bandwidth`` in bytes per second (:data:`NO_LIMIT`: none), and the ``downtime`` in ms that QEMU aims for; and
    ``switchover``, the time before which the guest is not switched over, in seconds since the epoch.
    """

    _any = Number(optional=True)
    arguments: ClassVar = [*OFFER, (b"bandwidth", _any), (b"downtime", Number(limit=2_000_000, optional=True)), (b"switchover", _any)]


class Yield(_Reported):
    """
    A migration is to use at most ``bandwidth`` bytes per second for :data:`YIELD_SECONDS`, whatever its own limit is; :data:`NO_LIMIT` ends
    that. The asker repeats it for as long as it is needed, since it may be killed.
    """

    arguments: ClassVar = [*OFFER, (b"bandwidth", Number())]


class Cancel(_Reported):
    """Cancel it, as Ctrl-C does."""


@frozen
class ChangedVMs:
    """VMs that a destination is to serve besides, as ``NAME=PATH``, and names that it is to serve no more."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


def changed_vms(told: dict[str, Any]) -> ChangedVMs:
    """Read them (:exc:`ProtocolViolation`)."""
    try:
        return of_json(ChangedVMs, {name: told[name] for name in ("add", "remove") if name in told})
    except ValueError as nonsense:
        raise ProtocolViolation(f"{nonsense}") from None


class Serve(_Reported):
    """Change the VMs that a destination serves: ``vms`` is a :class:`ChangedVMs`. The report has all that it ``serves`` then as well."""

    arguments: ClassVar = [*OFFER, (b"vms", Object())]


class Reload(_Reported):
    """Read the configuration file again. The report has ``taken`` and ``left``, the names of options, as well."""


class Replace(_Reported):
    """
    Let the program, as it is now on disk, take over. What is under way stays in the old process, for at most ``keep`` seconds, if they are
    given. The report has the id of the new process as its ``successor``.
    """

    arguments: ClassVar = [*OFFER, (b"keep", Number(MAX_SECONDS, optional=True))]
