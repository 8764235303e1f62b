"""
The login session that ssh begins at the far end, and what its end would end too.

logind may end all processes of a user who has logged out (KillUserProcesses=, logind.conf(5)). A process in a scope of the user's own
service manager is spared, and that manager goes on without a session only if the user lingers (loginctl(1)). Without that, the directory
XDG_RUNTIME_DIR is removed with the last session.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from nbdtun.errors import ReachError

_RUNNING: Final = Path("/run/systemd/system")  # sd_booted(3)
_LINGERING: Final = Path("/var/lib/systemd/linger")
_ASK: Final = (
    *("busctl", "get-property", "org.freedesktop.login1", "/org/freedesktop/login1"),
    *("org.freedesktop.login1.Manager", "KillUserProcesses"),
)
SECONDS: Final = 5.0


def is_ended_at_logout() -> bool:
    """Whether the login manager would end this user's processes. root is spared, by its own default."""
    if os.geteuid() == 0 or not _RUNNING.exists():
        return False
    with suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(_ASK, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=True)
        return answer.stdout.split() == [b"b", b"true"]
    return False


def lingers() -> bool:
    """Whether this user's service manager and runtime directory stay without a session."""
    with suppress(KeyError):
        return (_LINGERING / pwd.getpwuid(os.geteuid()).pw_name).exists()
    return False


def in_a_scope(argv: Sequence[str]) -> list[str]:
    """
    The command line that runs ``argv`` in a scope of its own, outside of the session.

    :raise ReachError: the user does not linger, so that it would be of no use.
    """
    if not lingers():
        what = "the login manager ends this user's processes when ssh ends"
        raise ReachError(what, "`loginctl enable-linger` there lets them go on")
    return ["systemd-run", "--user", "--scope", "--quiet", "--collect", "--", *argv]


def base_beyond_logout(base: Path) -> Path:
    """Where run directories are that stay when ssh ends: ``base``, unless it is removed with the session."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if os.geteuid() == 0 or not runtime or not base.is_relative_to(runtime) or lingers():
        return base
    return Path(tempfile.gettempdir()) / f"nbdtun-{os.geteuid()}"
