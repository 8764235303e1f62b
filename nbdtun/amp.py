"""
AMP between two ends that do not trust each other. Nothing is logged unless a subclass does so.

A peer can send anything, and at worst loses its connection. Each text, number and list has a limit, which is checked before the value is
used or quoted. A box has a limited number of keys. Input that does not parse is refused in one short line.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from copy import copy
from typing import Any, ClassVar

from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from nbdtun.errors import ProtocolViolation, printable
from nbdtun.typed import as_json, of_json

#: The most keys in one box, and the most bytes of one.
MAX_KEYS, MAX_KEY = 32, 255

#: Bytes of a secret.
SECRET_SIZE = 32

#: The most characters in an error's text.
MAX_ERROR = 4000

#: The most bytes that a disk or a memory can have.
MAX_BYTES = 1 << 63

#: The most bytes of a JSON object, before it is compressed.
MAX_JSON = 4 * 1024 * 1024

#: AMP's own limit for a value.
_MAX_VALUE = 0xFFFF


class Refused(amp.RemoteAmpError):
    """A peer sent malformed data. It gets this as the answer, and loses its connection if that is ``fatal``."""

    def __init__(self, reason: str, fatal: bool = True) -> None:
        super().__init__(ProtocolViolation.code.encode(), reason, fatal=fatal)


class Text(amp.Argument):
    """UTF-8 text of at most ``limit`` printable characters."""

    def __init__(self, limit: int = 255, optional: bool = False) -> None:
        super().__init__(optional=optional)
        self.limit = limit

    def fromString(self, data: bytes) -> str:
        try:
            text = data.decode()
        except UnicodeDecodeError as nonsense:
            raise Refused("a text that is not UTF-8") from nonsense
        if len(text) > self.limit or not text.isprintable():
            raise Refused(f"a text of {len(text)} characters is too long (the limit is {self.limit}), or is not printable")
        return text

    def toString(self, text: str) -> bytes:
        return "".join(c if c.isprintable() else " " for c in text[: self.limit]).encode()


class Secret(amp.Argument):
    """Random bytes that only the two ends know; never quoted. It is left out without TLS."""

    def fromString(self, data: bytes) -> bytes:
        if len(data) != SECRET_SIZE:
            raise Refused(f"a secret that has not {SECRET_SIZE} bytes")
        return data

    def toString(self, secret: bytes) -> bytes:
        return secret


class Number(amp.Argument):
    """A number from ``least`` to ``limit``."""

    def __init__(self, limit: int = MAX_BYTES, optional: bool = False, least: int = 0) -> None:
        super().__init__(optional=optional)
        self.least, self.limit = least, limit

    def fromString(self, data: bytes) -> int:
        if len(data) > 20 or not data.isdigit() or not self.least <= int(data) <= self.limit:
            raise Refused(f"not a number from {self.least} to {self.limit}")
        return int(data)

    def toString(self, number: int) -> bytes:
        return b"%d" % number


class Flag(amp.Argument):
    """Yes or no, written as AMP's own Boolean does; but that one quotes any other value in its error."""

    def fromString(self, data: bytes) -> bool:
        if data not in (b"True", b"False"):
            raise Refused("neither True nor False")
        return data == b"True"

    def toString(self, flag: bool) -> bytes:
        return b"True" if flag else b"False"


class Object(amp.Argument):
    """A JSON object, compressed, since AMP's values end at 64 KiB."""

    def fromString(self, data: bytes) -> dict[str, Any]:
        inflating = zlib.decompressobj()
        try:
            text = inflating.decompress(data, MAX_JSON)
            value = json.loads(text)
        except (zlib.error, ValueError, RecursionError):
            raise Refused("not a JSON object") from None
        if not inflating.eof or not isinstance(value, dict):
            raise Refused("not a JSON object, or too large a one")
        return value

    def toString(self, value: dict[str, Any]) -> bytes:
        data = zlib.compress(json.dumps(value, allow_nan=False).encode())
        if len(data) > _MAX_VALUE:
            raise ValueError(f"a JSON object of {len(data)} bytes, compressed, is too large for the dialogue")
        return data


class Value(Object):
    """A value of the class ``kind``, as a JSON object."""

    def __init__(self, kind: type[Any], optional: bool = False) -> None:
        super().__init__(optional=optional)
        self.kind = kind

    def fromString(self, data: bytes) -> Any:
        told = super().fromString(data)
        try:
            return of_json(self.kind, told)
        except ValueError as error:
            raise Refused(f"not a valid {self.kind.__name__.lower()}: {error}"[:250]) from None

    def toString(self, value: Any) -> bytes:
        return super().toString(as_json(value))


class Rows(amp.AmpList):
    """A list of at most ``limit`` boxes."""

    def __init__(self, subargs: Sequence[tuple[bytes, amp.Argument]], limit: int, optional: bool = False) -> None:
        super().__init__(list(subargs), optional=optional)
        self.limit = limit

    def fromStringProto(self, data: bytes, proto: Any) -> list[dict[str, Any]]:
        self._check(data)
        try:
            rows: list[dict[str, Any]] = super().fromStringProto(data, proto)
        except (KeyError, ValueError) as nonsense:
            raise Refused("not a list") from nonsense
        return rows

    def _check(self, data: bytes) -> None:
        """Check the boxes' form: AMP's parser passes over the rest of a list that was cut off, and takes a field twice."""
        rows, keys, at = 0, set[bytes](), 0
        while at < len(data):
            key, at = _string(data, at)
            if key:
                if key in keys or len(keys) == MAX_KEYS or len(key) > MAX_KEY:
                    raise Refused("a row with one field twice, or too many")
                keys.add(key)
                _, at = _string(data, at)
            else:
                rows, keys = rows + 1, set()
            if rows > self.limit:
                raise Refused(f"more than {self.limit} rows")
        if keys:
            raise Refused("not a list")


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    """The string at this place, after its length, and the place behind it."""
    begin = at + 2
    end = begin + int.from_bytes(data[at:begin])
    if end > len(data):
        raise Refused("not a list")
    return data[begin:end], end


class CheckedCommand(amp.Command):
    """A command whose fields are all checked before use. A missing field is the peer's fault, and gets no traceback."""

    #: Whether a peer that sends this command malformed loses its connection.
    fatal: ClassVar[bool] = True

    @classmethod
    def parseArguments(cls, box: amp.AmpBox, protocol: Any) -> Any:
        """Parse a peer's question."""
        try:
            return super().parseArguments(box, protocol)
        except Refused as nonsense:
            raise Refused(nonsense.description, cls.fatal) from nonsense
        except (KeyError, ValueError, TypeError, RecursionError) as nonsense:
            raise Refused(f"{cls.commandName.decode()} is malformed", cls.fatal) from nonsense

    @classmethod
    def parseResponse(cls, box: amp.AmpBox, protocol: Any) -> Any:
        """Parse a peer's answer."""
        try:
            return super().parseResponse(box, protocol)
        except (KeyError, ValueError, TypeError, RecursionError, Refused) as nonsense:
            raise ProtocolViolation(f"the answer to {cls.commandName.decode()} is malformed") from nonsense


class Peer(amp.AMP):
    """One end of a connection to an untrusted peer. A peer's mistake ends the connection, without a traceback in our log."""

    _has_ended = False
    _keys = 0

    def makeConnection(self, transport: Any) -> None:
        """Begin. AMP's own version would log a line at the beginning and at the end."""
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Fail the commands that wait for an answer.

        Twisted's transports give the same two objects for a reason, always (``twisted.internet.main``). To raise them would keep the frames
        of every connection that was ever lost.
        """
        self._has_ended = True
        amp.BinaryBoxProtocol.connectionLost(self, Failure(copy(reason.value)))

    def dataReceived(self, data: bytes) -> None:
        """Parse input. AMP raises many kinds of exceptions for malformed input."""
        try:
            super().dataReceived(data)
        except Exception as error:  # of many kinds, which AMP does not document
            if self.innerProtocol is not None:  # it has switched to another protocol, whose errors are its own
                raise
            self.unhandledError(Failure(ProtocolViolation(f"it does not speak the protocol: {error!r:.200}")))

    def proto_key(self, string: bytes) -> str:
        """Limit the keys of a box, and take each once; AMP limits only the size of each key and value."""
        self._keys = self._keys + 1 if string else 0
        if self._keys > MAX_KEYS:
            raise ProtocolViolation("a message with too many fields")
        if string and string in (self._currentBox or ()):
            raise ProtocolViolation("a message with one field twice")
        state: str = super().proto_key(string)
        return state

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        """Take a question or an answer."""
        if self._has_ended:
            return  # it arrived together with the data that ended the connection
        if sum(kind in box for kind in (amp.COMMAND, amp.ANSWER, amp.ERROR)) != 1:
            raise ProtocolViolation("neither a question nor an answer")
        if amp.ERROR in box and not {amp.ERROR_CODE, amp.ERROR_DESCRIPTION} <= box.keys():
            raise ProtocolViolation("an error without its code or description")
        if amp.ERROR_DESCRIPTION in box:  # it will stand in our log, and on an operator's terminal
            box[amp.ERROR_DESCRIPTION] = printable(box[amp.ERROR_DESCRIPTION].decode("utf-8", "replace")).encode()
        super().ampBoxReceived(box)

    def locateResponder(self, name: bytes) -> Any:
        """Find the responder of a command; StartTLS, which AMP itself would answer, has none."""
        return None if name == amp.StartTLS.commandName else super().locateResponder(name)

    def dispatchCommand(self, box: amp.AmpBox) -> Any:
        """Run a command."""
        return super().dispatchCommand(box).addErrback(self._dispatch_failed)

    def _dispatch_failed(self, failure: Failure) -> Failure:
        if isinstance(failure.value, Refused):
            self.command_refused(failure.value.description)
        return failure

    def command_refused(self, reason: str) -> None:
        """Called with a short ``reason`` when a command was refused; subclasses that have a log override it."""

    def unhandledError(self, failure: Failure) -> None:
        """End the connection: the peer made a mistake."""
        if self.transport is not None:
            self.transport.loseConnection()
