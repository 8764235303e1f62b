"""
A value in a file, which outlives the process that has put it there.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from nbdtun.logs import make_logger
from nbdtun.ownership.directories import remove_empty
from nbdtun.ownership.files import make_folder, remove_drafts, remove_file, replace_file
from nbdtun.typed import as_json, of_json

T = TypeVar("T")


class Kept(Generic[T]):
    """A value of the class ``kind``, as JSON at ``path``, which only this user can read."""

    log = make_logger()

    def __init__(self, path: Path, kind: type[T]) -> None:
        self._path = path
        self._kind = kind

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._path}>"

    def write(self, value: T) -> bool:
        """Put it there, at once. One that cannot be written is done without; returns whether it is there."""
        try:
            make_folder(self._path.parent)
            remove_drafts(self._path, own=True)
            replace_file(self._path, json.dumps(as_json(value)).encode(), 0o600)
        except OSError as error:
            self.log.warn("{path} cannot be written: {reason}", path=self._path, reason=error.strerror)
            return False
        return True

    def read(self) -> T | None:
        """What it says; None if there is none, or none that can be understood."""
        with suppress(OSError, ValueError, RecursionError):
            return of_json(self._kind, json.loads(self._path.read_bytes()))
        return None

    def erase(self) -> None:
        """Remove it; safe to repeat."""
        remove_file(f"{self._path}")
        remove_drafts(self._path)
        with suppress(OSError):  # others are kept there
            remove_empty(f"{self._path.parent}")
