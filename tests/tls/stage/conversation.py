"""Two real TLS ends that talk over a socket pair."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

from attrs import define, field

from nbdtun.tls import contexts
from nbdtun.tls.failures import explain
from nbdtun.tls.presented import Presented

PEER = "tcp:dest:10810"
Directory = Callable[..., Path]


@define
class End:
    """One end of a conversation: shakes hands, says one byte, hears one byte; or fails, and explains why."""

    sock: ssl.SSLSocket
    shaken: bool = False
    heard: bytes | None = None
    error: str | None = None
    raised: OSError | None = field(default=None, repr=False)
    identity: str | None = None
    presented: Presented | None = None

    def step(self) -> None:
        if self.error is not None or self.heard is not None:
            return
        try:
            self._talk()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            self.raised = error
            self.error = str(explain(error, PEER, self.sock))
            self.sock.close()

    def _talk(self) -> None:
        if not self.shaken:
            self.sock.do_handshake()
            self.shaken = True
            self.sock.send(b"!")
        self.heard = self.sock.recv(1)
        self.identity = contexts.fingerprint(self.sock)
        self.presented = Presented.of(self.sock)


@define
class Conversation:
    server: End
    client: End

    def run(self) -> Conversation:
        for _ in range(20):
            self.client.step()
            self.server.step()
        return self

    @property
    def errors(self) -> tuple[str | None, str | None]:
        return self.server.error, self.client.error
