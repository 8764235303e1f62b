"""Messages besides data: what is allowed, in whatever fragments, and what is refused with which alert."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.tls.records.messages import ALERTS, CLOSE_NOTIFY, KEY_UPDATE, HandshakeMessages, RecordError, fatal, read_alert

ASKING = bytes([24, 0, 0, 1, 1])


def ticket(size: int) -> bytes:
    return bytes([4]) + size.to_bytes(3) + bytes(size)


def read(*payloads: bytes) -> list[tuple[bool, bool]]:
    messages = HandshakeMessages()
    return [messages.read(memoryview(payload)) for payload in payloads]


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=4), st.integers(1, 700))
def test_tickets_are_skipped_in_whatever_fragments(sizes: list[int], piece: int) -> None:
    line = b"".join(map(ticket, sizes))
    messages = HandshakeMessages()
    for start in range(0, len(line), piece):
        assert messages.read(memoryview(line[start : start + piece])) == (False, False)
    assert messages.complete


def test_what_has_begun_is_not_complete() -> None:
    for part in (ticket(5)[:1], ticket(5)[:-1], KEY_UPDATE[:4]):
        messages = HandshakeMessages()
        messages.read(memoryview(part))
        assert not messages.complete


def test_a_key_update_changes_the_senders_key_and_may_ask_for_ours() -> None:
    assert read(KEY_UPDATE) == [(True, False)]
    assert read(ASKING) == [(True, True)]
    assert read(ticket(3) + ASKING) == [(True, True)]
    assert read(*(bytes([byte]) for byte in ASKING))[-1] == (True, True)


@pytest.mark.parametrize(
    ("payload", "alert"),
    [
        (b"", "UNEXPECTED_MESSAGE"),
        (KEY_UPDATE + ticket(1), "UNEXPECTED_MESSAGE"),  # after it, the key is another
        (KEY_UPDATE + KEY_UPDATE, "UNEXPECTED_MESSAGE"),
        (bytes([24, 0, 0, 2, 0, 0]), "UNEXPECTED_MESSAGE"),
        (bytes([24, 0, 0, 0]), "UNEXPECTED_MESSAGE"),
        (bytes([24, 0, 0, 1, 2]), "ILLEGAL_PARAMETER"),
        (bytes([13, 0, 0, 0]), "UNEXPECTED_MESSAGE"),  # a CertificateRequest, which we have not offered to answer
        (bytes([1, 0, 0, 0]), "UNEXPECTED_MESSAGE"),  # a ClientHello: renegotiation
    ],
)
def test_all_else_is_refused(payload: bytes, alert: str) -> None:
    with pytest.raises(RecordError) as refused:
        read(payload)
    assert refused.value.alert == alert


@given(st.binary(max_size=200), st.integers(1, 50))
def test_nonsense_is_refused_or_skipped_and_nothing_else(line: bytes, piece: int) -> None:
    messages, alert = HandshakeMessages(), "CLOSE_NOTIFY"
    try:
        for start in range(0, len(line), piece):
            messages.read(memoryview(line[start : start + piece]))
    except RecordError as refused:
        alert = refused.alert
    assert alert in ALERTS.values()
    assert len(messages._header) <= 4


def test_alerts_have_names_both_ways() -> None:
    assert read_alert(CLOSE_NOTIFY) == "CLOSE_NOTIFY"
    assert {read_alert(fatal(name)) for name in ALERTS.values()} == set(ALERTS.values())
    assert read_alert(bytes([2, 255])) == "alert 255"
    for wrong in (b"", b"\2", b"\2\0\0"):
        with pytest.raises(RecordError, match="an alert of"):
            read_alert(wrong)
