"""The end of the key schedule: a direction's key and nonce from its traffic secret, and its next secret (RFC 8446, 7.1 to 7.3)."""

from __future__ import annotations

import struct
from typing import Any

from nbdtun.tls.records.suites import Suite

NONCE_SIZE = 12


class Traffic:
    """
    The traffic secret of one direction, which is wiped when it changes.

    ``cipher`` is the AEAD with the present key, ``nonce`` the present IV as a number.
    """

    def __init__(self, suite: Suite, secret: bytes | bytearray) -> None:
        self.suite = suite
        self._secret = bytearray(secret)
        self.cipher: Any = None
        self.nonce = 0
        self._derive()

    def __repr__(self) -> str:
        return f"<Traffic under {self.suite.cipher}>"

    def change(self) -> None:
        """Change to the next secret; nothing leads back to the previous one."""
        following = expand_label(self.suite, self._secret, b"traffic upd", len(self._secret))
        self.wipe()
        self._secret = bytearray(following)
        self._derive()

    def take(self) -> bytes:
        """Return the secret, for another process, and forget it: nothing is protected under it here any more."""
        secret = bytes(self._secret)
        self.wipe()
        self.cipher = None
        return secret

    def wipe(self) -> None:
        """Overwrite the secret. Copies within Python and OpenSSL are out of reach."""
        self._secret[:] = bytes(len(self._secret))

    def _derive(self) -> None:
        suite, secret = self.suite, self._secret
        self.cipher = suite.aead(expand_label(suite, secret, b"key", suite.key_size))
        self.nonce = int.from_bytes(expand_label(suite, secret, b"iv", NONCE_SIZE))


def expand_label(suite: Suite, secret: bytes | bytearray, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label, with an empty context."""
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    full = b"tls13 " + label
    info = struct.pack("!HB", size, len(full)) + full + b"\0"
    derived: bytes = HKDFExpand(suite.hash(), size, info).derive(bytes(secret))
    return derived
