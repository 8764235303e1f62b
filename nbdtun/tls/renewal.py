"""
Renewal: certificates that are replaced while a daemon runs, such as short-lived ones.

Each new link asks for the TLS context. It is made anew when a file has changed: the CAs, or the certificate with its key. If one of the two
cannot be used, perhaps because only one file of a pair has been replaced yet, what was read before stays in use, and the other is renewed
all the same: a daemon that worked does not stop working, not even if it may no longer read its key.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from nbdtun.errors import ConfigError
from nbdtun.logs import make_logger
from nbdtun.tls.contexts import make_context
from nbdtun.tls.files import Authorities, Identity
from nbdtun.tls.revocation import stamp
from nbdtun.tls.store import CA_CERT, CLIENT_CERT, CLIENT_KEY, SERVER_CERT, SERVER_KEY, Store

T = TypeVar("T")


class _Part(Generic[T]):
    """What ``read`` makes of some files; ``value`` is the last that could be used."""

    log = make_logger()

    def __init__(self, read: Callable[[], T], *paths: Path) -> None:
        self._paths = paths
        self._read = read
        self._seen = self._stamps()
        self.value = read()

    def look(self) -> bool:
        """Read the files again if one has changed; returns whether there is another value."""
        seen = self._stamps()
        if seen == self._seen:
            return False
        self._seen = seen  # once for each change, good or bad
        try:
            self.value = self._read()
        except ConfigError as error:
            self.log.warn("{error}; new links still use what was read before", error=str(error))
            return False
        return True

    def _stamps(self) -> tuple[object, ...]:
        return tuple(map(stamp, self._paths))


class Renewal:
    """
    The TLS context of a ``server``, or of a client, with the files in ``store``, or in a directory in QEMU's layout.

    :raise ConfigError: the first context cannot be made.
    """

    log = make_logger()

    def __init__(self, store: str | os.PathLike[str] | Store, *, server: bool) -> None:
        store = Store.of(store)
        self._directory = store.directory
        self._server = server
        names = (SERVER_CERT, SERVER_KEY) if server else (CLIENT_CERT, CLIENT_KEY)
        self._authorities = _Part(lambda: Authorities.read(store), store / CA_CERT)
        files = [store / name for name in names] + [store.password] * (store.password is not None)
        self._identity = _Part(lambda: Identity.read(store, *names), *filter(None, files))
        self._context = self._make()

    def __repr__(self) -> str:
        return f"<Renewal of {self._directory}>"

    def __call__(self) -> ssl.SSLContext:
        """Return the context for the present files."""
        changed = [part.look() for part in (self._authorities, self._identity)]
        if any(changed):
            self._context = self._make()
            self.log.info("{directory}: the certificates have changed; new links use them", directory=self._directory)
        return self._context

    def _make(self) -> ssl.SSLContext:
        return make_context(self._authorities.value, self._identity.value, server=self._server)
