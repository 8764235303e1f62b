"""
The login session that ssh begins at the far end, and what its end would end too.

logind may end all processes of a session whose user has logged out (KillUserProcesses=, logind.conf(5)): those in its scope, whoever they
have become by sudo. A process in another scope is spared. A user's own service manager goes on without a session only if the user lingers
(loginctl(1)). Without that, the directory XDG_RUNTIME_DIR is removed with the last session, and units of that manager end.
"""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from nbdtun.errors import ReachError

_RUNNING: Final = Path("/run/systemd/system")  # sd_booted(3)
_LINGERING: Final = Path("/var/lib/systemd/linger")
_GROUPS: Final = Path("/proc/self/cgroup")
_SCOPE: Final = re.compile(r"/user-(\d+)\.slice/session-[^/\s]+\.scope")
#: Where logind's configuration is, what counts most first (logind.conf(5)).
_CONFIGURED: Final = tuple(Path(each, "systemd") for each in ("/etc", "/run", "/usr/local/lib", "/usr/lib"))
_KILL, _ONLY, _EXCLUDE = "KillUserProcesses", "KillOnlyUsers", "KillExcludeUsers"
_ASK: Final = (
    *("busctl", "get-property", "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"),
    *(_KILL, _ONLY, _EXCLUDE),
)
_TRUE: Final = frozenset({"1", "yes", "y", "true", "t", "on"})
SECONDS: Final = 5.0


def is_ended_at_logout() -> bool:
    """Whether the login manager would end this process together with its session."""
    user = _session_user() if _RUNNING.exists() else None
    if user is None:
        return False
    kill, only, spared = _asked() or _configured()
    name = _user_name(user)
    return kill and name not in spared and (not only or name in only)


def _session_user() -> int | None:
    """The user in whose session's scope this process is; None if it is in none."""
    with suppress(OSError):
        if found := _SCOPE.search(_GROUPS.read_text()):
            return int(found[1])
    return None


def _asked() -> tuple[bool, frozenset[str], frozenset[str]] | None:
    """What logind says: whether it ends processes, only those of these users, and not those of these; None if it does not answer."""
    with suppress(OSError, subprocess.SubprocessError, ValueError, IndexError):
        answer = subprocess.run(_ASK, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=True)
        kill, only, spared = (line.split() for line in answer.stdout.decode().splitlines())
        return kill[1] == "true", _users(only[2:]), _users(spared[2:])
    return None


def _users(quoted: Iterable[str]) -> frozenset[str]:
    return frozenset(name.strip('"') for name in quoted)


def _configured() -> tuple[bool, frozenset[str], frozenset[str]]:
    """The same by its files: the first main one, and then all drop-ins by their names."""
    found = {_KILL: "no", _ONLY: "", _EXCLUDE: "root"}
    for file in _files():
        with suppress(OSError, UnicodeDecodeError):
            for line in file.read_text().splitlines():
                key, equals, value = line.partition("=")
                if equals and key.strip() in found:
                    found[key.strip()] = value.strip()
    return found[_KILL].lower() in _TRUE, frozenset(found[_ONLY].split()), frozenset(found[_EXCLUDE].split())


def _files() -> Iterator[Path]:
    yield from [main for at in _CONFIGURED if (main := at / "logind.conf").exists()][:1]
    dropped = {file.name: file for at in reversed(_CONFIGURED) for file in (at / "logind.conf.d").glob("*.conf")}
    yield from (dropped[name] for name in sorted(dropped))


def _user_name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"{user}"


def lingers() -> bool:
    """Whether this user's service manager and runtime directory stay without a session."""
    return os.geteuid() == 0 or (_LINGERING / _user_name(os.geteuid())).exists()


def in_a_scope(argv: Sequence[str]) -> list[str]:
    """
    The command line that runs ``argv`` in a scope of its own, outside of the session.

    :raise ReachError: the user does not linger, so that it would be of no use.
    """
    if not lingers():
        what = "the login manager ends this user's processes when ssh ends"
        raise ReachError(what, "`loginctl enable-linger` there lets them go on")
    manager = [] if os.geteuid() == 0 else ["--user"]
    return ["systemd-run", *manager, "--scope", "--quiet", "--collect", "--", *argv]


def base_beyond_logout(base: Path) -> Path:
    """Where run directories are that stay when ssh ends: ``base``, unless it is removed with the session."""
    return Path(tempfile.gettempdir()) / f"nbdtun-{os.geteuid()}" if goes_with_the_session(f"{base}") else base


def goes_with_the_session(path: str) -> bool:
    """Whether a path is in the directory that is removed with this user's last session."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return bool(runtime) and Path(path).is_relative_to(f"{runtime}") and not lingers()


def units_end_with_the_session() -> bool:
    """Whether a unit of this user's service manager ends with the last session."""
    return _RUNNING.exists() and not lingers()
