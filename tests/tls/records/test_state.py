"""The state of records: with it another goes on, the one that gave it away does not, and nobody reads the secrets in a log."""

from __future__ import annotations

import json

import pytest

from nbdtun.tls.records.messages import DATA, HANDSHAKE, KEY_UPDATE, RecordError
from nbdtun.tls.records.protection import Opener, Sealer
from nbdtun.tls.records.state import LinkState, Sealing, Unsealing
from nbdtun.tls.records.suites import SUITES
from nbdtun.typed import as_json, of_json
from tests.tls.records.stage import Direction

TICKET = bytes([4, 0, 0, 40])


@pytest.mark.parametrize("name", SUITES)
def test_another_goes_on_at_both_ends(name: str) -> None:
    direction = Direction(name)
    assert direction.opened(direction.batch(b"before")) == (DATA, b"before")
    direction.sealer, direction.opener = Sealer.of(direction.sealer.take()), Opener.of(direction.opener.take())
    assert direction.opened(direction.batch(b"after")) == (DATA, b"after")


def test_a_key_that_was_to_change_still_does() -> None:
    direction = Direction()
    direction.sealer.change_due = True
    direction.sealer = Sealer.of(direction.sealer.take())
    records = direction.batch(b"after")
    update = 5 + int.from_bytes(records[3:5])
    assert direction.opened(records[:update]) == (DATA, b"")
    direction.opener = Opener.of(direction.opener.take())  # under the next key
    assert direction.opened(records[update:]) == (DATA, b"after")


def test_a_message_that_has_begun_goes_on() -> None:
    direction = Direction()
    direction.opened(direction.sealed(HANDSHAKE, TICKET + bytes(10)))
    direction.opener = Opener.of(direction.opener.take())
    with pytest.raises(RecordError):
        Opener.of(Direction().opener.take()).open(memoryview(direction.sealed(DATA, b"x")), memoryview(bytearray(100)))
    direction = Direction()
    direction.opened(direction.sealed(HANDSHAKE, TICKET + bytes(10)))
    direction.opener = Opener.of(direction.opener.take())
    direction.opened(direction.sealed(HANDSHAKE, bytes(30)))
    assert direction.opened(direction.batch(b"after")) == (DATA, b"after")


def test_what_was_counted_still_counts() -> None:
    """A peer that sends nothing but empty records gains no new patience from it."""
    direction = Direction()
    for _ in range(32):
        direction.opened(direction.sealed(DATA, b""))
        direction.opener = Opener.of(direction.opener.take())
    with pytest.raises(RecordError, match="in a row without data"):
        direction.opened(direction.sealed(DATA, b""))


def test_whoever_gave_it_away_protects_nothing_more() -> None:
    direction = Direction()
    record = direction.batch(b"before")
    direction.sealer.take()
    direction.opener.take()
    with pytest.raises(AttributeError):
        direction.batch(b"after")
    with pytest.raises(AttributeError):
        direction.sealed(HANDSHAKE, KEY_UPDATE)
    with pytest.raises(AttributeError):
        direction.opened(record)


def test_no_secret_is_shown() -> None:
    direction = Direction()
    sealing, unsealing = direction.sealer.take(), direction.opener.take()
    shown = f"{LinkState(sealing, unsealing, b'rest', (b'certificate',), '')!r} {direction.sealer!r} {direction.opener!r}"
    assert repr(sealing.secret) not in shown
    assert sealing.secret.hex() not in shown
    assert "rest=" not in shown


def test_it_crosses_a_socket_as_it_is() -> None:
    direction = Direction()
    state = LinkState(direction.sealer.take(), direction.opener.take(), b"\x17\3\3", (b"one", b"two"), "nbdtun/1")
    assert of_json(LinkState, json.loads(json.dumps(as_json(state)))) == state
    assert isinstance(state.sealing, Sealing)
    assert isinstance(state.unsealing, Unsealing)
