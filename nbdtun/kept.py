"""
A value in a file, which outlives the process that has put it there.

The next process may be of another release: it passes over names that it does not know. A file that it cannot read is an error, and never
nothing: what stands in it may be the only word of a guest that runs elsewhere.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final, Generic, TypeVar

from nbdtun.errors import NbdtunError, NotMigratable
from nbdtun.logs import make_logger
from nbdtun.ownership.directories import remove_empty
from nbdtun.ownership.files import keep_file, remove_drafts, remove_file
from nbdtun.typed import as_json, of_json

T = TypeVar("T")

#: The remedy for a file that cannot be read.
_REMEDY: Final = "the release of nbdtun that wrote it can end it; remove the file only when you know where the VM runs"


class Kept(Generic[T]):
    """A value of the class ``kind``, as JSON at ``path``, which only this user can read."""

    log = make_logger()
    #: The error for a file that cannot be read.
    unreadable: ClassVar[type[NbdtunError]] = NotMigratable

    def __init__(self, path: Path, kind: type[T]) -> None:
        self._path = path
        self._kind = kind

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._path}>"

    def write(self, value: T) -> bool:
        """Put it there, at once. One that cannot be written is done without; returns whether it is there."""
        try:
            keep_file(self._path, json.dumps(as_json(value)).encode())
        except OSError as error:
            self.log.warn("{path} cannot be written: {reason}", path=self._path, reason=error.strerror)
            return False
        return True

    @property
    def is_there(self) -> bool:
        """Whether there is one, readable or not."""
        return os.path.lexists(self._path)

    def read(self) -> T | None:
        """
        What it says; None if there is none.

        :raise NotMigratable: it cannot be read, or not understood (or what the class has as :attr:`unreadable`).
        """
        try:
            return of_json(self._kind, json.loads(self._path.read_bytes()), lenient=True)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            why = error.strerror or str(error)
        except (ValueError, RecursionError) as odd:
            why = str(odd)
        raise self.unreadable(f"{self._path}, the record of an earlier migration, cannot be read: {why}", _REMEDY)

    def erase(self) -> None:
        """Remove it; safe to repeat."""
        remove_file(f"{self._path}")
        remove_drafts(self._path)
        with suppress(OSError):  # others are kept there
            remove_empty(f"{self._path.parent}")
