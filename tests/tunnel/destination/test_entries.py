"""A destination's channels: how many there may be, and whose they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve
from twisted.internet.address import IPv4Address

from nbdtun.errors import ProtocolViolation, ResumeRefused, TunnelError
from nbdtun.tunnel.destination.admission import Caller, Proof
from nbdtun.tunnel.settings import Limits, Terms
from tests.tunnel.stage.stage import Stage, all_here
from tests.tunnel.stage.stranger import Stranger


def test_too_many_channels_are_refused(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(Terms(window=1 << 18), limits=Limits(channels=2))
    assert "received" in Stranger(stage).open(b"1" * 16).hear_box()
    assert "received" in Stranger(stage).open(b"2" * 16).hear_box()
    refused = Stranger(stage).open(b"3" * 16).hear_box()
    assert refused["_error_code"] == b"too-many-channels"
    assert b"has reached its limit of 2 channels (--max-channels)" in refused["_error_description"]


def test_a_channel_that_is_taken_up_again_is_not_one_more(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(Terms(window=1 << 18), limits=Limits(channels=1, channels_per_peer=1))
    Stranger(stage).open(b"1" * 16).hang_up()
    assert "received" in Stranger(stage).resume(b"1" * 16).hear_box()
    assert "received" in Stranger(stage).open(b"1" * 16).hear_box()


def test_one_peer_has_a_share_of_the_channels(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(Terms(window=1 << 18), limits=Limits(channels=3, channels_per_peer=1))
    assert "received" in Stranger(stage).open(b"1" * 16).hear_box()
    refused = Stranger(stage).open(b"2" * 16).hear_box()
    assert refused["_error_code"] == b"too-many-channels"
    assert b"has reached its limit of 1 channels for this source" in refused["_error_description"]
    assert "received" in Stranger(stage, address=IPv4Address("TCP", "192.0.2.1", 1)).open(b"3" * 16).hear_box()


def test_another_identity_is_told_the_same_as_for_an_unknown_channel(stage: Stage) -> None:
    Stranger(stage).open()
    (entry,) = stage.destination._entries.values()
    stage.destination._entries[b"i" * 16] = evolve(entry, caller=evolve(entry.caller, identity="another fingerprint"))
    assert Stranger(stage).resume().hear_box()["_error_code"] == b"resume-refused"
    assert Stranger(stage).open().hear_box()["_error_code"] == b"resume-refused"


def test_another_name_or_secret_cannot_take_a_channel(make_stage: Callable[..., Stage], tls_dir: Path, tmp_path: Path) -> None:
    """And is answered as if there were no such channel; its link stays, and its end is not told either."""
    stage = make_stage(tls_dir=tls_dir)
    near, far = stage.meet()
    (entry,) = stage.destination._entries.values()
    (ident,) = stage.destination._entries
    proper = Proof(entry.secret)
    stranger = evolve(entry.caller, identity="dns:other", names=frozenset({"dns:other"}))
    for caller, proof in ((stranger, proper), (entry.caller, Proof(b"x" * 32))):
        for asked in (
            stage.destination.find(ident, caller, proof),
            stage.destination.open(ident, "disk", 1 << 18, caller, proof),
        ):
            with pytest.raises(ResumeRefused, match="has no channel"):
                asked.send(None)
    near.send(b"x")
    stage.rest()
    assert far.got == b"x"
    near.close()
    far.close()
    stage.pass_time(1)
    with pytest.raises(ResumeRefused, match="has no channel"):
        stage.destination.find(ident, entry.caller, Proof(b"x" * 32)).send(None)
    with pytest.raises(TunnelError) as told:
        stage.destination.find(ident, entry.caller, proper).send(None)
    assert not isinstance(told.value, ResumeRefused) or "has no channel" not in str(told.value)


def test_secrets_are_told_under_tls_only(make_stage: Callable[..., Stage], tls_dir: Path) -> None:
    plain, secure = make_stage(), make_stage(tls_dir=tls_dir)
    plainly, known = Caller("it", "local"), Caller("it", "local", "dns:it")
    wrong = ((plain, plainly, Proof(b"x" * 32)), (plain, plainly, Proof(None, b"x" * 32)), (secure, known, Proof()))
    for stage, caller, proof in wrong:
        with pytest.raises(ProtocolViolation, match="TLS"):
            stage.destination.open(b"i" * 16, "disk", 1 << 18, caller, proof).send(None)
    secrets = set()
    for _ in range(2):
        program, _ = secure.meet()
        secrets |= {channel.secret for channel in all_here(secure.source.channels)}
        assert program
    assert sorted(map(len, secrets)) == [32, 32]
    plain.meet()
    assert plain.near.secret == b""
