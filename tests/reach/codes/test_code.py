"""The rules of a code: who learns what, message by message."""

from __future__ import annotations

import pytest

from nbdtun.errors import ProtocolViolation, WrongCode
from nbdtun.reach.codes.code import Answering, Asking

CODE, OTHER = "7-crossover-clockwork", "8-crossover-clockwork"
SOURCE, DESTINATION, THIRD = b"the source's certificate", b"the destination's", b"a third party's"


def met(code: str = CODE, other: str = CODE) -> tuple[Asking, Answering]:
    here, there = Asking(code), Answering(other)
    there.meet(here.message)
    here.meet(there.message)
    return here, there


def test_the_same_code_makes_trust_in_both_certificates() -> None:
    here, there = met()
    answer = there.check(here.proof(SOURCE, DESTINATION), SOURCE, DESTINATION)
    here.check(answer, SOURCE, DESTINATION)
    assert repr(here) == "<Asking with a key>"
    assert repr(Answering(CODE)) == "<Answering without a key>"


def test_another_code_makes_none() -> None:
    here, there = met(OTHER)
    with pytest.raises(WrongCode, match="a source came with a wrong code; the offer has ended"):
        there.check(here.proof(SOURCE, DESTINATION), SOURCE, DESTINATION)
    with pytest.raises(WrongCode, match="the code is not the destination's; somebody may be in between"):
        here.check(bytes(32), SOURCE, DESTINATION)


@pytest.mark.parametrize(("source", "destination"), [(THIRD, DESTINATION), (SOURCE, THIRD)])
def test_nor_does_the_right_code_with_another_certificate_in_between(source: bytes, destination: bytes) -> None:
    """A third party passes the messages on, but must show one end a certificate of its own."""
    here, there = met()
    with pytest.raises(WrongCode):
        there.check(here.proof(SOURCE, destination), source, DESTINATION)
    answer = there.check(here.proof(source, destination), source, destination)
    with pytest.raises(WrongCode):
        here.check(answer, SOURCE, DESTINATION)


def test_a_proof_is_not_its_own_answer() -> None:
    here, _ = met()
    with pytest.raises(WrongCode):
        here.check(here.proof(SOURCE, DESTINATION), SOURCE, DESTINATION)


def test_who_sees_all_messages_cannot_try_codes_against_them() -> None:
    """The same messages fit every code: with each, some key comes out, and no proof was seen that would tell the right one."""
    here, there = Asking(CODE), Answering(CODE)
    for guess in (CODE, OTHER):
        third = Asking(guess)
        third.meet(there.message)
        proof = third.proof(SOURCE, DESTINATION)
        there_again = Answering(CODE)
        there_again.meet(here.message)
        with pytest.raises(WrongCode):
            there_again.check(proof, SOURCE, DESTINATION)


@pytest.mark.parametrize(
    "message", [b"", b"A", b"A" + bytes(32), b"A" + b"\xff" * 32, b"B" + bytes(32), b"A" + b"\x01" + bytes(31), b"x" * 64]
)
def test_what_is_no_message(message: bytes) -> None:
    there = Answering(CODE)
    with pytest.raises(ProtocolViolation, match="a message of the code's exchange that is none"):
        there.meet(message)


def test_a_proof_needs_a_message_first() -> None:
    """Without one the key is empty, and so everybody's."""
    with pytest.raises(ProtocolViolation, match="a proof without a message before it"):
        Answering(CODE).check(bytes(32), SOURCE, DESTINATION)
    with pytest.raises(ProtocolViolation):
        Asking(CODE).proof(SOURCE, DESTINATION)


def test_its_own_message_is_none() -> None:
    here, there = Asking(CODE), Answering(CODE)
    with pytest.raises(ProtocolViolation):
        here.meet(here.message)
    with pytest.raises(ProtocolViolation):
        here.meet(b"B" + here.message[1:])
    there.meet(here.message)
    with pytest.raises(ProtocolViolation):
        there.meet(here.message)  # once
