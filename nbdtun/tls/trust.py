"""
Trust: the TLS of one end's links, and what a peer must fulfil beyond OpenSSL's own checks.

OpenSSL refuses in the handshake: another CA, an expired certificate, a wrong name, a certificate for another purpose. What is checked here
comes right after the handshake, and the peer is told the reason in words.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from typing import Protocol

from nbdtun.errors import TLSError
from nbdtun.tls.certificate import purposes_of
from nbdtun.tls.presented import PROTOCOL, Presented
from nbdtun.tls.renewal import Renewal
from nbdtun.tls.revocation import Revocations
from nbdtun.tls.store import CA_CRL, Store


class Trusting(Protocol):
    """The TLS of one end's links, wherever its certificates are from."""

    def context(self) -> ssl.SSLContext:
        """Return the context for a new link."""

    def check(self, presented: Presented, peer: str) -> None:
        """
        Check what ``peer`` has presented in its handshake.

        :raise TLSError: it is another service, or its certificate does not fulfil what is asked for; the text is for both ends.
        """

    def revision(self) -> int:
        """Look for new revocations; returns a number that changes with them: then standing links are to be checked again."""

    def check_again(self, presented: Presented, peer: str) -> None:
        """
        Check a standing link after :meth:`revision` has changed.

        :raise TLSError: its peer's certificate is revoked now.
        """


class Pinned:
    """The TLS of links to peers whose certificates are known, each by itself: there is no authority, and nothing is revoked."""

    def __init__(self, make: Callable[[], ssl.SSLContext]) -> None:
        self._make = make

    def __repr__(self) -> str:
        return "<Pinned>"

    def context(self) -> ssl.SSLContext:
        """See :class:`Trusting`."""
        return self._make()

    def check(self, presented: Presented, peer: str) -> None:
        """See :class:`Trusting`; OpenSSL has compared the certificate."""
        _check_protocol(presented, peer)

    def revision(self) -> int:
        """See :class:`Trusting`."""
        return 0

    def check_again(self, presented: Presented, peer: str) -> None:
        """See :class:`Trusting`."""


class Trust:
    """
    The TLS of a ``server``, or of a client, with the files in ``store``, or in a directory in QEMU's layout. With ``any_purpose``, peers'
    certificates need no extended key usage.

    :raise ConfigError: the files cannot be used.
    """

    def __init__(self, store: str | os.PathLike[str] | Store, *, server: bool, any_purpose: bool = False) -> None:
        self._server = server
        self._renewal = Renewal(store, server=server)
        self._revocations = Revocations(Store.of(store) / CA_CRL)
        self._moved = 0
        self._here, self._purpose = ("the destination", "clientAuth") if server else ("the source", "serverAuth")
        self._any_purpose = any_purpose

    def __repr__(self) -> str:
        return f"<Trust of {self._here}: {self._renewal!r}, {self._revocations!r}>"

    def move(self, store: str | os.PathLike[str] | Store, *, any_purpose: bool) -> None:
        """
        Use the files in ``store`` from now on; what was revoked stays so, and the links that stand are checked again.

        :raise ConfigError: the files cannot be used; those from before stay in use.
        """
        renewal, revocations = Renewal(store, server=self._server), Revocations(Store.of(store) / CA_CRL)
        revocations.inherit(self._revocations)
        self._moved += self._revocations.revision - revocations.revision + 1
        self._renewal, self._revocations, self._any_purpose = renewal, revocations, any_purpose

    def context(self) -> ssl.SSLContext:
        """Return the context for a new link."""
        return self._renewal()

    def check(self, presented: Presented, peer: str) -> None:
        """
        Check what ``peer`` has presented in its handshake.

        :raise TLSError: it is another service, or its certificate does not fulfil what is asked for; the text is for both ends.
        """
        _check_protocol(presented, peer)
        if not self._any_purpose and purposes_of(presented.certificate) is None:
            remedy = f"reissue it with {self._purpose}, or start {self._here} with --any-purpose"
            raise TLSError(f"{peer}: its certificate has no extended key usage", remedy)
        self._revocations.look()
        self._revocations.check(presented.chain, peer, self._here)

    def revision(self) -> int:
        """Look for new revocations; returns a number that changes with them: then standing links are to be checked again."""
        self._revocations.look()
        return self._moved + self._revocations.revision

    def check_again(self, presented: Presented, peer: str) -> None:
        """
        Check a standing link after :meth:`revision` has changed.

        :raise TLSError: its peer's certificate is revoked now.
        """
        self._revocations.check_known(presented.chain, peer, self._here)


def _check_protocol(presented: Presented, peer: str) -> None:
    if presented.protocol != PROTOCOL:
        raise TLSError(f"{peer}: it does not speak {PROTOCOL} (ALPN): it is another service, or another version of nbdtun")
