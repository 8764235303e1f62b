"""The end that listens: it admits channels, connects them to their targets, and remembers them while they have no link."""

from __future__ import annotations

import hmac
import re
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.peer import messages, wire
from tests.peer.channel import LEAST_WINDOW, WINDOW, Channel
from tests.peer.messages import Box, Refused, Release, Value, Violation
from tests.peer.wire import Lost, Secure, Wire

HANDSHAKE = 10.0
MOST_BEFORE = 16 << 10

Target = Callable[[], Callable[[Channel], None]]
"""Connects (an OSError says why not); what it returns is given the channel."""


@dataclass
class Known:
    """A channel, and whose it is."""

    channel: Channel
    owner: bytes
    secret: bytes
    target: str
    asked: int


class Destination:
    """Listens on `port`; a context manager that ends it."""

    def __init__(
        self,
        tls: Path | None = None,
        *,
        targets: dict[str, Target] | None = None,
        release: Release | None = None,
    ) -> None:
        self.targets = targets if targets is not None else {}
        self.questions: list[Box] = []
        """All that was asked of it, in its order."""
        self.accepted = 0
        self.known: dict[bytes, Known] = {}
        self._context = wire.server(tls) if tls else None
        self._release = release or Release()
        self.altered: Callable[[dict[str, Value]], dict[str, Value]] = lambda fields: fields
        """Changes an answer before it is sent, for tests."""
        self.cut: tuple[int, str] | None = None
        """Where the next connection breaks, for tests."""
        self.refusal: tuple[str, str] | None = None
        """The error that each question is answered with, for tests."""
        self._guard = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for known in self.known.values():
            known.channel.reset("reset", "the destination was stopped")

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.accepted += 1
                cut, self.cut = self.cut, None
                threading.Thread(target=self._admit, args=(sock, cut), daemon=True).start()

    def _admit(self, sock: socket.socket, cut: tuple[int, str] | None) -> None:
        connection = None
        try:
            connection = self._secured(sock)
            if cut:
                connection.cut_after(*cut)
            question = messages.read(connection.exactly)
            self.questions.append(question)
            self._answer(connection, question)
        except (Lost, Violation, OSError):
            (connection or sock).close()

    def _secured(self, sock: socket.socket) -> Wire:
        return Secure(sock, HANDSHAKE, self._context, None) if isinstance(self._context, ssl.SSLContext) else Wire(sock, HANDSHAKE)

    def _answer(self, connection: Wire, question: Box) -> None:
        if connection.pending:
            raise Violation("more behind the question")
        ask = question.get("_ask", b"")
        commands = {b"OpenChannel": self._open, b"ResumeChannel": self._resume, b"Greet": self._greet}
        answer = commands.get(question.get("_command", b""), self._refuse) if not self.refusal else self._refuse
        try:
            with self._guard:
                answer(connection, question, ask)
        except Refused as error:
            connection.send(messages.error(ask, error.code, error.description))
            connection.finish()
            with suppress(Lost):
                connection.some(1)
            connection.close()

    def _refuse(self, connection: Wire, question: Box, ask: bytes) -> None:
        raise Refused(*(self.refusal or ("UNHANDLED", "no such command")))

    def _greet(self, connection: Wire, question: Box, ask: bytes) -> None:
        self._say(connection, ask, self._release.choose(question))

    def _open(self, connection: Wire, question: Box, ask: bytes) -> None:
        chosen, ident = self._release.choose(question), self._ident(question)
        target, window = messages.text(question, "target"), messages.number(question, "window", LEAST_WINDOW)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", target):
            raise Refused("target-unknown", f"{target} is no target's name")
        if (known := self.known.get(ident)) is None:
            if target not in self.targets:
                raise Refused("target-unknown", f"the destination has no target {target!r}")
            try:
                begin = self.targets[target]()
            except OSError as error:
                raise Refused("target-unreachable", f"target {target}: {error.strerror}") from None
            channel = Channel(destination=True, window=min(window, WINDOW))
            known = Known(channel, connection.identity, question.get("secret", b""), target, window)
            self.known[ident] = known
            begin(channel)
        elif (known.target, known.asked) != (target, window) and self._own(connection, question, known):
            raise Refused("protocol", "another target or window than before")
        self._join(connection, question, ask, known, chosen, 0)

    def _resume(self, connection: Wire, question: Box, ask: bytes) -> None:
        chosen, ident = self._release.choose(question), self._ident(question)
        if (known := self.known.get(ident)) is None:
            raise Refused("resume-refused", "no such channel")
        self._join(connection, question, ask, known, chosen, messages.number(question, "received"))

    def _join(self, connection: Wire, question: Box, ask: bytes, known: Known, chosen: dict[str, Value], stated: int) -> None:
        if not self._own(connection, question, known):
            raise Refused("resume-refused", "no such channel")
        channel = known.channel
        if channel.over:
            raise Refused("complete" if channel.over.code == "complete" else "reset", channel.over.reason)
        try:
            received = channel.state(stated)
        except Violation as error:
            raise Refused("protocol", str(error)) from None
        self._say(connection, ask, {**chosen, "received": received, "window": channel.window})
        channel.attach(connection, stated)

    def _own(self, connection: Wire, question: Box, known: Known) -> bool:
        return known.owner == connection.identity and hmac.compare_digest(known.secret, question.get("secret", b""))

    def _say(self, connection: Wire, ask: bytes, fields: dict[str, Value]) -> None:
        connection.send(messages.pack(_answer=ask, **self.altered(fields)))

    @staticmethod
    def _ident(question: Box) -> bytes:
        if len(ident := question.get("channel", b"")) != 16:
            raise Refused("protocol", "a channel's id has 16 bytes")
        return ident


def unix(path: Path) -> Target:
    """A target that is a UNIX socket."""

    def connect() -> Callable[[Channel], None]:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(f"{path}")
        except BaseException:
            sock.close()
            raise
        return lambda channel: channel.splice(sock)

    return connect
