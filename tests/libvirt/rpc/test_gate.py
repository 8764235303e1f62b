"""The gate: the recorded conversation passes, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import ProtocolViolation
from nbdtun.libvirt.rpc.gate import MAX_CALL, MAX_REFUSALS, Gate, answers, hands_over
from nbdtun.libvirt.rpc.messages import Kind, Message, Reader, Status
from nbdtun.libvirt.rpc.procedures import CLOSED_EVENT, KEEPALIVE, REMOTE, VERSION, Procedure
from nbdtun.libvirt.rpc.xdr import MAX_STRING, Unpacker
from tests.libvirt.rpc.stage import CONVERSATION, GRANT, THE_PING, THE_PONG, call, cookie, domain, finish, opening, prepare


def refusal(message: Message, gate: Gate | None = None) -> str:
    """The line that the user of the source's libvirt reads."""
    answer = (gate or Gate(GRANT)).call(message)
    assert answer is not None
    assert (answer.kind, answer.status, answer.serial) == (Kind.REPLY, Status.ERROR, message.serial)
    body = Unpacker(answer.body)
    body.sint()
    body.sint()
    return body.optional_string() or ""


def test_a_migration_passes() -> None:
    gate = Gate(GRANT)
    assert [gate.call(message) for message in CONVERSATION] == [None] * len(CONVERSATION)
    assert gate.refused == ""


def test_no_other_procedure_does() -> None:
    for procedure in {*range(-1, 1000), 2**31 - 1, -(2**31)} - {*Procedure}:
        assert refusal(call(procedure)) == (
            "nbdtun: this connection is for the migration of web1 only: "
            f"libvirt's procedure {procedure} of program 0x20008086 does not go through the tunnel"
        )


@pytest.mark.parametrize(
    "message", [call(1, program=0x20008087), call(1, program=0x6900690), call(1, version=2), call(1, kind=Kind.CALL_WITH_FDS)]
)
def test_no_other_program_version_or_descriptor_does(message: Message) -> None:
    assert "for the migration of web1 only" in refusal(message)


@pytest.mark.parametrize("kind", [Kind.REPLY, Kind.MESSAGE, Kind.STREAM, Kind.REPLY_WITH_FDS, Kind.STREAM_HOLE])
def test_what_cannot_be_answered_ends_the_connection(kind: Kind) -> None:
    with pytest.raises(ProtocolViolation, match=f"of type {kind:d}, which no migration needs"):
        Gate(GRANT).call(call(Procedure.CONNECT_OPEN, kind=kind))


def test_arguments_are_looked_into() -> None:
    gate = Gate(GRANT)
    assert refusal(opening("lxc:///"), gate) == "nbdtun: this connection is for qemu:///system only, and not for lxc:/// with flags 0x0"
    assert gate.refused == "this connection is for qemu:///system only, and not for lxc:/// with flags 0x0 [not-allowed]"
    assert "a device of its host; detach it" in refusal(prepare(xml=domain("<hostdev/>")), gate)
    gate = Gate(GRANT)
    assert "ends too early" in refusal(call(Procedure.DOMAIN_MIGRATE_PREPARE3_PARAMS), gate)
    assert "ends too early" in refusal(call(Procedure.DOMAIN_MIGRATE_FINISH3_PARAMS), gate)
    assert gate.refused == "a libvirt call that ends too early [protocol]"


def test_a_migration_is_prepared_once_and_then_finished_once() -> None:
    gate = Gate(GRANT)
    once = "nbdtun: libvirt's procedure {} is called once on a connection, and 303 before 306"
    assert refusal(finish(), gate) == once.format(306)
    assert gate.call(prepare()) is None
    assert refusal(prepare(), gate) == once.format(303)
    assert gate.call(finish()) is None
    assert refusal(finish(), gate) == once.format(306)
    assert refusal(prepare(), gate) == once.format(303)


def test_the_longest_call_can_pass() -> None:
    longest = domain().replace("<metadata>", f"<metadata><!--{'x' * (MAX_STRING - len(domain()) - 7)}-->")
    call = prepare(xml=longest, crumb=cookie(f"<!--{'x' * (MAX_STRING - 200)}-->"))
    assert Gate(GRANT).call(call) is None
    assert len(call.encode()) < MAX_CALL


def test_refusals_are_bounded() -> None:
    gate = Gate(GRANT)
    for _ in range(MAX_REFUSALS):
        refusal(call(12), gate)
    with pytest.raises(ProtocolViolation, match="more than 64 calls of libvirt that do not pass"):
        gate.call(call(12))


def test_what_goes_back() -> None:
    gate = Gate(GRANT)
    passing = [
        *(call(procedure, kind=Kind.REPLY) for procedure in Procedure),
        call(CLOSED_EVENT, kind=Kind.MESSAGE),
        Message(0x20008087, 1, 1, Kind.REPLY, 7, Status.ERROR),
        THE_PING,
        THE_PONG,
    ]
    assert all(answers(message) and gate.answer(message) for message in passing)
    staying = [
        call(12, kind=Kind.REPLY),
        call(Procedure.CONNECT_OPEN),
        call(CLOSED_EVENT),
        call(318, kind=Kind.MESSAGE),  # the event of a domain's life
        Message(KEEPALIVE, VERSION, 3, Kind.MESSAGE),
        call(Procedure.CONNECT_OPEN, kind=Kind.STREAM),
        call(Procedure.CONNECT_OPEN, kind=Kind.REPLY, program=REMOTE + 1),
    ]
    assert not any(answers(message) or gate.answer(message) for message in staying)


@given(st.sampled_from(Procedure), st.binary(max_size=200))
def test_any_arguments_pass_or_are_answered(procedure: Procedure, body: bytes) -> None:
    gate = Gate(GRANT)
    answer = gate.call(call(procedure, body))
    assert (answer is None) == (gate.refused == "")
    assert gate.refused.isprintable()


@given(st.data())
def test_a_changed_conversation_is_one_or_the_other(data: st.DataObject) -> None:
    """A byte of Prepare is changed: it passes or is answered, and what passes has no other places."""
    body = bytearray(prepare().body)
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    answer = Gate(GRANT).call(call(Procedure.DOMAIN_MIGRATE_PREPARE3_PARAMS, bytes(body)))
    assert answer is None or list(Reader().feed(answer.encode())) == [answer]


def test_only_a_finish_with_a_guest_hands_over() -> None:
    cancelled = finish()
    cancelled = Message(cancelled.program, cancelled.version, cancelled.procedure, cancelled.kind, body=cancelled.body[:-1] + b"\1")
    assert [hands_over(message) for message in (opening(), prepare(), cancelled, finish())] == [False, False, False, True]
