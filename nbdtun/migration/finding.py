"""What a check has found, as frozen values: they cross the wire, and are what a face shows."""

from __future__ import annotations

import enum
from typing import Any

from attrs import frozen

from nbdtun.errors import NbdtunError


class Level(enum.Enum):
    """How grave a finding is; only a FAILURE keeps a migration from being begun."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@frozen
class Finding:
    """
    One thing that was looked at.

    ``check`` is the stable name of what was looked at (``docs/migrate`` lists them), ``what`` was found, ``remedy`` is what to do about it,
    ``code`` is the code of the error that a migration would end with. ``name`` is what ``--allow-mismatch`` takes, where it can be allowed.
    """

    level: Level
    check: str
    what: str
    remedy: str = ""
    code: str = ""
    name: str = ""

    @classmethod
    def of(cls, check: str, error: NbdtunError, level: Level = Level.FAILURE) -> Finding:
        """The finding that ``error`` is."""
        return cls(level, check, error.what or str(error), error.remedy, error.code)

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}" if self.remedy else self.what

    def as_json(self) -> dict[str, Any]:
        """The object that ``nbdtun check --json`` prints: see ``docs/migrate``."""
        return {
            "level": self.level.value,
            "check": self.check,
            "what": self.what,
            "remedy": self.remedy or None,
            "code": self.code or None,
            "name": self.name or None,
        }
