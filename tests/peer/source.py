"""The end that dials: it opens channels, and makes them new links when they lose theirs."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.peer import messages, wire
from tests.peer.channel import LEAST_WINDOW, WINDOW, Channel
from tests.peer.messages import Box, Refused, Release, Value, Violation
from tests.peer.wire import Lost, Secure, Wire

ATTEMPT = 4.0
FIRST = 10.0
RESUME_WINDOW = 300.0


class Source:
    """Dials one destination. `altered` changes the fields of a question before it is sent, for tests."""

    def __init__(
        self, port: int, tls: Path | None = None, *, release: Release | None = None, altered: Callable[[Box], Box] = lambda box: box
    ) -> None:
        self.secret = os.urandom(32) if tls else None
        self._port = port
        self._release = release or Release()
        self._context = wire.client(tls) if tls else None
        self.altered = altered
        self.dialled = 0
        self.cut: tuple[int, str] | None = None
        """Where the next connection breaks, for tests."""

    def dial(self) -> Wire:
        """A connection, not yet a link."""
        try:
            sock = socket.create_connection(("127.0.0.1", self._port), timeout=ATTEMPT)
        except OSError as error:
            raise Lost(str(error)) from None
        self.dialled += 1
        connection = Secure(sock, ATTEMPT, self._context, "127.0.0.1") if self._context else Wire(sock, ATTEMPT)
        if self.cut:
            (count, way), self.cut = self.cut, None
            connection.cut_after(count, way)
        return connection

    def ask(self, connection: Wire, command: str, **fields: Value) -> Box:
        """Ask the one question of a connection; its answer."""
        given = {"_command": command, "_ask": "1", **self._release.offer(), **fields}
        question = {name: messages.value(content) for name, content in given.items()}
        connection.send(messages.pack(**self.altered(question)))
        answer = messages.read(connection.exactly)
        if "_error" in answer:
            raise messages.refusal(answer)
        self._release.accept(answer)
        return answer

    def greet(self) -> Box:
        """Ask whether this end is admitted."""
        connection = self.dial()
        try:
            return self.ask(connection, "Greet")
        finally:
            connection.close()

    def open(self, target: str, *, window: int = WINDOW, urgent: bool = False, session: bytes | None = None) -> Channel:
        """A channel to a target of the destination; it is given up when no link can be made within the resume window."""
        channel, ident = Channel(destination=False, window=window), os.urandom(16)
        secrets: dict[str, Value] = {"secret": os.urandom(32)} if self._context else {}
        fields: dict[str, Value] = {"channel": ident, **secrets, "target": target, "window": window, "urgent": urgent}
        if session and self._context:
            fields["session"] = session
        end = time.monotonic() + FIRST
        while True:
            try:
                self._join(channel, "OpenChannel", fields)
                break
            except Lost:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        again: dict[str, Value] = {"channel": ident, **secrets}
        threading.Thread(target=self._keep, args=(channel, again), daemon=True).start()
        return channel

    def _join(self, channel: Channel, command: str, fields: dict[str, Value]) -> None:
        """Make a link."""
        connection = self.dial()
        try:
            answer = self.ask(connection, command, **fields)
            window = messages.number(answer, "window", LEAST_WINDOW if command == "OpenChannel" else channel.window, channel.window)
            if command == "OpenChannel":
                channel.window = window
            channel.attach(connection, messages.number(answer, "received"))
        except BaseException:
            connection.close()
            raise

    def _keep(self, channel: Channel, fields: dict[str, Value]) -> None:
        """Make new links until the channel is over."""
        while channel.wait_severed():
            try:
                self._resume(channel, fields)
            except Refused as error:
                channel.stop(error.code, error.description)
                return
            except Violation as error:
                channel.stop("protocol", str(error))
                return
            except Lost:
                channel.stop("link-lost", "no new link")
                return

    def _resume(self, channel: Channel, fields: dict[str, Value]) -> None:
        end, pause = time.monotonic() + RESUME_WINDOW, 0.0
        while True:
            try:
                return self._join(channel, "ResumeChannel", {**fields, "received": channel.state()})
            except Lost:
                if time.monotonic() > end:
                    raise
            except Refused as error:
                if error.code != "link-lost":
                    raise
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(4.0, 2 * pause or 0.02)
