"""
ssh's command line, and what its failures mean.

The system's OpenSSH client does it all: the user's configuration, keys, agent, jump hosts and known hosts hold. The options here only turn
off what would be in the way of a stream of bytes (ssh_config(5)).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from nbdtun.config.ssh import SSHAddress
from nbdtun.errors import NotInstalled, ReachError

SSH: Final = "ssh"

#: ssh's own exit status for its failures, and a shell's for a command that is not there, or cannot be executed.
SSH_FAILED, NOT_FOUND, NOT_EXECUTABLE = 255, 127, 126

#: Of each connection. Keep-alives end a dead one after 15 s; forwardings and commands of the user's configuration are for other sessions.
_ALWAYS: Final = (
    *("-T", "-a", "-x"),
    *("-oClearAllForwardings=yes", "-oRemoteCommand=none", "-oPermitLocalCommand=no", "-oEscapeChar=none", "-oLogLevel=ERROR"),
    *("-oServerAliveInterval=5", "-oServerAliveCountMax=3", "-oConnectTimeout=15"),
)

#: Of a connection that nobody attends: it asks nobody, and is one of its own, so that it lives and dies alone.
_UNATTENDED: Final = ("-oBatchMode=yes", "-oControlMaster=no", "-oControlPath=none")

#: ssh's words for a user who could not prove to be one.
DENIED: Final = "Permission denied"

#: What in ssh's words has a remedy.
_REMEDIES: Final = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "its key is not the one in known_hosts; find out why before you replace that"),
    ("Host key verification failed", "connect to it once by ssh, and compare its key"),
    (DENIED, "is it the right user? `ssh {target} true` must work"),
    ("Too many authentication failures", "name the key in ssh's configuration, with IdentitiesOnly yes"),
    ("Could not resolve hostname", "check its spelling and DNS"),
    ("Connection refused", "does sshd run there, on this port?"),
    ("kex_exchange_identification", "is it sshd that listens there?"),
    ("banner exchange", "is it sshd that listens there?"),
)
#: Where ssh says nothing.
_SILENT: Final = "`ssh {target} true` must work"


def ssh_command(address: SSHAddress, remote: str, words: Sequence[str], *, attended: bool) -> list[str]:
    """The command line that runs ``remote``, a part of a shell's command line, with ``words`` as its arguments at ``address``."""
    return [SSH, *_ALWAYS, *(() if attended else _UNATTENDED), *_where(address), " ".join([remote, *map(shlex.quote, words)])]


def resolve_command(address: SSHAddress) -> list[str]:
    """The command line that prints ssh's configuration for ``address``."""
    return [SSH, "-G", *_where(address)]


def resolved(configuration: str) -> str:
    """The host name in what :func:`resolve_command` prints; empty if there is none."""
    words = (line.split(maxsplit=1) for line in configuration.splitlines())
    return next((pair[1] for pair in words if len(pair) == 2 and pair[0] == "hostname"), "")


def _where(address: SSHAddress) -> list[str]:
    port, user = ["-p", f"{address.port}"] if address.port else [], ["-l", address.user] if address.user else []
    return [*port, *user, "--", address.host]


def failure(address: SSHAddress, remote: str, status: int, said: Sequence[str]) -> ReachError:
    """The error for an ssh that ended before the far end spoke, with ``status``; ``said`` is what was on its standard error."""
    last = next((line for line in reversed(said) if line), "")
    if status in (NOT_FOUND, NOT_EXECUTABLE) or "ommand not found" in last:
        what = f"{address}: {remote} cannot be run there{f' ({last})' if last else ''}"
        return NotInstalled(what, "install nbdtun there, or say where it is: --remote-command")
    ours = next((line.removeprefix("nbdtun: ") for line in reversed(said) if line.startswith("nbdtun: ")), "")
    if ours:
        return ReachError(f"{address}: {_without_code(ours)}")
    if status == SSH_FAILED:
        text = "\n".join(said)
        target = f"{address.user}@{address.host}" if address.user else address.host
        remedy = next((remedy for words, remedy in _REMEDIES if words in text), "" if last else _SILENT).format(target=target)
        return ReachError(f"{address}: {last.rstrip('.').removeprefix('ssh: ') or 'ssh ended without a word'}", remedy)
    died = f"ssh was ended by signal {-status}" if status < 0 else f"{remote} ended with status {status} there"
    return ReachError(f"{address}: {died}{f': {last}' if last else ''}")


def _without_code(line: str) -> str:
    """A line of nbdtun's own, without the code at its end."""
    text, bracket, code = line.rpartition(" [")
    return text if bracket and code.endswith("]") and " " not in code else line
