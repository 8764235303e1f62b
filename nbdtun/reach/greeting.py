"""
The first line of each end of a connection with the far end, before AMP or frames: see :mod:`.commands`.

The near end speaks at once. The far end answers with its marker, which is searched for in all that a login shell prints before it. A
connection for a link proves both ends, by a secret that only they know.
"""

from __future__ import annotations

import hmac
import re
from typing import Final

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from nbdtun import __version__
from nbdtun.errors import LinkLost, NotInstalled, ProtocolViolation, ReachError
from nbdtun.reach.commands import MARKER, VERSION

TALK: Final = b"talk\n"

#: The most bytes that may come before the marker, and of a line.
MAX_BEFORE: Final = 256 * 1024
MAX_LINE: Final = 256

_MARK: Final = re.compile(re.escape(MARKER) + rb"(\d{1,5})(?:-(\d{1,5}))? ([\w.+-]{1,64}) ([0-9a-f]{64}|-)\n", re.ASCII)


@frozen
class Mark:
    """The far end's marker: the lowest and the highest version of the dialogue that it speaks, nbdtun's own, and the proof of a link."""

    lowest: int
    highest: int
    release: str
    proof: str

    def check(self, proof: str = "-") -> None:
        """
        Check that it speaks our version too, and knows the same secret.

        :raise NotInstalled: it speaks others.
        :raise ReachError: it does not know the secret.
        """
        if not self.lowest <= VERSION <= self.highest:
            theirs = f"{self.lowest}" if self.lowest == self.highest else f"{self.lowest} to {self.highest}"
            what = f"the far end's nbdtun {self.release} speaks version {theirs} of the dialogue, and this one {VERSION}"
            raise NotInstalled(what, "install the same nbdtun at both hosts")
        if not hmac.compare_digest(self.proof, proof):
            raise ReachError("another far end has answered than the one that was asked first")


def mark(proof: str = "-") -> bytes:
    """The far end's first line."""
    return MARKER + f"{VERSION} {__version__} {proof}\n".encode()


def near_proof(secret: bytes) -> str:
    """What the near end says to prove that it knows ``secret``."""
    return hmac.digest(secret, b"near", "sha256").hex()


def far_proof(secret: bytes) -> str:
    """What the far end says."""
    return hmac.digest(secret, b"far", "sha256").hex()


def link(secret: bytes) -> bytes:
    """The near end's first line of a link."""
    return f"link {near_proof(secret)}\n".encode()


class Calling(Protocol):
    """
    The near end of a new connection: says ``line``, skips what comes before the marker, and fires ``met`` with that.

    Then it waits for :meth:`give_way`, and reads nothing.
    """

    def __init__(self, line: bytes) -> None:
        self.met: Deferred[Mark] = Deferred()
        self._line = line
        self._data = b""

    def connectionMade(self) -> None:
        """Say the line."""
        assert self.transport is not None
        self.transport.write(self._line)

    def dataReceived(self, data: bytes) -> None:
        """Search for the marker."""
        assert self.transport is not None
        self._data += data
        found = _MARK.search(self._data)
        if found is not None:
            self.transport.pauseProducing()  # type: ignore[attr-defined]
            self._data = self._data[found.end() :]
            self.met.callback(Mark(int(found[1]), int(found[2] or found[1]), found[3].decode(), found[4].decode()))
        elif len(self._data) > MAX_BEFORE:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It ended before the marker."""
        if not self.met.called:
            self.met.errback(LinkLost("the connection ended before the far end spoke"))

    def give_way(self, protocol: IProtocol) -> None:
        """The connection is ``protocol``'s from now on, with what has come behind the marker."""
        transport = self.transport
        assert transport is not None
        transport.protocol = protocol  # type: ignore[attr-defined]
        transport.resumeProducing()  # type: ignore[attr-defined]
        protocol.makeConnection(transport)
        if self._data:
            protocol.dataReceived(self._data)


def purpose(line: bytes) -> str | None:
    """
    What a connection is for, by the near end's first line: None to talk, or a link, with its proof.

    :raise ProtocolViolation: it is neither.
    """
    if line == TALK:
        return None
    found = re.fullmatch(rb"link ([0-9a-f]{64})\n", line)
    if found is None:
        raise ProtocolViolation("it does not speak the far end's dialogue")
    return found[1].decode()
