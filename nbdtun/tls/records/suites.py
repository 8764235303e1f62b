"""The cipher suites of TLS 1.3, by OpenSSL's names, and how much one key may protect (RFC 8446, B.4 and 5.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from nbdtun.errors import TLSError

#: Full records that an AES-GCM key may protect: 2^24.5 (RFC 8446, 5.5). ChaCha20-Poly1305 has no such limit, and gets the same one.
MAX_RECORDS: Final = 23_726_566

#: The records after which a sender changes its key: 256 GiB.
CHANGE_AFTER: Final = 1 << 24


@frozen
class Suite:
    """A cipher suite: its AEAD and hash, by their names in ``cryptography``, and the bytes of a key."""

    cipher: str
    key_size: int
    digest: str

    def hash(self) -> Any:
        """The hash of its key schedule."""
        from cryptography.hazmat.primitives import hashes  # here, because it is slow to import, and not every end has TLS

        return getattr(hashes, self.digest)()

    def aead(self, key: bytes) -> Any:
        """The AEAD with ``key``."""
        from cryptography.hazmat.primitives.ciphers import aead

        return getattr(aead, self.cipher)(key)


SUITES: Final[Mapping[str, Suite]] = {
    "TLS_AES_128_GCM_SHA256": Suite("AESGCM", 16, "SHA256"),
    "TLS_AES_256_GCM_SHA384": Suite("AESGCM", 32, "SHA384"),
    "TLS_CHACHA20_POLY1305_SHA256": Suite("ChaCha20Poly1305", 32, "SHA256"),
}


def name_of(suite: Suite) -> str:
    """What OpenSSL calls ``suite``."""
    return next(name for name, each in SUITES.items() if each == suite)


def suite(name: str) -> Suite:
    """
    The suite that OpenSSL calls ``name``.

    :raise TLSError: it is none of these; OpenSSL's configuration may allow others.
    """
    try:
        return SUITES[name]
    except KeyError:
        raise TLSError(f"the cipher suite {name} is served only with --records library") from None
