"""The findings of a check, as frozen values: they cross the wire, and displays show them."""

from __future__ import annotations

import enum
from typing import Any

from attrs import frozen

from nbdtun.errors import NbdtunError


class Level(enum.Enum):
    """How serious a finding is; only a FAILURE prevents a migration from starting."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@frozen
class Finding:
    """
    The result of one check.

    ``check`` is its stable name (``docs/migrate`` lists them), ``what`` was found, ``remedy`` is what to do about it, ``code`` is the code
    of the error that a migration would end with. ``name`` is what ``--allow-mismatch`` takes, where the finding can be allowed.
    """

    level: Level
    check: str
    what: str
    remedy: str = ""
    code: str = ""
    name: str = ""

    @classmethod
    def of(cls, check: str, error: NbdtunError, level: Level = Level.FAILURE) -> Finding:
        """The finding that reports ``error``."""
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
