"""
Every error that nbdtun raises, as one tree, named for what the caller can decide::

    NbdtunError
    ├── ConfigError                what was asked for cannot be done as asked
    ├── TunnelError
    │   ├── TLSError               the two ends do not trust each other
    │   ├── NotAllowed             the destination trusts the source's certificate, but does not admit it
    │   ├── VersionMismatch        the two ends speak different protocols
    │   ├── TargetUnknown          the destination lists no target of that name
    │   ├── TargetUnreachable      the destination could not connect to the target's socket
    │   ├── TooManyChannels        a limit of the destination is reached
    │   ├── ResumeRefused          the other end does not know this channel, or not at this offset
    │   ├── AlreadyComplete        the destination has seen this channel to its end
    │   ├── LinkLost               the other end cannot be reached
    │   │   └── NoAnswer           it is there, and has not answered in time
    │   ├── ProtocolViolation      the other end sent what the protocol does not allow
    │   └── ChannelReset           a channel was ended before its end
    └── MigrationError
        ├── VMUnknown              the destination knows no VM of that name
        ├── MonitorError           a QMP socket cannot be used
        │   └── MonitorLost        it was there, and is gone
        ├── CommandFailed          QEMU refused a command
        ├── NotMigratable          this VM cannot be moved as it is now
        ├── DiskMismatch           the two machines' disks are not the same
        ├── MirrorFailed           copying a disk failed
        ├── MemoryFailed           copying the memory failed
        ├── TimedOut               it has lasted longer than it may
        ├── Stalled                nothing moves any more
        ├── TooLate                a running migration cannot do any more what was asked of it
        ├── DestinationFailed      the destination reported a failure of its own
        └── OutcomeUnknown         nobody can tell whether the VM runs at the destination

The text of an error is the one line that an operator reads: it names the thing and, where there is one, the remedy, which is
kept apart too where whoever raises it does so.
``code`` is stable: it crosses the wire, is ``code`` in JSON and in log events, and ends the line that an operator reads, in brackets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, TypeVar


class NbdtunError(Exception):
    """Something that nbdtun was asked to do has failed: ``what``, and what to do about it, if ``remedy`` is not empty."""

    code: ClassVar[str] = "failed"

    def __init__(self, what: str = "", remedy: str = "") -> None:
        super().__init__(f"{what}; {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy

    @property
    def line(self) -> str:
        """The text with the code behind it, as logs and exit texts show it; one line that cannot write to a terminal."""
        return f"{printable(str(self))} [{self.code}]"


E = TypeVar("E", bound=NbdtunError)


class ConfigError(NbdtunError):
    """An option, a file or a name that was given cannot be used."""

    code = "config"


class TunnelError(NbdtunError):
    """The tunnel, or one of its channels, has failed."""

    code = "tunnel"


class TLSError(TunnelError):
    """The two ends do not trust each other: no certificate, another CA, expired, or another name."""

    code = "tls"


class NotAllowed(TunnelError):
    """The destination does not admit the source's certificate, though its CA has signed it."""

    code = "not-allowed"


class VersionMismatch(TunnelError):
    """The two ends speak different versions of the protocol; install the same nbdtun on both."""

    code = "version"


class TargetUnknown(TunnelError):
    """The destination lists no target of that name."""

    code = "target-unknown"


class TargetUnreachable(TunnelError):
    """The destination could not connect to the target's socket; the text carries its operating system's reason."""

    code = "target-unreachable"


class TooManyChannels(TunnelError):
    """The destination serves as many channels as it may."""

    code = "too-many-channels"


class ResumeRefused(TunnelError):
    """A channel cannot be taken up again: unknown id, another peer, or an offset that was never sent."""

    code = "resume-refused"


class AlreadyComplete(TunnelError):
    """The destination has seen this channel to its end already; its last word was lost with a link."""

    code = "complete"


class LinkLost(TunnelError):
    """The other end cannot be reached, or was not heard of for too long."""

    code = "link-lost"


class NoAnswer(LinkLost):
    """The other end has not answered in time; whether it did what it was asked for is as unknown as after a lost link."""

    code = "no-answer"


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
    """The destination was not told of a VM of that name."""

    code = "vm-unknown"


class MonitorError(MigrationError):
    """A QMP socket cannot be used: not there, not allowed, or no QMP behind it."""

    code = "monitor"


class MonitorLost(MonitorError):
    """QEMU's monitor was there and is gone: QEMU has died, or something else closed it."""

    code = "monitor-lost"


class CommandFailed(MigrationError):
    """QEMU refused a QMP command; the text carries QEMU's own description, ``kind`` is QEMU's class of the error."""

    code = "command"

    def __init__(self, text: str, kind: str = "GenericError") -> None:
        super().__init__(text)
        self.kind = kind


class NotMigratable(MigrationError):
    """The VM cannot be moved as it is now: a blocker, a state, or a migration that is already running."""

    code = "not-migratable"


class DiskMismatch(MigrationError):
    """A disk has no counterpart at the destination, one that is too small, or two that it could be."""

    code = "disk-mismatch"


class MirrorFailed(MigrationError):
    """Copying a disk failed."""

    code = "mirror"


class MemoryFailed(MigrationError):
    """Copying memory and device state failed."""

    code = "memory"


class TimedOut(MigrationError):
    """A phase of the migration, or the whole, has lasted longer than it may."""

    code = "timeout"


class Stalled(MigrationError):
    """Nothing has moved for longer than it may, although the link is up."""

    code = "stall"


class TooLate(MigrationError):
    """A running migration was asked for something that it has gone too far for, or has not got to."""

    code = "too-late"


class DestinationFailed(MigrationError):
    """The destination reported a failure of its own."""

    code = "destination"


class OutcomeUnknown(MigrationError):
    """The VM was handed over and the destination cannot be asked any more; the source is left paused."""

    code = "unknown"


def printable(text: str, limit: int = 4000) -> str:
    """Return somebody else's text as a part of one line: what could move a terminal's cursor, or pretend to be the next line, is gone."""
    words = " ".join(text[: limit + 1].split())
    shown = "".join(letter if letter.isprintable() else "?" for letter in words[:limit])
    return shown if len(text) <= limit else shown + "..."


def tree(root: type[E] = NbdtunError) -> Iterator[type[E]]:  # type: ignore[assignment]
    """Yield every error below ``root``, the more special ones first, and ``root`` last."""
    for below in root.__subclasses__():
        yield from tree(below)
    yield root


def error_of(code: str, text: str, root: type[E], other: type[E]) -> E:
    """Return the error of ``root``'s tree that has this code, as the other end has told it; ``other`` where there is none."""
    found = (error for error in tree(root) if error.code == code)
    return next(found, other)(printable(text))


def wire_errors(root: type[NbdtunError] = NbdtunError, without: tuple[type[NbdtunError], ...] = ()) -> dict[type[Exception], bytes]:
    """
    What may cross the wire, each under its stable code, as an AMP command declares its errors: all of ``root`` but those ``without``.

    AMP sends the first that fits, so the order matters: each comes before what it is a special case of.
    """
    return {error: error.code.encode() for error in tree(root) if not issubclass(error, without)}
