"""
Renewal: certificates that are replaced while a daemon runs, such as short-lived ones, and revocations, which must take effect at once.

Each new link asks for the TLS context. The context is made anew when one of its files has changed. If that fails, perhaps because only one
of two files has been replaced yet, the previous context stays in use: a daemon that worked does not stop working.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path

from nbdtun.errors import ConfigError
from nbdtun.logs import make_logger
from nbdtun.tls.files import CA_CERT, CA_CRL, CLIENT_CERT, CLIENT_KEY, SERVER_CERT, SERVER_KEY

#: Returns the TLS context for a new link.
Secrets = Callable[[], ssl.SSLContext]

_FILES = (CA_CERT, CA_CRL, CLIENT_CERT, CLIENT_KEY, SERVER_CERT, SERVER_KEY)


class Renewal:
    """
    The TLS context that ``make`` creates from ``directory``.

    :raise ConfigError: the first context cannot be made.
    """

    log = make_logger()

    def __init__(self, make: Callable[[Path], ssl.SSLContext], directory: str | os.PathLike[str]) -> None:
        self._make = make
        self._directory = Path(directory)
        self._seen = self._stamps()
        self._context = make(self._directory)

    def __repr__(self) -> str:
        return f"<Renewal of {self._directory}>"

    def __call__(self) -> ssl.SSLContext:
        """Return the context for the present files."""
        seen = self._stamps()
        if seen != self._seen:
            self._seen = seen  # once for each change, good or bad
            self._renew()
        return self._context

    def _renew(self) -> None:
        try:
            self._context = self._make(self._directory)
        except ConfigError as error:
            self.log.warn("{error}; new links still use the previous certificates", error=str(error))
        else:
            self.log.info("{directory}: the certificates have changed; new links use them", directory=self._directory)

    def _stamps(self) -> tuple[object, ...]:
        return tuple(_stamp(self._directory / name) for name in _FILES)


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size
