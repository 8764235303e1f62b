"""
A directory of the user's own, for programs that are brought to this host: `~/.cache/nbdtun`, where single-file executables are unpacked.

This module imports nothing of nbdtun. It also runs alone: at a far end that has no nbdtun yet, and in the executable before that is
unpacked (:mod:`nbdtun.reach.pushing.pack`). The directory belongs to the user and nobody else can write to it; a new entry has its final
name only once it is complete.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import platform
import pwd
import re
import shutil
import stat
import sys
import tarfile
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

#: Where to put it, for the operator.
REMEDY = "set XDG_CACHE_HOME to another directory there, or install nbdtun there"

#: Bytes that are read at a time.
PIECE = 1 << 20


#: Seconds after its last start for which a program stays when another one comes.
KEPT = 7 * 86400.0

#: What we put there: an executable that was copied or made, what it was unpacked to, and what was left half-done.
_OURS = re.compile(r"(nbdtun|made)-[0-9a-f]+(-3\.\d+)?\.pyz|[0-9a-f]{16}-3\.\d+|\.(nbdtun-)?[0-9a-f]{16}[-.].+")


class Unusable(Exception):
    """The directory cannot be used; the text is one line."""


def base() -> Path:
    """
    The user's directory for caches: ``XDG_CACHE_HOME``, else ``~/.cache``.

    Under sudo, ``HOME`` may be another user's. Then it is the one of the password file; also where another user's link leads there, who
    could let it lead elsewhere later.
    """
    given = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ.get("HOME") or "/", ".cache")
    if os.path.isabs(given) and _owner(Path(given)) == os.geteuid() and _is_steady(Path(given)):
        return Path(given)
    return Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".cache"


def _owner(path: Path) -> int:
    """The owner of a directory, or of the one where it would be made."""
    return next(there.stat().st_uid for there in (path, *path.parents) if os.path.isdir(there))


def _is_steady(path: Path) -> bool:
    """Whether all links on the way are this user's or root's, who owns ``/``."""
    known = (os.geteuid(), os.lstat("/").st_uid)
    return all(there.lstat().st_uid in known for there in (path, *path.parents) if os.path.islink(there))


def folder() -> Path:
    """
    The directory of ours; it is made if there is none.

    :raise Unusable: it cannot be made, or others could change what is in it.
    """
    there = base() / "nbdtun"
    try:
        there.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = there.lstat()
    except OSError as error:
        raise Unusable(f"{error.filename or there}: {error.strerror}; {REMEDY}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise Unusable(f"{there}: not a directory of user {os.geteuid()} that only this user can write to; {REMEDY}")
    if os.statvfs(there).f_flag & os.ST_NOEXEC:
        raise Unusable(f"{there}: no program can run from it, since its file system is mounted noexec; {REMEDY}")
    return there


def room(there: Path, needed: int) -> None:
    """
    Check that ``needed`` bytes fit.

    :raise Unusable: they do not.
    """
    free = os.statvfs(there).f_bavail * os.statvfs(there).f_frsize
    if free < needed:
        raise Unusable(f"{there}: {needed >> 20} MiB are needed, and {free >> 20} MiB are free; {REMEDY}")


def look(name: str, needed: int) -> dict[str, Any]:
    """The facts about this host for a program ``name`` that takes ``needed`` bytes, for JSON; ``error`` is a line if it cannot be here."""
    facts: dict[str, Any] = {"machine": os.uname().machine, "libc": list(platform.libc_ver()), "python": sys.executable}
    try:
        there = folder()
        path = there / name
        facts |= {"path": str(path), "there": (path.is_file() and digest(path)) or ""}
        if not facts["there"]:
            room(there, needed)
    except Unusable as error:
        facts["error"] = str(error)
    return facts


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def take(name: str, source: IO[bytes], size: int, sha256: str) -> dict[str, Any]:
    """Put ``size`` bytes of ``source`` at ``name``, if they have this hash; for JSON: the ``path``, or an ``error``."""
    try:
        there = folder()
        draft = there / f".{name}.{os.getpid()}"
        try:
            _copy(draft, source, size, sha256)
            os.rename(draft, there / name)
        finally:
            draft.unlink(missing_ok=True)
        prune(there)
        return {"path": str(there / name)}
    except Unusable as error:
        return {"error": str(error)}
    except OSError as error:
        return {"error": f"{error.filename or 'the copy'}: {error.strerror}; {REMEDY}"}


def _copy(draft: Path, source: IO[bytes], size: int, sha256: str) -> None:
    made = hashlib.sha256()
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o700)
    with os.fdopen(descriptor, "wb") as file:
        while size and (piece := source.read(min(size, PIECE))):
            made.update(piece)
            file.write(piece)
            size -= len(piece)
        file.flush()
        os.fsync(file.fileno())
    if size or made.hexdigest() != sha256:
        raise OSError(errno.EIO, f"it did not arrive whole ({size} bytes are missing)" if size else "it was changed on its way")


def unpack(name: str, archives: dict[str, IO[bytes]], needed: int) -> Path:
    """
    The directory ``name`` with the contents of these tar archives; unpacked now, unless that was done before.

    :raise Unusable: it cannot be.
    """
    there = folder()
    final = there / name
    if final.is_dir():
        return final
    room(there, needed)
    draft = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=there))
    try:
        for archive in archives.values():
            with tarfile.open(fileobj=archive, mode="r|*") as tar:
                tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Debian 12's Python has none yet
                tar.extractall(draft)
        os.rename(draft, final)
    except OSError as error:
        if not final.is_dir():  # another process may have been quicker
            raise Unusable(f"{error.filename or final}: {error.strerror}; {REMEDY}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return final


def hold(path: Path) -> None:
    """This process uses a program: it stays for as long as that, and for some time afterwards."""
    with suppress(OSError):  # it is not in our directory, or another user's
        fcntl.flock(os.open(path, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.utime(path)


def prune(there: Path) -> None:
    """Remove the programs that no process uses, nor has used for long."""
    for path in there.iterdir():
        with suppress(OSError):  # in use, or just removed by another process
            if _OURS.fullmatch(path.name) and path.lstat().st_mtime < time.time() - KEPT:
                _remove(path)


def _remove(path: Path) -> None:
    held = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    finally:
        os.close(held)
