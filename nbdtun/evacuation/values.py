"""A VM's part of the plan, and what became of it: frozen values, which the journal keeps."""

from __future__ import annotations

from typing import Any

from attrs import evolve, frozen

from nbdtun.evacuation.life import TRANSITIONS, State, Trigger


@frozen
class Move:
    """
    What is planned for the VM ``vm``, whose monitor or libvirt is at ``place``. It goes ``to`` a destination, and ``fits`` has all that
    could take it, the best first. ``memory`` and ``disks`` are the bytes to copy.

    ``refused`` is why it stays (empty: it does not), with the ``code`` of that error. ``seconds`` and ``downtime`` (milliseconds) are the
    forecast, -1 where there is none. ``warnings`` are those of its check.
    """

    vm: str
    place: str
    to: str = ""
    fits: tuple[str, ...] = ()
    memory: int = 0
    disks: int = 0
    seconds: int = -1
    downtime: int = -1
    refused: str = ""
    code: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """All bytes to copy."""
        return self.memory + self.disks

    def as_json(self) -> dict[str, Any]:
        """A part of the object that ``nbdtun evacuate --dry-run --json`` prints."""
        return {
            "vm": self.vm,
            "to": self.to or None,
            "memory": self.memory,
            "disks": self.disks,
            "seconds": None if self.seconds < 0 else self.seconds,
            "downtime_ms": None if self.downtime < 0 else self.downtime,
            "refused": self.refused or None,
            "code": self.code or None,
            "warnings": list(self.warnings),
        }


@frozen
class Entry:
    """
    What became of the VM of ``move`` so far. It goes, or went last, ``to`` a destination. ``attempt`` counts the processes that were
    started for it, ``failures`` those that count against the retries. Nothing is done with it before the time ``not_before``.

    ``code`` and ``reason`` are those of the last failure. Times are milliseconds since the epoch, 0 for none; ``downtime`` is in
    milliseconds, -1 for none. ``resumes`` counts links that were replaced.
    """

    move: Move
    state: State = State.WAITING
    to: str = ""
    attempt: int = 0
    failures: int = 0
    not_before: int = 0
    code: str = ""
    reason: str = ""
    began: int = 0
    ended: int = 0
    downtime: int = -1
    resumes: int = 0

    @property
    def vm(self) -> str:
        """Its name."""
        return self.move.vm

    def after(self, trigger: Trigger, **changes: Any) -> Entry:
        """
        The entry once ``trigger`` has happened, with these changes.

        :raise ImpossibleTransition: it cannot happen in this state: a bug.
        """
        return evolve(self, state=TRANSITIONS.after(self.state, trigger), **changes)

    def as_json(self) -> dict[str, Any]:
        """A part of the report, and of what ``nbdtun status --json`` prints."""
        return {
            "vm": self.vm,
            "state": self.state.value,
            "to": self.to or self.move.to or None,
            "attempts": self.attempt,
            "failures": self.failures,
            "code": self.code or None,
            "reason": self.reason or None,
            "began": self.began / 1000 or None,
            "ended": self.ended / 1000 or None,
            "downtime_ms": None if self.downtime < 0 else self.downtime,
            "resumes": self.resumes,
        }
