"""
Files and directories that an operator has named: what is wrong with one is a line with its path and the reason.

:class:`pathlib.Path` raises PermissionError when it is asked whether something is there, in a directory that this user may not enter.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from nbdtun.errors import ConfigError


def read_text(path: str, called: str = "") -> str:
    """
    Read a file of text; ``called`` stands before its path in an error, such as ``--answers``.

    :raise ConfigError: it cannot be read, or is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{_named(called, path)} cannot be read: {reason(error)}") from None


def check_directory(path: str | os.PathLike[str], called: str = "") -> None:
    """
    Refuse what is not a directory, or cannot be reached; ``called`` stands before its path in the error.

    :raise ConfigError: it is none.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise ConfigError(f"{_named(called, path)}: {reason(error)}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"{_named(called, path)}: Not a directory")


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether there is something at ``path``. Where that may not be seen, it is taken as there: who then reads it learns the reason."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def in_words(error: OSError) -> str:
    """The path that the error names, if it names one, and the reason, without its number."""
    return f"{error.filename}: {reason(error)}" if error.filename is not None else reason(error)


def reason(error: OSError | UnicodeDecodeError) -> str:
    """The reason alone, as the C library has it."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return error.strerror or str(error)


def _named(called: str, path: str | os.PathLike[str]) -> str:
    return f"{called} {os.fspath(path)}".lstrip()
