"""
Nonces: files beside the source's images, by which the far end can tell whether it sees the same ones.

A path says nothing: two hosts may have different files at one, and the same file at two. A file of ours that the far end sees in the
directory of its own image proves that both see one directory. A block device has no directory; it is known by what the kernel calls it.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress

from attrs import evolve

from nbdtun.ownership.images import make_marker, remove_marker
from nbdtun.spawn.content import identity
from nbdtun.spawn.values import Plan, Twin

PREFIX = ".nbdtun-"


class Nonces:
    """The nonces of one plan. They are removed with :meth:`remove`, or at the end of a ``with``."""

    def __init__(self) -> None:
        self._made: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Nonces in {sorted(self._made)}>"

    def __enter__(self) -> Nonces:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def place(self, plan: Plan) -> Plan:
        """Return the plan, whose images can be known again; where no file can be made beside one, it has no nonce."""
        return evolve(plan, images=tuple(evolve(image, twin=self.twin(image.origin)) for image in plan.images))

    def remove(self) -> None:
        """Remove the files; safe to repeat."""
        while self._made:
            directory, name = self._made.popitem()
            with suppress(OSError):
                remove_marker(directory, name)

    def twin(self, origin: str) -> Twin:
        """How the image ``origin`` can be known again."""
        if not origin:  # it is reached over the network
            return Twin()
        real = os.path.realpath(origin)
        try:
            found = os.stat(real)
        except OSError:
            return Twin()
        if stat.S_ISBLK(found.st_mode):
            return Twin(identity=identity(found.st_rdev))
        return Twin(self._beside(os.path.dirname(real)), os.path.basename(real), found.st_ino)

    def _beside(self, directory: str) -> str:
        if directory not in self._made:
            name = f"{PREFIX}{secrets.token_hex(16)}"
            try:
                make_marker(directory, name)
            except OSError:
                return ""
            self._made[directory] = name
        return self._made[directory]
