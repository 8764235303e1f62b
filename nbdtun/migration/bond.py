"""
Bonds: what binds a session to the source that began it, and what a source has to show.

A session belongs to a name of its source's certificate, which outlives the certificate, and to a secret that is told under TLS only. Its id
is neither: it may stand in logs. Without TLS there are no names and no secrets, and a session is bound to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest

from attrs import field, frozen

from nbdtun.errors import NotAllowed, ProtocolViolation


@frozen
class Claim:
    """What a source shows with a command: the names of its certificate, and the session's secret."""

    names: frozenset[str] = frozenset()
    secret: bytes | None = field(default=None, repr=False)


@frozen
class Bond:
    """What a session is bound to: the name ``owner``, and by ``proof`` (SHA-256, in hexadecimal) the secret; both are empty without TLS."""

    owner: str = ""
    proof: str = field(default="", repr=False)

    def admits(self, claim: Claim) -> bool:
        """Whether a source with this claim is the one."""
        return self.is_of(claim) and compare_digest(self.proof, proof_of(claim.secret))

    def is_of(self, claim: Claim) -> bool:
        """Whether its name is; to be used only where the secret is lost."""
        return not self.owner or self.owner in claim.names


def proof_of(secret: bytes | None) -> str:
    """The proof of a secret; empty without one."""
    return sha256(secret).hexdigest() if secret else ""


@frozen
class Party:
    """
    Who has opened a control channel, at the destination: by TLS the ``name`` that it acts under, and all its ``names``; none without TLS.

    ``may`` says whether it may migrate to a VM, ``still`` whether that is so by now: what is under way goes on by the former. ``secure`` is
    whether there is TLS, so that secrets are told.
    """

    name: str = ""
    names: frozenset[str] = frozenset()
    may: Callable[[str], bool] = lambda vm: True
    secure: bool = False
    still: Callable[[str], bool] = lambda vm: True

    def check_anew(self, vm: str) -> None:
        """
        Check its right to that VM for something new, as it is by now.

        :raise NotAllowed: it has none.
        """
        self._check(vm, self.may(vm) and self.still(vm))

    def check(self, vm: str) -> None:
        """
        Check its right to that VM.

        :raise NotAllowed: it has none.
        """
        self._check(vm, self.may(vm))

    def _check(self, vm: str, right: bool) -> None:
        if not right:
            raise NotAllowed(f"{vm}: no --allow at the destination admits {self.name} to this VM")

    def claim(self, secret: bytes | None) -> Claim:
        """
        Return its claim to a session, with the secret that it has told.

        :raise ProtocolViolation: it has told one without TLS.
        """
        if not self.secure and secret is not None:
            raise ProtocolViolation("a secret is told under TLS only")
        return Claim(self.names, secret)

    def bond(self, secret: bytes | None) -> Bond:
        """
        Bind a new session to it, by the secret that it has told.

        :raise ProtocolViolation: a secret is told under TLS, and only there.
        """
        if self.secure and secret is None:
            raise ProtocolViolation("under TLS, a session has a secret")
        return Bond(self.name, proof_of(self.claim(secret).secret))
