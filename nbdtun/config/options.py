"""
The options that more than one face has: the command, the daemons, and the strings of endpoints. Each is declared here, once.

To add one: declare it, put it into the group of those who have it, and take its value in :mod:`nbdtun.config.build`. A parser is named
and not imported: ``--help`` needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from typing import Any, NamedTuple


class Option(NamedTuple):
    """One option, as every face has it."""

    name: str
    help: str
    #: What stands for its value in a list of options; a flag has none.
    metavar: str = ""
    #: Reads the value, as ``module:function``; it raises ConfigError. Text is taken as it is.
    parse: str = ""
    #: The value that holds where none is given, as one would write it.
    default: str | None = None
    #: What holds where none is given, in words, if there is no such value.
    unset: str = ""
    repeatable: bool = False

    @property
    def key(self) -> str:
        """Its name among keyword arguments."""
        return self.name.replace("-", "_")

    @property
    def text(self) -> str:
        """What a list of options says of it; the default value is added by the face."""
        return " ".join([self.help, *["Repeatable."] * self.repeatable, *[f"[default: {self.unset}]"] * bool(self.unset)])

    def read(self, text: str) -> Any:
        """
        Its value, from what was given.

        :raise ConfigError: there can be none.
        """
        return parser(self.parse)(text) if self.parse else text


def parser(where: str) -> Callable[[str], Any]:
    """Import the parser that ``module:function`` names."""
    module, _, function = where.partition(":")
    found: Callable[[str], Any] = attrgetter(function)(import_module(module))
    return found


_SIZE, _RATE, _DURATION = "nbdtun.units:parse_size", "nbdtun.units:parse_rate", "nbdtun.units:parse_duration"
_PATH = "nbdtun.config.endpoints:check_socket_path"

CONNECT = Option("connect", "Where the destination listens, such as tcp:HOST:10810.", "ENDPOINT")
QMP = Option("qmp", "QMP socket of the VM to migrate.", "SOCKET", _PATH)
TLS_DIR = Option("tls-dir", "Directory with ca-cert.pem and this end's certificate and key; `nbdtun certs` makes one.", "DIR")
TLS_NAME = Option("tls-name", "Name that the destination's certificate must have.", "NAME", unset="the destination's host")
INSECURE = Option("insecure", "Allow endpoints other than loopback and UNIX sockets without TLS.")
RUN_DIR = Option("run-dir", "Directory for the sockets that nbdtun makes for itself.", "DIR", unset="a new one, with mode 0700")
SOCKET_OWNER = Option(
    "socket-owner", "Owner of those sockets, USER[:GROUP]: the user that QEMU runs as.", "USER[:GROUP]", "nbdtun.config.values:Owner.parse"
)
BANDWIDTH = Option("bandwidth", "Limit in bytes per second, for all channels together, such as 500MiB.", "SIZE", _RATE, unset="no limit")
WINDOW = Option("window", "Unacknowledged bytes per channel and direction, kept in case the link is lost.", "SIZE", _SIZE, "16MiB")
LINK_TIMEOUT = Option("link-timeout", "Silence after which a link counts as lost.", "TIME", _DURATION, "15s")
RESUME_WINDOW = Option("resume-window", "How long to try to restore a lost link before its channel fails.", "TIME", _DURATION, "300s")
HANDSHAKE_TIMEOUT = Option("handshake-timeout", "How long a new connection may take to become a link.", "TIME", _DURATION, "10s")
DISK = Option("disk", "Disk to migrate, by the name of its node, drive or device.", "NODE", unset="all writable disks", repeatable=True)
ALLOW_MISMATCH = Option(
    "allow-mismatch",
    "Migrate although the two machines differ in this: a name that `nbdtun check` reports, such as cpu or a device's id.",
    "NAME",
    repeatable=True,
)
LEAVE_BEHIND = Option(
    "leave-behind",
    "What the disks' images may lose, instead of being refused: snapshots (internal ones), bitmaps (persistent ones), or both.",
    "NAME,...",
    "nbdtun.config.belongings:parse_belongings",
    repeatable=True,
)
DOWNTIME = Option("downtime", "Guest downtime that QEMU aims at.", "TIME", _DURATION, "300ms")
CONVERGE = Option(
    "converge",
    "How to finish if the guest changes data faster than it can be copied: write-blocking, auto-converge, downtime, or several of them.",
    "NAME,...",
    "nbdtun.config.timeouts:parse_strategies",
)
MAX_DOWNTIME = Option("max-downtime", "Up to where --converge downtime may raise --downtime.", "TIME", _DURATION, "5s")
TIMEOUT = Option(
    "timeout",
    "Time limit for the migration, as 2h, or for one of its phases, as mirror=2h. none: no limit.",
    "[PHASE=]TIME",
    "nbdtun.config.timeouts:parse_timeout",
    unset="prepare=5min, ready=5min, switchover=2min",
    repeatable=True,
)
STALL_TIMEOUT = Option(
    "stall-timeout",
    "How long the copy may stand still while the link is up. none: no limit.",
    "TIME",
    "nbdtun.config.timeouts:parse_limit",
    "5min",
)
ON_TIMEOUT = Option(
    "on-timeout",
    "What --timeout does while disks or memory are copied: cancel the migration, or force its end by pausing the guest.",
    "cancel|force",
    "nbdtun.config.timeouts:parse_on_timeout",
    "cancel",
)
KEEP_SOURCE = Option("keep-source", "Leave the source QEMU paused instead of ending it.")

#: How the two ends trust each other.
TRUST = (TLS_DIR, INSECURE)
#: How their channels live.
TERMS = (WINDOW, LINK_TIMEOUT, RESUME_WINDOW, HANDSHAKE_TIMEOUT)
#: What a process has that makes sockets for others.
SOCKETS = (RUN_DIR, SOCKET_OWNER)
#: How a migration is done.
MIGRATION = (DISK, ALLOW_MISMATCH, LEAVE_BEHIND, DOWNTIME, CONVERGE, MAX_DOWNTIME, TIMEOUT, STALL_TIMEOUT, ON_TIMEOUT)
