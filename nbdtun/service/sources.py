"""The sources that a receiver receives from, by their certificates; each has a secret for its links through ssh."""

from __future__ import annotations

import secrets
import ssl

from nbdtun.tls.throwaway import Identity
from nbdtun.tls.trust import Pinned


class Sources:
    """Those that have come and not left; they know the receiver by its ``identity``."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._secrets: dict[bytes, bytes] = {}
        self._context: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"<Sources, {len(self)} of them>"

    def __len__(self) -> int:
        return len(self._secrets)

    @property
    def secrets(self) -> list[bytes]:
        """The secret of each."""
        return list(self._secrets.values())

    @property
    def trust(self) -> Pinned:
        """Trust in those that are there whenever a link comes; a source comes before its links."""
        return Pinned(self._latest)

    def _latest(self) -> ssl.SSLContext:
        assert self._context is not None
        return self._context

    def come(self, certificate: bytes) -> bytes:
        """
        One has come; returns its secret.

        :raise TLSError: the certificate cannot be used.
        """
        self._context = self.identity.serving(*self._secrets, certificate)
        secret = self._secrets[certificate] = secrets.token_bytes(32)
        return secret

    def leave(self, certificate: bytes) -> None:
        """One has left, if it was there; its links are refused from now on."""
        self._secrets.pop(certificate, None)
        self._context = self.identity.serving(*self._secrets)  # after the last one: for nobody
