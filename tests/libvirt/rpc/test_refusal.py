"""A refusal: what libvirt's client shows as an error."""

from __future__ import annotations

from nbdtun.libvirt.rpc.messages import Kind, Status
from nbdtun.libvirt.rpc.refusal import refuse
from nbdtun.libvirt.rpc.xdr import Unpacker
from tests.libvirt.rpc.stage import call


def test_it_answers_that_call() -> None:
    answer = refuse(call(12, program=0x20008087), "no such\nthing")
    assert (answer.program, answer.version, answer.procedure, answer.serial) == (0x20008087, 1, 12, 7)
    assert (answer.kind, answer.status) == (Kind.REPLY, Status.ERROR)


def test_it_is_an_error_as_libvirt_writes_it() -> None:
    """``virNetMessageError`` in src/rpc/virnetprotocol.x."""
    body = Unpacker(refuse(call(12), "no such\nthing").body)
    assert (body.sint(), body.sint()) == (88, 7)  # access denied, by the RPC
    assert body.optional_string() == "nbdtun: no such thing"
    assert (body.sint(), body.uint()) == (2, 0)
    assert [body.optional_string() for _ in range(3)] == ["nbdtun: no such thing", None, None]
    assert (body.sint(), body.sint(), body.uint()) == (0, 0, 0)
    body.end()
