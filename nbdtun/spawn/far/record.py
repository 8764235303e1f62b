"""
The record of what was made for a VM, in a file: after a ``kill -9`` of the far end, the next one knows from it what is whose.

It is written before each step, and erased when all was removed, or when a guest runs on it. An image is in it as the kernel knows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from attrs import field, frozen

from nbdtun.kept import Kept
from nbdtun.ownership.images import MadeFile


def _texts(told: Iterable[str]) -> tuple[str, ...]:
    return tuple(told)


def _files(told: Iterable[MadeFile]) -> tuple[MadeFile, ...]:
    return tuple(told)


@frozen
class Recorded:
    """
    What was made: ``directories``, ``images``, files that QEMU has ``left``, and the QEMU with the monitor ``qmp``.

    ``process`` tells it from all others, as :func:`~nbdtun.migration.rollback.presence.identity` does; ``unit`` is its unit's
    name. ``maker`` is the far end that has made it.
    """

    qmp: str
    directories: tuple[str, ...] = field(default=(), converter=_texts)
    images: tuple[MadeFile, ...] = field(default=(), converter=_files)
    left: tuple[str, ...] = field(default=(), converter=_texts)
    process: str = ""
    unit: str = ""
    maker: str = ""


class Record(Kept[Recorded]):
    """The record of one VM, at ``path``."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Recorded)
