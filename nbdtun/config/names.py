"""
The names of targets and VMs. They are strict because they cross the wire, name files and appear in log lines: a letter or digit, then up to
63 of ``A-Za-z0-9._-``.
"""

from __future__ import annotations

import re
from typing import Final

from nbdtun.errors import ConfigError

#: The form of a name, as a regular expression.
NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_NAME: Final = re.compile(NAME)


def check_name(name: str) -> str:
    """
    Return ``name`` if it can name a target or a VM.

    :raise ConfigError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a valid name: use letters, digits, dots, dashes and underscores, at most 64, starting with a letter or digit"
        )
    return name
