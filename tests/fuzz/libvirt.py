"""What a source says through libvirt's tunnelled connection, to the gate at the destination. These are targets as those of ``targets``."""

from __future__ import annotations

from contextlib import suppress

from nbdtun.errors import ProtocolViolation
from nbdtun.libvirt.rpc.gate import Gate, answers
from nbdtun.libvirt.rpc.messages import Message, Reader
from nbdtun.libvirt.rpc.procedures import KEEPALIVE, REMOTE, Procedure
from tests.fuzz.cuts import pieces
from tests.libvirt.rpc.stage import GRANT, prepare


def libvirt_calls(data: bytes) -> None:
    """Whatever stands where libvirt's calls should: the same however it is cut, and each passes, is answered, or ends it."""
    whole, cut = _judged([data]), _judged(list(pieces(data)))
    assert whole == cut


def libvirt_domain(data: bytes) -> None:
    """Whatever stands where a domain's XML should, and a migration's cookie."""
    text = data.decode("utf-8", "replace").replace("\0", "")
    for call in (prepare(xml=text or "-"), prepare(crumb=text.encode() + b"\0")):
        _judge(Gate(GRANT), call)


def _judged(said: list[bytes]) -> list[bool]:
    """Of each message whether it has passed."""
    reader, gate = Reader(), Gate(GRANT)
    passed = []
    with suppress(ProtocolViolation):
        for piece in said:
            for message in reader.feed(piece):
                passed.append(_judge(gate, message))  # those before a violation count
    return passed


def _judge(gate: Gate, message: Message) -> bool:
    answer = gate.call(message)
    if answer is None:
        assert message.program in (REMOTE, KEEPALIVE)
        assert message.program == KEEPALIVE or message.procedure in set(Procedure)
        return True
    assert gate.refused.isprintable()
    assert len(gate.refused) < 5000
    assert answers(answer)
    assert list(Reader().feed(answer.encode())) == [answer]
    return False
