"""The findings of a check, as frozen values: they cross the wire, and displays show them."""

from __future__ import annotations

import enum
from typing import Any

from attrs import frozen

from nbdtun.errors import NbdtunError


class Level(enum.Enum):
    """How serious a finding is; only a FAILURE prevents a migration from starting."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


class Check(enum.StrEnum):
    """The stable names of the checks, in the order in which they are made; ``about`` says what each is about."""

    about: str

    def __new__(cls, name: str, about: str) -> Check:
        member = str.__new__(cls, name)
        member._value_ = name
        member.about = about
        return member

    SSH = (
        "ssh",
        "The other host can be reached by ssh, has an nbdtun that speaks with this one, and can listen; and the way that "
        "the links take, and how fast the other one would be. Only with ``--to ssh://HOST``.",
    )
    CODE = ("code", "The destination answers to the code, and can listen. Only with ``--code``.")
    TLS = (
        "tls",
        "This end's certificates: readable, each with its key, valid now, and for 30 days more. A revocation list is up to date.",
    )
    SOURCE = (
        "source",
        "The source's QMP socket answers, and its QEMU has all commands that are needed.",
    )
    SOCKETS = (
        "sockets",
        "QEMU's user will be able to use the sockets in the run directory: modes of the path's directories, owner, "
        "length of the path. A warning where AppArmor or SELinux confines QEMU, because their policies cannot be "
        "predicted.",
    )
    PLAN = (
        "plan",
        "Where a destination is made: the source's command line can be used at another host. A warning for each option that is left "
        "out there, or means something else.",
    )
    PLACE = (
        "place",
        "Where a destination is made: its host has what the command line needs. Images can be made, with enough space; files that are "
        "only read are there, with the same content; so are network interfaces, sockets, the machine's type and the CPU's features.",
    )
    STATE = (
        "state",
        "The guest is in a state that can be migrated.",
    )
    MEMORY = (
        "memory",
        "A warning where QEMU itself would lose guest writes to memory: before 9.0, and without KVM.",
    )
    BLOCKERS = (
        "blockers",
        "QEMU reports no migration blocker, and no migration is under way.",
    )
    CAPABILITIES = (
        "capabilities",
        "No migration capability or parameter that would break the migration is on at either end (``multifd``, "
        "post-copy, ``tls-creds``...). Harmless ones may be on.",
    )
    JOBS = (
        "jobs",
        "At either end no backup, mirror, stream, commit or other job runs on a disk or its backing files, no disk is "
        "exported, and no dump of the guest is being written. A warning where a throttle filter limits the copying.",
    )
    IMAGES = (
        "images",
        "The disks' images, backing files too, have no snapshots or bitmaps that would stay behind: see :ref:`leave-behind`.",
    )
    TUNNEL = (
        "tunnel",
        "The destination can be reached under its TLS name, and answers: the round trip.",
    )
    CLOCK = (
        "clock",
        "A warning where the two hosts' clocks differ by more than 5 s.",
    )
    DESTINATION = (
        "destination",
        "Its daemon knows the VM, the QMP socket answers, and QEMU is waiting and has all commands.",
    )
    MACHINE = (
        "machine",
        "Both machines have the same type, size of RAM, accelerator and settings.",
    )
    CPU = (
        "cpu",
        "Both have the same number of CPUs with the same features.",
    )
    DEVICES = (
        "devices",
        "All devices of the source are at the destination, at the same addresses.",
    )
    RAM = (
        "ram",
        "All RAM and ROM blocks of the source are at the destination, with the same sizes.",
    )
    CONTENT = (
        "content",
        "No device of the source has content that would stay behind.",
    )
    ALLOWED = (
        "allowed",
        "A warning where a ``--allow-mismatch`` matches no failure.",
    )
    DISKS = (
        "disks",
        "The disks to copy. Each has a counterpart that can be written, is large enough, and is not the same image (on "
        "one host, on a filesystem that the hosts share, or at one network address).",
    )
    DESTINATION_TLS = (
        "destination-tls",
        "The same as ``tls``, at the destination.",
    )
    DESTINATION_SOCKETS = (
        "destination-sockets",
        "The same as ``sockets``, at the destination.",
    )
    THROUGHPUT = (
        "throughput",
        "The throughput of one channel to the destination, through TLS and both daemons, for two seconds, or longer over a "
        "long line. A warning where TCP's buffers hold less than the line.",
    )
    ACTIVITY = (
        "activity",
        "How fast the guest dirties its memory (QEMU's ``calc-dirty-rate``, for a second) and writes to its disks.",
    )
    FORECAST = (
        "forecast",
        "The times that follow from that: see below.",
    )


@frozen
class Finding:
    """
    The result of one check.

    ``check`` is its stable name, a :class:`Check`, ``what`` was found, ``remedy`` is what to do about it, ``code`` is the code
    of the error that a migration would end with. ``name`` is what ``--allow-mismatch`` takes, where the finding can be allowed.
    """

    level: Level
    check: str
    what: str
    remedy: str = ""
    code: str = ""
    name: str = ""

    @classmethod
    def of(cls, check: str, error: NbdtunError, level: Level = Level.FAILURE) -> Finding:
        """The finding that reports ``error``."""
        return cls(level, check, error.what or str(error), error.remedy, error.code)

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}" if self.remedy else self.what

    def as_json(self) -> dict[str, Any]:
        """The object that ``nbdtun check --json`` prints: see ``docs/migrate``."""
        return {
            "level": self.level.value,
            "check": self.check,
            "what": self.what,
            "remedy": self.remedy or None,
            "code": self.code or None,
            "name": self.name or None,
        }
