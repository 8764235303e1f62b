"""What a session is bound to, and who is admitted to it."""

from __future__ import annotations

import pytest
from attrs import evolve

from nbdtun.errors import NotAllowed, ProtocolViolation
from nbdtun.migration.bond import Bond, Claim, Party

SECRET = b"s" * 32
PARTY = Party("dns:src1", frozenset({"dns:src1", "uri:x"}), {"web1"}.__contains__, secure=True)


def test_its_source_is_admitted_and_nobody_else() -> None:
    bond = PARTY.bond(SECRET)
    assert bond.admits(PARTY.claim(SECRET))
    assert bond.admits(Claim(frozenset({"dns:src1"}), SECRET))  # renewed, with fewer names
    assert not bond.admits(PARTY.claim(b"t" * 32))
    assert not bond.admits(PARTY.claim(None))
    assert not bond.admits(Claim(frozenset({"uri:x"}), SECRET))
    assert bond.is_of(PARTY.claim(None))
    assert "ssss" not in repr((bond, PARTY.claim(SECRET)))


def test_without_tls_there_is_nothing_to_show() -> None:
    assert Party().bond(None) == Bond()
    assert Bond().admits(Claim())


def test_secrets_are_told_under_tls_only() -> None:
    with pytest.raises(ProtocolViolation, match="under TLS, a session has a secret"):
        PARTY.bond(None)
    for asked in (Party().bond, Party().claim):
        with pytest.raises(ProtocolViolation, match="a secret is told under TLS only"):
            asked(SECRET)


def test_a_right_that_was_taken_away_is_for_what_is_under_way() -> None:
    party = evolve(PARTY, may=lambda vm: True, still={"web1"}.__contains__)
    party.check_anew("web1")
    party.check("web2")
    for stranger in (party, evolve(PARTY, still=lambda vm: True)):
        with pytest.raises(NotAllowed, match=r"^web2: no --allow at the destination admits dns:src1 to this VM$"):
            stranger.check_anew("web2")


def test_a_vm_that_is_not_allowed_is_named_with_the_source() -> None:
    PARTY.check("web1")
    with pytest.raises(NotAllowed, match=r"^web2: no --allow at the destination admits dns:src1 to this VM$"):
        PARTY.check("web2")
