"""
AMP between two ends that do not trust each other, and say nothing to the log by themselves.

A peer can send whatever it likes. The worst that it costs is its connection: each text, number and list has a bound which is checked
before it is used or quoted, a box has a limited number of keys, and what does not parse is refused in one short line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from nbdtun.errors import ProtocolViolation, printable

#: Keys of one box.
MAX_KEYS = 16

#: Characters of an error's text.
MAX_ERROR = 4000

#: What a disk or a memory can have.
MAX_BYTES = 1 << 63


class Refused(amp.RemoteAmpError):
    """A peer has sent nonsense; it is answered so, and its connection ends if that is ``fatal``."""

    def __init__(self, reason: str, fatal: bool = True) -> None:
        super().__init__(ProtocolViolation.code.encode(), reason, fatal=fatal)


class Text(amp.Argument):
    """UTF-8 text of at most ``limit`` printable characters."""

    def __init__(self, limit: int = 255, optional: bool = False) -> None:
        super().__init__(optional=optional)
        self.limit = limit

    def fromString(self, data: bytes) -> str:
        text = data.decode("utf-8", "replace")
        if len(text) > self.limit or not text.isprintable():
            raise Refused(f"a text of {len(text)} characters is too long (the limit is {self.limit}), or is not printable")
        return text

    def toString(self, text: str) -> bytes:
        return "".join(c if c.isprintable() else " " for c in text[: self.limit]).encode()


class Number(amp.Argument):
    """A number from 0 to ``limit``."""

    def __init__(self, limit: int = MAX_BYTES, optional: bool = False) -> None:
        super().__init__(optional=optional)
        self.limit = limit

    def fromString(self, data: bytes) -> int:
        if len(data) > 20 or not data.isdigit() or int(data) > self.limit:
            raise Refused(f"not a number from 0 to {self.limit}")
        return int(data)

    def toString(self, number: int) -> bytes:
        return b"%d" % number


class Flag(amp.Argument):
    """Yes or no, as AMP's own Boolean writes it; that one quotes all else that it is given."""

    def fromString(self, data: bytes) -> bool:
        if data not in (b"True", b"False"):
            raise Refused("neither True nor False")
        return data == b"True"

    def toString(self, flag: bool) -> bytes:
        return b"True" if flag else b"False"


class Rows(amp.AmpList):
    """A list of at most ``limit`` boxes."""

    def __init__(self, subargs: Sequence[tuple[bytes, amp.Argument]], limit: int) -> None:
        super().__init__(list(subargs))
        self.limit = limit

    def fromStringProto(self, data: bytes, proto: Any) -> list[dict[str, Any]]:
        if data.count(b"\x00\x00") > self.limit * MAX_KEYS:
            raise Refused("the list is too long")
        try:
            rows: list[dict[str, Any]] = super().fromStringProto(data, proto)
        except (AttributeError, KeyError, ValueError) as nonsense:  # the first: AMP's parser wants to close what has no connection
            raise Refused("not a list") from nonsense
        if len(rows) > self.limit:
            raise Refused(f"more than {self.limit} rows")
        return rows


class CheckedCommand(amp.Command):
    """A command of which nothing is believed before it is checked; a missing field is the peer's fault, and not worth a traceback."""

    #: Whether a peer that sends it malformed loses its connection.
    fatal: ClassVar[bool] = True

    @classmethod
    def parseArguments(cls, box: amp.AmpBox, protocol: Any) -> Any:
        """Parse what a peer asks."""
        try:
            return super().parseArguments(box, protocol)
        except Refused as nonsense:
            raise Refused(nonsense.description, cls.fatal) from nonsense
        except (KeyError, ValueError, TypeError) as nonsense:
            raise Refused(f"{cls.commandName.decode()} is malformed", cls.fatal) from nonsense

    @classmethod
    def parseResponse(cls, box: amp.AmpBox, protocol: Any) -> Any:
        """Parse what a peer answers."""
        try:
            return super().parseResponse(box, protocol)
        except (KeyError, ValueError, TypeError, Refused) as nonsense:
            raise ProtocolViolation(f"the answer to {cls.commandName.decode()} is malformed") from nonsense


class Peer(amp.AMP):
    """One end of a connection to a peer that is not trusted. A peer's mistake ends the connection, without a traceback in our log."""

    _has_ended = False
    _keys = 0

    def makeConnection(self, transport: Any) -> None:
        """Begin; AMP's own would write a line to the log for the beginning and for the end."""
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail the commands that wait for an answer."""
        self._has_ended = True
        amp.BinaryBoxProtocol.connectionLost(self, reason)

    def dataReceived(self, data: bytes) -> None:
        """AMP lets what it cannot make sense of out as exceptions of many kinds."""
        try:
            super().dataReceived(data)
        except Exception as error:
            if self.innerProtocol is not None:  # the protocol that it has switched to answers for itself
                raise
            self.unhandledError(Failure(ProtocolViolation(f"it does not speak the protocol: {error!r:.200}")))

    def proto_key(self, string: bytes) -> str:
        """AMP bounds a key and a value, but not how many of them a box has."""
        self._keys = self._keys + 1 if string else 0
        if self._keys > MAX_KEYS:
            raise ProtocolViolation("a message with too many fields")
        state: str = super().proto_key(string)
        return state

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        """Take a question or an answer."""
        if self._has_ended:
            return  # it came in one piece with what has ended the connection
        if sum(kind in box for kind in (amp.COMMAND, amp.ANSWER, amp.ERROR)) != 1:
            raise ProtocolViolation("neither a question nor an answer")
        if amp.ERROR in box and not {amp.ERROR_CODE, amp.ERROR_DESCRIPTION} <= box.keys():
            raise ProtocolViolation("an error without its code or description")
        if amp.ERROR_DESCRIPTION in box:  # it will stand in our log, and on an operator's terminal
            box[amp.ERROR_DESCRIPTION] = printable(box[amp.ERROR_DESCRIPTION].decode("utf-8", "replace")).encode()
        super().ampBoxReceived(box)

    def locateResponder(self, name: bytes) -> Any:
        """Find who answers a command: none of AMP's own, such as StartTLS."""
        return None if name == amp.StartTLS.commandName else super().locateResponder(name)

    def dispatchCommand(self, box: amp.AmpBox) -> Any:
        """Obey a command."""
        return super().dispatchCommand(box).addErrback(self._dispatch_failed)

    def _dispatch_failed(self, failure: Failure) -> Failure:
        if isinstance(failure.value, Refused):
            self.command_refused(failure.value.description)
        return failure

    def command_refused(self, reason: str) -> None:
        """Called when a command was refused for ``reason``, which is short; for those who have a log to write it to."""

    def unhandledError(self, failure: Failure) -> None:
        """End the connection of a peer that has made a mistake."""
        if self.transport is not None:
            self.transport.loseConnection()
