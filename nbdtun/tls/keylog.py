"""
The traffic secrets of our own connections, in memory: OpenSSL tells them to whom it calls the key log, and to nobody else.

The log is a file without a name (memfd_create(2)), of one context and of one thread. It is wiped after each step of a handshake.
"""

from __future__ import annotations

import os
import ssl
from typing import ClassVar
from weakref import WeakKeyDictionary

from nbdtun.errors import TLSError

#: Labels of the lines that have the secrets of application data (draft-ietf-tls-keylogfile, 3.1).
CLIENT, SERVER = "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"

_MAX = 64 * 1024


class KeyLog:
    """
    The key log of ``context``; see :meth:`of`.

    :raise TLSError: there is no /proc, or no file can be made.
    """

    _all: ClassVar[WeakKeyDictionary[ssl.SSLContext, KeyLog]] = WeakKeyDictionary()

    def __init__(self, context: ssl.SSLContext) -> None:
        self._file = -1
        try:
            self._file = os.memfd_create("nbdtun")
            context.keylog_filename = f"/proc/self/fd/{self._file}"
        except OSError as error:
            raise TLSError(f"TLS records cannot be batched ({error.strerror}); use --records library") from error

    def __repr__(self) -> str:
        return "<KeyLog>"

    @classmethod
    def of(cls, context: ssl.SSLContext) -> KeyLog:
        """Return the one of ``context``, which serves all its connections."""
        log = cls._all.get(context)
        if log is None:
            log = cls._all[context] = cls(context)
        return log

    def take(self) -> dict[str, bytearray]:
        """Return the secrets that were told since the last call, by their labels, and wipe them here."""
        text = os.pread(self._file, _MAX, 0)
        if not text:
            return {}
        os.pwrite(self._file, bytes(len(text)), 0)
        os.ftruncate(self._file, 0)
        lines = [line.split() for line in text.decode("ascii").splitlines()]
        return {line[0]: bytearray.fromhex(line[2]) for line in lines if len(line) == 3 and line[0] in (CLIENT, SERVER)}

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)
