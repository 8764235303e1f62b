"""
The doorkeeper: it stands before a control channel, and tells which process it is for.

A source's questions name its VM or its session. Where another process has these, the channel's local end is passed on to it, with all that
was said and not answered yet. The channel itself stays: to it, this is a program like any other.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterator

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from nbdtun.amp import MAX_KEY, MAX_KEYS, Object, Refused
from nbdtun.errors import TunnelError
from nbdtun.logs import make_logger
from nbdtun.tunnel.opening.detach import detach

#: The commands that begin a session: from then on, its channel belongs to the process that has it.
BEGINNING = frozenset({"Prepare", "LibvirtPrepare"})

#: Characters of a UUID.
UUID = 36

#: The most bytes of a message; the one behind refuses a longer one.
LONGEST = MAX_KEYS * (2 + MAX_KEY + 2 + 0xFFFF) + 2


@frozen
class About:
    """
    What a message is about: its ``size``, and where it is a question, the ``command``, and the VM and session that it names; a domain of
    libvirt's is named by its ``uuid``.
    """

    size: int
    command: str = ""
    vm: str | None = None
    session: str | None = None
    uuid: str | None = None


def about(data: bytes) -> About | None:
    """What the first message in ``data`` is about; None while it is not whole."""
    fields, at = {}, 0
    for key, value, after in _fields(data):
        at = after
        if not key:
            break
        fields[key] = value
    else:
        return None
    names = (b"_command", b"vm", b"session", b"uuid")
    told = {name: fields[name].decode("utf-8", "replace") for name in names if name in fields}
    uuid = told.get(b"uuid") or _uuid(fields.get(b"wanted", b""))
    return About(at, told.get(b"_command", ""), told.get(b"vm"), told.get(b"session"), uuid)


def _uuid(wanted: bytes) -> str | None:
    """That of a domain that is wanted; None if there is none."""
    try:
        uuid = Object().fromString(wanted).get("uuid") if wanted else None
    except Refused:
        return None  # the one behind says so
    return uuid if isinstance(uuid, str) and len(uuid) <= UUID else None


def _fields(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """Each key, its value and the place behind it; an empty key is the end of a message."""
    at = 0
    while (key := _string(data, at)) is not None:
        at += 2 + len(key)
        value = _string(data, at) if key else b""
        if value is None:
            return
        at += 2 + len(value) if key else 0
        yield key, value, at


def _string(data: bytes, at: int) -> bytes | None:
    """The string at this place, behind its length; None while it is not whole."""
    end = at + 2 + int.from_bytes(data[at : at + 2])
    return data[at + 2 : end] if at + 2 <= len(data) and end <= len(data) else None


class Doorkeeper(Protocol):
    """
    Stands before ``inner``, which answers here. ``elsewhere`` says whether another process has a VM, a session or a domain of libvirt's;
    ``give`` passes the connection on to it.
    """

    log = make_logger()

    def __init__(
        self,
        inner: IProtocol,
        elsewhere: Callable[[str | None, str | None, str | None], Awaitable[bool]],
        give: Callable[[socket.socket, bytes], Awaitable[None]],
    ) -> None:
        self._inner = inner
        self._elsewhere = elsewhere
        self._give = give
        self._held = b""
        self._asking: Deferred[None] | None = None
        self._open = False  # a session has begun here: everything is for this process

    def __repr__(self) -> str:
        return f"<Doorkeeper before {self._inner!r}>"

    def connectionMade(self) -> None:
        """Let the one behind begin."""
        assert self.transport is not None
        self._inner.makeConnection(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the one behind."""
        if self._asking is not None:
            self._asking.cancel()
        self._inner.connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        """Sort what arrives."""
        if self._open:
            self._inner.dataReceived(data)
        else:
            self._held += data
            self._sort()

    def _sort(self) -> None:
        while self._asking is None and not self._open and (found := about(self._held)) is not None:
            if found.command and (found.vm, found.session, found.uuid) != (None, None, None):
                assert self.transport is not None
                self.transport.pauseProducing()  # type: ignore[attr-defined]
                self._asking = Deferred.fromCoroutine(self._route(found))
                self._asking.addErrback(self._failed)
                if self._asking.called:
                    self._asking = None
            else:
                self._let_in(found.size)
        if len(self._held) > LONGEST and self._asking is None:
            self._let_in(len(self._held))  # the one behind refuses it

    async def _route(self, found: About) -> None:
        transport = self.transport
        assert transport is not None
        if await self._elsewhere(found.vm, found.session, found.uuid):
            said, self._held = self._held, b""
            sock = detach(transport)
            self._asking = None
            self._inner.connectionLost(Failure(ConnectionDone()))
            await self._give(sock, said)
            return
        self._asking = None
        self._let_in(found.size)
        self._open = found.command in BEGINNING
        if self._open:
            self._let_in(len(self._held))
        transport.resumeProducing()  # type: ignore[attr-defined]
        self._sort()

    def _let_in(self, size: int) -> None:
        data, self._held = self._held[:size], self._held[size:]
        if data:
            self._inner.dataReceived(data)

    def _failed(self, failure: Failure) -> None:
        """The other process does not answer: the source asks again, over another channel."""
        if failure.check(TunnelError) is not None:
            self.log.warn("control channel closed: {reason}", reason=failure.getErrorMessage())
        if self.transport is not None:
            self.transport.loseConnection()
