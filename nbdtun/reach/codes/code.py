"""
The rules by which a code that two people share becomes trust in two certificates: SPAKE2, and a proof from each end. No I/O.

SPAKE2 makes one key of the code at both ends, if it is the same one. Whoever sees all messages cannot try codes against them; an end that
takes part can try one. The source proves first that it has the key. So a source that guesses learns only that it was wrong, and the
destination makes no second attempt (:mod:`.offer`). Each proof is over both certificates as this end sees them: with a third party in
between, which must show each end a certificate of its own, the proofs differ even if the code is the right one.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

from spake2 import SPAKE2_A, SPAKE2_B
from spake2.spake2 import SPAKEError

from nbdtun.errors import ProtocolViolation, WrongCode

#: The version of the exchange; both ends must have the same.
VERSION: Final = 1

#: The most bytes of a message of SPAKE2's; of a proof.
MAX_MESSAGE: Final = 64
PROOF: Final = 32

_SOURCE, _DESTINATION = b"nbdtun-code/1 source", b"nbdtun-code/1 destination"


class _End:
    """One end of the exchange, for one attempt."""

    def __init__(self, exchange: SPAKE2_A | SPAKE2_B) -> None:
        self._exchange = exchange
        self._key = b""
        self.message: bytes = exchange.start()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'with' if self._key else 'without'} a key>"

    def meet(self, message: bytes) -> None:
        """
        Take the other end's message; once.

        :raise ProtocolViolation: it is none.
        """
        try:
            self._key = self._exchange.finish(message)
        except (SPAKEError, ValueError, AssertionError) as error:  # of the group, for what is not an element of it
            raise ProtocolViolation("a message of the code's exchange that is none") from error

    def _proof(self, whose: bytes, source: bytes, destination: bytes) -> bytes:
        if not self._key:  # a check that stays with -O: everybody knows the proof of an empty key
            raise ProtocolViolation("a proof without a message before it")
        return hmac.digest(self._key, whose + sha256(source).digest() + sha256(destination).digest(), "sha256")


class Asking(_End):
    """The source's end: somebody typed the ``code``."""

    def __init__(self, code: str) -> None:
        super().__init__(SPAKE2_A(code.encode(), idA=_SOURCE, idB=_DESTINATION))

    def proof(self, source: bytes, destination: bytes) -> bytes:
        """Return what proves the key, and these certificates in DER."""
        return self._proof(_SOURCE, source, destination)

    def check(self, proof: bytes, source: bytes, destination: bytes) -> None:
        """
        Check the destination's proof.

        :raise WrongCode: it does not have the key, or sees other certificates.
        """
        if not hmac.compare_digest(proof, self._proof(_DESTINATION, source, destination)):
            raise WrongCode("the code is not the destination's", "somebody may be in between: let it make another one")


class Answering(_End):
    """The destination's end: it made the ``code``."""

    def __init__(self, code: str) -> None:
        super().__init__(SPAKE2_B(code.encode(), idA=_SOURCE, idB=_DESTINATION))

    def check(self, proof: bytes, source: bytes, destination: bytes) -> bytes:
        """
        Check the source's proof; returns our own.

        :raise WrongCode: it has another code, or sees other certificates.
        """
        if not hmac.compare_digest(proof, self._proof(_SOURCE, source, destination)):
            raise WrongCode("a source came with a wrong code", "the offer has ended; run `nbdtun receive` again for another code")
        return self._proof(_DESTINATION, source, destination)
