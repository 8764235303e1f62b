"""Links that stand when their peer's certificate is revoked; and those that come after that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Protocol

from nbdtun.errors import TLSError
from nbdtun.tunnel.channels.standing import LOOK_SECONDS
from nbdtun.tunnel.opening.commands import TUNNEL, ResumeChannel
from nbdtun.tunnel.opening.transport import Opening
from nbdtun.tunnel.settings import Records, Terms
from tests.tls.stage.authority import CLIENT, HERE, SERVER, authority, revoke, write
from tests.tunnel.stage.stage import Stage

CA = authority()
SERVER_END, CLIENT_END = CA.issue("localhost", *HERE, purpose=SERVER), CA.issue("client", purpose=CLIENT)
MakeStage = Callable[..., Stage]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write(tmp_path / "tls", [CA], SERVER_END, CLIENT_END)


@pytest.mark.parametrize(("revoked", "whose"), [(SERVER_END, "source"), (CLIENT_END, "destination")], ids=["server", "client"])
def test_a_standing_link_ends_soon_and_no_other_comes(revoked: object, whose: str, directory: Path, make_stage: MakeStage) -> None:
    stage = make_stage(tls_dir=directory)
    stage.meet()
    stage.pass_time(LOOK_SECONDS * 2)
    assert stage.near.link is not None
    revoke(directory, CA.revokes(revoked.serial))  # type: ignore[attr-defined]
    stage.pass_time(LOOK_SECONDS * 2)
    assert stage.near.link is stage.far.link is None
    assert f"its certificate has been revoked, says the {whose}'s ca-crl.pem" in str(stage.near.outage.trouble)
    assert stage.source.ledger.whole.resumes == 0


def test_a_peer_that_is_revoked_while_it_waits_gets_no_link(directory: Path, make_stage: MakeStage, said: list[str]) -> None:
    """Whoever always keeps one connection waiting behind its handshake would outlive his certificate by it."""
    stage = make_stage(tls_dir=directory)
    stage.meet()
    waiting = Opening()
    Deferred.fromCoroutine(stage.dialer._connect(waiting, stage.terms.handshake_timeout))
    stage.rest()
    revoke(directory, CA.revokes(CLIENT_END.serial))
    stage.pass_time(LOOK_SECONDS + 1)
    answers: list[object] = []
    fields = {"channel": stage.near.ident, "secret": stage.near.secret, "received": stage.near.inbound.received}
    waiting.callRemote(ResumeChannel, ClientFactory.forProtocol(Protocol), **TUNNEL.offer(), **fields).addBoth(answers.append)
    stage.rest()
    assert answers[0].check(TLSError)  # type: ignore[attr-defined]
    assert stage.far.link is None
    assert any(line.endswith("its certificate has been revoked, says the destination's ca-crl.pem [tls]") for line in said)


def test_other_revocations_disturb_nobody(directory: Path, make_stage: MakeStage) -> None:
    stage = make_stage(tls_dir=directory)
    near, far = stage.meet()
    for serial in (1, 2):
        revoke(directory, CA.revokes(serial))
        stage.pass_time(LOOK_SECONDS * 2)
    near.send(b"x")
    stage.rest()
    assert far.got == b"x"
    assert stage.source.ledger.whole.resumes == 0


def test_without_channels_nobody_looks(directory: Path, make_stage: MakeStage) -> None:
    stage = make_stage(tls_dir=directory)
    near, far = stage.meet()
    assert "looking" in repr(stage.source._standing)
    near.close()
    far.close()
    stage.pass_time(LOOK_SECONDS * 3)
    assert "looking" not in repr(stage.source._standing)


@pytest.mark.parametrize("records", ["batched", "library"])
@pytest.mark.parametrize("revoked", ["server", "client"])
def test_both_ends_are_told_why_there_is_no_link(
    revoked: str, records: str, directory: Path, make_stage: MakeStage, said: list[str]
) -> None:
    stage = make_stage(Terms(records=Records(records)), tls_dir=directory)
    revoke(directory, CA.revokes((SERVER_END if revoked == "server" else CLIENT_END).serial))
    stage.arrive()
    stage.pass_time(1)
    assert isinstance(stage.forwarder.trouble, TLSError)
    lines = [line for line in said if "has been revoked" in line]
    if revoked == "server":
        reason = "the cable: its certificate has been revoked, says the source's ca-crl.pem"
        assert any(line.startswith("refused ") and line.endswith(f": it refused our certificate: {reason} [tls]") for line in lines)
        assert f"{reason} [tls]" in lines
    else:
        reason = "its certificate has been revoked, says the destination's ca-crl.pem [tls]"
        assert any(line.startswith("refused ") and line.endswith(reason) for line in lines)
        assert any(not line.startswith("refused ") and line.endswith(reason) for line in lines)
