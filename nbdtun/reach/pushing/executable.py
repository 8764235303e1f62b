"""
The single-file executable of this nbdtun: the one that runs, one that was made for all Pythons (``make zipapp``), or one made now.

An executable whose modules are not ours is none: both ends must speak the same dialogue.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from nbdtun.errors import ReachError
from nbdtun.ownership.cache import Unusable, folder
from nbdtun.ownership.files import replace_file
from nbdtun.reach.pushing.pack import THIS, code, from_here, pack

NAME: Final = "nbdtun.pyz"

#: LZMA's preset for one that somebody waits for: a fifth larger, in a fifth of the time.
QUICK: Final = 0


@frozen
class Executable:
    """
    ``pythons`` are the versions that can run it, on a ``machine``, with a glibc of ``libc`` at least (empty: unknown). Its first start
    needs ``unpacked`` bytes.
    """

    content: bytes
    code: str
    pythons: tuple[str, ...]
    machine: str
    libc: str
    unpacked: int

    def __repr__(self) -> str:
        return f"<Executable of {len(self.content)} bytes for Python {', '.join(self.pythons)} on {self.machine}>"

    @classmethod
    def read(cls, content: bytes) -> Executable:
        """
        Read its manifest.

        :raise ReachError: it is none of ours.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                found: dict[str, Any] = json.loads(archive.read("manifest.json"))
            return cls(content, found["code"], tuple(found["pythons"]), found["machine"], found["libc"], found["unpacked"])
        except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
            raise ReachError(f"not an executable of nbdtun: {error}") from error

    @property
    def sha256(self) -> str:
        """The hash of the whole."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def name(self) -> str:
        """Its file's name at the far end; another one has another name."""
        return f"nbdtun-{self.sha256[:16]}.pyz"


def find() -> Executable:
    """
    Find one, or make it, which takes some seconds of a processor's time, and keep it.

    :raise ReachError: it cannot be made of what is installed here.
    """
    ours = _code()
    for path in _places(ours):
        try:
            found = Executable.read(path.read_bytes())
        except (OSError, ReachError):
            continue
        if found.code == ours:
            return found
    made = Executable.read(pack(from_here(), preset=QUICK))
    with suppress(OSError, Unusable):
        replace_file(_kept(ours), made.content, 0o700)
    return made


def _kept(ours: str) -> Path:
    """Where one is kept that was made."""
    return folder() / f"made-{ours[:16]}-{THIS}.pyz"


def _places(ours: str) -> Iterator[Path]:
    """Where there may be one: what runs, beside a checkout, where packages would put it, and where one is kept that was made."""
    yield Path(sys.argv[0])
    yield _root() / "build" / NAME
    for prefix in (sys.prefix, "/usr/local", "/usr"):
        yield Path(prefix, "share", "nbdtun", NAME)
    with suppress(Unusable):
        yield _kept(ours)


def _root() -> Path:
    return Path(str(files("nbdtun"))).parent


def _code() -> str:
    root = _root()
    return code((f"{path.relative_to(root)}", path.read_bytes()) for path in root.glob("nbdtun/**/*.py"))
