"""
The record of what was made for a VM, in a file: after a ``kill -9`` of the far end, the next one knows from it what is whose.

It is written before each step, and erased when all was removed, or when a guest runs on it. An image is in it as the kernel knows it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from attrs import asdict, field, frozen, validators

from nbdtun.logs import make_logger
from nbdtun.ownership.directories import remove_empty
from nbdtun.ownership.files import make_folder, remove_drafts, remove_file, replace_file
from nbdtun.ownership.images import MadeFile

_TEXTS = validators.deep_iterable(validators.instance_of(str))


def _texts(told: Iterable[str]) -> tuple[str, ...]:
    return tuple(told)


def _files(told: object) -> tuple[MadeFile, ...]:
    return tuple(one if isinstance(one, MadeFile) else MadeFile(str(one["path"]), int(one["device"]), int(one["inode"])) for one in told)  # type: ignore[attr-defined]


@frozen
class Recorded:
    """
    What was made: ``directories``, ``images``, files that QEMU has ``left``, and the QEMU with the monitor ``qmp``.

    ``process`` tells it from all others, as :func:`~nbdtun.migration.rollback.presence.identity` does; ``unit`` is its unit's
    name. ``maker`` is the far end that has made it.
    """

    qmp: str = field(validator=validators.instance_of(str))
    directories: tuple[str, ...] = field(default=(), converter=_texts, validator=_TEXTS)
    images: tuple[MadeFile, ...] = field(default=(), converter=_files)
    left: tuple[str, ...] = field(default=(), converter=_texts, validator=_TEXTS)
    process: str = field(default="", validator=validators.instance_of(str))
    unit: str = field(default="", validator=validators.instance_of(str))
    maker: str = field(default="", validator=validators.instance_of(str))


class Record:
    """The record of one VM, at ``path``."""

    log = make_logger()

    def __init__(self, path: Path) -> None:
        self._path = path

    def __repr__(self) -> str:
        return f"<Record {self._path}>"

    def write(self, made: Recorded) -> None:
        """Put it there, at once. One that cannot be written is done without."""
        try:
            make_folder(self._path.parent)
            replace_file(self._path, json.dumps(asdict(made)).encode(), 0o600)
        except OSError as error:
            self.log.warn("{path} cannot be written: {reason}", path=self._path, reason=error.strerror)

    def read(self) -> Recorded | None:
        """What it says; None if there is none, or none that can be understood."""
        with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            return Recorded(**json.loads(self._path.read_bytes()))
        return None

    def erase(self) -> None:
        """Remove it; safe to repeat."""
        remove_file(f"{self._path}")
        remove_drafts(self._path)
        with suppress(OSError):  # others are kept there
            remove_empty(f"{self._path.parent}")
