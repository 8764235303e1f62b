"""Handshakes in memory: both ends come to the same keys, and what has arrived beyond them is kept."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from nbdtun.tls import contexts
from nbdtun.tls.handshake import Handshake, Shaken
from nbdtun.tls.records.messages import DATA
from nbdtun.tls.records.protection import BATCH_SIZE, MAX_BODY, TAG, Opener, Sealer


@pytest.fixture
def both(tls_dir: Path) -> tuple[Handshake, Handshake]:
    return Handshake(contexts.client_context(tls_dir), "localhost"), Handshake(contexts.server_context(tls_dir), None)


def shake(client: Handshake, server: Handshake, piece: int = 1 << 20) -> tuple[Shaken, Shaken]:
    """Let them talk, in pieces of so many bytes, to the end."""
    done: set[Handshake] = set()
    while len(done) < 2:
        for ours, theirs in ((client, server), (server, client)):
            if ours not in done and ours.step():
                done.add(ours)
            said = ours.outgoing()
            for start in range(0, len(said), piece):
                theirs.feed(said[start : start + piece])
                if theirs not in done and theirs.step():
                    done.add(theirs)
    return client.result(), server.result()


def pass_on(sealer: Sealer, opener: Opener, data: bytes) -> bytes:
    record, out = memoryview(bytearray(BATCH_SIZE)), memoryview(bytearray(MAX_BODY - TAG))
    kind, size = opener.open(record[: sealer.seal_data(memoryview(data), record)], out)
    assert kind == DATA
    return bytes(out[:size])


@pytest.mark.parametrize("piece", [1, 7, 1000, 1 << 20])
def test_both_come_to_the_same_keys(both: tuple[Handshake, Handshake], piece: int) -> None:
    client, server = shake(*both, piece)
    assert pass_on(client.sealer, server.opener, b"there") == b"there"
    assert pass_on(server.sealer, client.opener, b"back") == b"back"
    assert client.presented.certificate != server.presented.certificate
    assert client.rest == server.rest == b""


def test_many_at_once_under_one_context_do_not_mix_their_secrets(tls_dir: Path) -> None:
    near, far = contexts.client_context(tls_dir), contexts.server_context(tls_dir)
    pairs = [(Handshake(near, "localhost"), Handshake(far, None)) for _ in range(5)]
    for client, server in pairs:
        client.step()
        server.feed(client.outgoing())
    for _, server in pairs:
        server.step()
    for client, server in reversed(pairs):
        client.feed(server.outgoing())
        assert client.step()
        server.feed(client.outgoing())
        assert server.step()
        ours, theirs = client.result(), server.result()
        assert pass_on(ours.sealer, theirs.opener, b"mine") == b"mine"


def test_what_has_arrived_beyond_is_kept(both: tuple[Handshake, Handshake]) -> None:
    client, server = both
    client.step()
    server.feed(client.outgoing())
    server.step()
    client.feed(server.outgoing())
    assert client.step()
    server.feed(client.outgoing() + b"a record")
    assert server.step()
    assert server.result().rest == b"a record"
    assert repr(client) == "<Handshake of a client>"


def test_a_refused_certificate_is_an_alert_to_the_other_end(tls_dir: Path) -> None:
    client = Handshake(contexts.client_context(tls_dir), "elsewhere.example")
    server = Handshake(contexts.server_context(tls_dir), None)
    client.step()
    server.feed(client.outgoing())
    server.step()
    client.feed(server.outgoing())
    with pytest.raises(ssl.SSLCertVerificationError):
        client.step()
    server.feed(client.outgoing())
    with pytest.raises(ssl.SSLError, match="ALERT_BAD_CERTIFICATE"):
        server.step()


def test_an_end_in_the_middle_is_an_error(both: tuple[Handshake, Handshake]) -> None:
    client, server = both
    client.step()
    server.feed(client.outgoing()[:50])
    assert not server.step()
    server.feed(b"")
    with pytest.raises(ssl.SSLError):
        server.step()
