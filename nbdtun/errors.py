"""
All errors of nbdtun, as one tree; each name stands for a decision that the caller can make::

    NbdtunError
    ├── ConfigError                an option, a file or a name cannot be used
    ├── JournalFailed              the journal of an evacuation cannot be written or read
    ├── ReachError                 the other host cannot be reached by ssh, or nbdtun cannot be run there
    │   ├── NotInstalled           it has no nbdtun, or one that does not speak with ours
    │   └── WrongCode              the two ends do not have the same code
    ├── TunnelError
    │   ├── TLSError               the two ends do not trust each other
    │   ├── NotAllowed             the destination trusts the source's certificate, but does not admit it
    │   ├── VersionMismatch        the two ends speak no version in common
    │   ├── TargetUnknown          the destination lists no target of that name
    │   ├── TargetUnreachable      the destination could not connect to the target's socket
    │   ├── TooManyChannels        a limit of channels is reached
    │   ├── ShuttingDown           the destination's daemon is shutting down, and begins nothing new
    │   ├── ResumeRefused          the other end does not know this channel, or not at this offset
    │   ├── AlreadyComplete        the destination has seen this channel to its end
    │   ├── LinkLost               the other end cannot be reached
    │   │   ├── NoAnswer           it is connected, but has not answered in time
    │   │   ├── Unreachable        nobody listens there
    │   │   └── HostUnknown        its name has no address
    │   ├── FarEndGone             the far end that ssh has started has ended
    │   ├── ProtocolViolation      the other end sent what the protocol does not allow
    │   └── ChannelReset           a channel was ended before its end
    └── MigrationError
        ├── VMUnknown              the destination knows no VM of that name
        ├── TooManyArrivals        the destination receives no more VMs at this time
        ├── MonitorError           a QMP socket cannot be used
        │   └── MonitorLost        the connection to it was lost
        ├── CommandFailed          QEMU refused a command
        ├── LibvirtError           libvirt cannot be used, or refused a call
        ├── NotMigratable          this VM cannot be moved as it is now
        ├── DiskMismatch           the two machines' disks are not the same
        ├── MirrorFailed           copying a disk failed
        ├── MemoryFailed           copying the memory failed
        ├── TimedOut               it took longer than its time limit
        ├── Stalled                nothing moves any more
        ├── TooLate                a running migration is past the point where the request is possible
        ├── DestinationFailed      the destination reported a failure of its own
        ├── HookFailed             an operator's own executable has failed, or taken too long
        ├── GuestLost              the VM has moved, and its guest was lost at the destination at once
        └── OutcomeUnknown         it is unknown whether the VM runs at the destination

The text of an error is the one line that an operator reads. It names the thing, the reason and, where there is one, the remedy. A peer or a
QEMU may have put words into it. So each error makes its text printable when it is made, and no user of it has to.
``code`` is stable: it crosses the wire, is ``code`` in JSON and in log events, and ends the operator's line, in brackets.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import ClassVar, Self, TypeVar

E = TypeVar("E", bound="NbdtunError")


class NbdtunError(Exception):
    """A request to nbdtun has failed: ``what`` says how, ``remedy`` (perhaps empty) says what to do about it."""

    code: ClassVar[str] = "failed"

    def __init__(self, what: str = "", remedy: str = "") -> None:
        self.what = printable(what)
        self.remedy = printable(remedy)
        super().__init__(f"{self.what}; {self.remedy}" if remedy else self.what)

    @property
    def line(self) -> str:
        """The text followed by the code, as logs and exit texts show it."""
        return f"{self} [{self.code}]"

    def again(self) -> Self:
        """Return an error like this one, to raise in its place: each ``raise`` of one object adds to its traceback, and keeps frames."""
        return copy(self)


class ConfigError(NbdtunError):
    """An option, a file or a name cannot be used."""

    code = "config"


class JournalFailed(NbdtunError):
    """The journal of an evacuation cannot be written or read. The migrations under way go on."""

    code = "journal"


class ReachError(NbdtunError):
    """The other host cannot be reached by ssh, or nbdtun cannot be run there."""

    code = "reach"


class NotInstalled(ReachError):
    """The other host has no nbdtun, or one whose dialogue has another version."""

    code = "not-installed"


class WrongCode(ReachError):
    """The two ends do not have the same code, or somebody is in between. The offer has ended: there is one guess."""

    code = "wrong-code"


class TunnelError(NbdtunError):
    """The tunnel, or one of its channels, has failed."""

    code = "tunnel"


class TLSError(TunnelError):
    """The two ends do not trust each other: no certificate, another CA, expired, or another name."""

    code = "tls"


class NotAllowed(TunnelError):
    """The destination trusts the CA of the source's certificate, but does not admit the certificate."""

    code = "not-allowed"


class VersionMismatch(TunnelError):
    """There is no version of the protocol that both ends speak; the text names the end that needs a newer release."""

    code = "version"


class TargetUnknown(TunnelError):
    """The destination lists no target of that name."""

    code = "target-unknown"


class TargetUnreachable(TunnelError):
    """The destination could not connect to the target's socket; the text has the reason from its operating system."""

    code = "target-unreachable"


class TooManyChannels(TunnelError):
    """The destination, or the source for its local users, has reached a limit of channels."""

    code = "too-many-channels"


class ShuttingDown(TunnelError):
    """The destination's daemon is shutting down: it finishes what is under way, and begins nothing new."""

    code = "shutting-down"


class ResumeRefused(TunnelError):
    """A channel cannot be taken up again: unknown id, another peer, or an offset that was never sent."""

    code = "resume-refused"


class AlreadyComplete(TunnelError):
    """The destination completed this channel earlier; its last message was lost with a link."""

    code = "complete"


class LinkLost(TunnelError):
    """The other end cannot be reached, or has sent nothing for too long."""

    code = "link-lost"


class NoAnswer(LinkLost):
    """The other end has not answered in time. As after a lost link, the request may or may not have been carried out."""

    code = "no-answer"


class Unreachable(LinkLost):
    """Nobody listens at the destination's address."""

    code = "unreachable"


class HostUnknown(LinkLost):
    """The destination's name has no address."""

    code = "host-unknown"


class FarEndGone(TunnelError):
    """The far end that ssh has started has ended before its time, and with it every channel to it."""

    code = "far-end-gone"


class ProtocolViolation(TunnelError):
    """The other end sent what the protocol does not allow."""

    code = "protocol"


class ChannelReset(TunnelError):
    """A channel was ended before its end, by either side."""

    code = "reset"


class MigrationError(NbdtunError):
    """A migration has failed; the VM runs on at the source."""

    code = "migration"


class VMUnknown(MigrationError):
    """The destination has no VM of that name."""

    code = "vm-unknown"


class TooManyArrivals(MigrationError):
    """The destination receives as many VMs as it may at a time; it can be asked again later."""

    code = "too-many-arrivals"


class MonitorError(MigrationError):
    """A QMP socket cannot be used: not there, not allowed, or no QMP behind it."""

    code = "monitor"


class MonitorLost(MonitorError):
    """The connection to QEMU's monitor was lost: QEMU has ended, or something else closed it."""

    code = "monitor-lost"


class CommandFailed(MigrationError):
    """QEMU refused a QMP command; the text has QEMU's own description, ``kind`` is QEMU's error class."""

    code = "command"

    def __init__(self, text: str, kind: str = "GenericError") -> None:
        super().__init__(text)
        self.kind = kind


class LibvirtError(MigrationError):
    """libvirt cannot be used, or refused a call; the text has libvirt's own words, ``number`` is libvirt's code (virErrorNumber), or 0."""

    code = "libvirt"

    def __init__(self, what: str, remedy: str = "", number: int = 0) -> None:
        super().__init__(what, remedy)
        self.number = number


class NotMigratable(MigrationError):
    """The VM cannot be moved as it is now: a blocker, a state, or a migration that is already running."""

    code = "not-migratable"


class DiskMismatch(MigrationError):
    """A disk's counterpart at the destination is missing, too small or ambiguous."""

    code = "disk-mismatch"


class MirrorFailed(MigrationError):
    """Copying a disk failed."""

    code = "mirror"


class MemoryFailed(MigrationError):
    """Copying memory and device state failed."""

    code = "memory"


class TimedOut(MigrationError):
    """A phase of the migration, or the whole, took longer than its time limit."""

    code = "timeout"


class Stalled(MigrationError):
    """Nothing has moved for too long, although the link is up."""

    code = "stall"


class TooLate(MigrationError):
    """A running migration is past the point where the request is possible, or has not reached it."""

    code = "too-late"


class DestinationFailed(MigrationError):
    """The destination reported a failure of its own."""

    code = "destination"


class HookFailed(MigrationError):
    """An operator's own executable has failed, or has taken too long."""

    code = "hook"


class GuestLost(MigrationError):
    """The VM has run at the destination, and does not any more; the source is left paused, as it was handed over."""

    code = "guest-lost"


class OutcomeUnknown(MigrationError):
    """The VM was handed over, and the destination can no longer be asked; the source is left paused."""

    code = "unknown"


def printable(text: str, limit: int = 4000) -> str:
    """Return foreign text as a part of one line, without anything that moves a terminal's cursor or looks like another line."""
    words = " ".join(text[: limit + 1].split())
    shown = "".join(letter if letter.isprintable() else "?" for letter in words[:limit])
    return shown if len(text) <= limit else shown + "..."


def tree(root: type[E] = NbdtunError) -> Iterator[type[E]]:  # type: ignore[assignment]
    """Yield every error below ``root``, subclasses before their bases, and ``root`` last."""
    for below in root.__subclasses__():
        yield from tree(below)
    yield root


def error_of(code: str, text: str, root: type[E], other: type[E]) -> E:
    """Return the error in ``root``'s tree that has the ``code`` which the other end sent; ``other`` where there is none."""
    found = (error for error in tree(root) if error.code == code)
    return next(found, other)(text)


def wire_errors(root: type[NbdtunError] = NbdtunError, without: tuple[type[NbdtunError], ...] = ()) -> dict[type[Exception], bytes]:
    """The errors that an AMP command declares, with their codes: ``root``'s but ``without``. AMP sends the first that matches."""
    return {error: error.code.encode() for error in tree(root) if not issubclass(error, without)}
