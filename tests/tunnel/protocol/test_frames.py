"""Frames byte by byte, as ``docs/protocol`` has them; any stream of them, cut anyhow, is in ``tests/properties``."""

from __future__ import annotations

import pytest

from nbdtun.errors import ProtocolViolation
from nbdtun.tunnel.protocol.frames import MAX_DATA, MAX_REASON, Decoder, Kind, encode, encode_reset
from tests.tunnel.stage.heard import Heard


def decoded(*pieces: bytes) -> list[tuple[object, ...]]:
    heard = Heard()
    decoder = Decoder(heard)
    for piece in pieces:
        decoder.feed(memoryview(piece))
    return heard.said


def test_a_header_is_16_bytes() -> None:
    assert encode(Kind.ACK, 0x0102030405060708) == bytes.fromhex("02000000 00000000 0102030405060708")
    assert encode(Kind.DATA, 5, b"abc") == bytes.fromhex("01000000 00000003 0000000000000005") + b"abc"


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (encode(Kind.DATA, 7, b"abc"), [("data", 7, b"abc")]),
        (encode(Kind.DATA_ASK, 7, b"abc"), [("ask", 10), ("data", 7, b"abc")]),
        (encode(Kind.ACK, 7), [("ack", 7)]),
        (encode(Kind.FIN, 7), [("fin", 7)]),
        (encode(Kind.PING, 7), [("ping", 7)]),
        (encode(Kind.PONG, 7), [("pong", 7)]),
        (encode(Kind.BYE, 0), [("bye",)]),
        (encode(Kind.RESET, 0), [("reset", "reset", "")]),
        (encode_reset("target", "nobody listens there"), [("reset", "target", "nobody listens there")]),
    ],
)
def test_what_each_kind_says(frame: bytes, said: list[tuple[object, ...]]) -> None:
    assert decoded(frame) == said
    assert decoded(frame[:1], frame[1:]) == said
    assert decoded(frame[:15], frame[15:]) == said


def test_the_payload_need_not_be_whole() -> None:
    heard = Heard(merging=False)
    decoder = Decoder(heard)
    decoder.feed(memoryview(encode(Kind.DATA, 100, b"abcdef")[:19]))
    assert heard.said == [("data", 100, b"abc")]
    assert (decoder.offset, decoder.missing) == (103, 3)
    decoder.feed(memoryview(b"def"))
    assert heard.said[1:] == [("data", 103, b"def")]


def test_what_went_another_way_is_not_missed() -> None:
    """A splice moves a payload from socket to socket: the decoder sees its header only."""
    heard = Heard()
    decoder = Decoder(heard)
    decoder.feed(memoryview(encode(Kind.DATA, 100, bytes(50))[:16]))
    decoder.pass_over(50)
    decoder.feed(memoryview(encode(Kind.ACK, 9)))
    assert heard.said == [("ack", 9)]


def test_a_long_reason_is_cut() -> None:
    ((_, code, reason),) = decoded(encode_reset("failed", "x" * 5000))
    assert (code, reason) == ("failed", "x" * (MAX_REASON - len("failed ")))


def test_a_reason_is_not_cut_within_a_letter() -> None:
    ((_, _, reason),) = decoded(encode_reset("failed", "é" * 5000))
    assert reason == "é" * ((MAX_REASON - len("failed ")) // 2)


def test_a_reason_that_is_no_text_is_still_one() -> None:
    assert decoded(encode(Kind.RESET, 0, b"failed \xff")) == [("reset", "failed", "\ufffd")]


@pytest.mark.parametrize(
    "header",
    [
        encode(Kind.DATA, 0, bytes(MAX_DATA + 1))[:16],
        encode(Kind.DATA_ASK, 0, bytes(MAX_DATA + 1))[:16],
        encode(Kind.RESET, 0, bytes(MAX_REASON + 1))[:16],
        encode(Kind.ACK, 0, b"x")[:16],
        encode(Kind.DATA, 0),
        bytes(16),
        bytes([9]) + bytes(15),
        b"GET / HTTP/1.1\r\n",
    ],
)
def test_what_is_no_frame_is_refused_by_its_header(header: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        decoded(header)
