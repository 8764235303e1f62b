"""However a link cuts its bytes, the frames are the same; whatever is no frame is a violation and nothing else."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import ProtocolViolation
from nbdtun.tunnel.protocol.frames import EXTENSIONS, HEADER, MAX_DATA, MAX_EXTENSION, MAX_REASON, Decoder, Kind, encode, encode_reset
from tests.tunnel.stage.heard import Heard

OFFSETS = st.integers(0, 2**64 - 1)
TEXT = st.text(max_size=2 * MAX_REASON)
CODES = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=20)


Frame = tuple[bytes, tuple[object, ...]]
bare = st.sampled_from([Kind.ACK, Kind.FIN, Kind.PING, Kind.PONG]).flatmap(
    lambda kind: OFFSETS.map(lambda offset: (encode(kind, offset), (kind.name.lower(), offset)))
)
data = st.tuples(st.integers(0, 2**63), st.binary(min_size=1, max_size=300)).map(lambda d: (encode(Kind.DATA, *d), ("data", *d)))
resets = st.tuples(CODES, TEXT).map(
    lambda r: (encode_reset(*r), ("reset", r[0], f"{r[0]} {r[1]}".encode()[:MAX_REASON].decode("utf-8", "ignore").partition(" ")[2]))
)
byes = st.just((encode(Kind.BYE, 0), ("bye",)))
asks = st.tuples(st.integers(0, 2**63), st.binary(min_size=1, max_size=300)).map(lambda d: (encode(Kind.DATA_ASK, *d), ("asking", *d)))
#: Of a later release, if this one knows nothing of it: without a meaning.
later = st.tuples(st.integers(EXTENSIONS, 255), OFFSETS, st.binary(max_size=300) | st.just(bytes(MAX_EXTENSION))).map(
    lambda frame: (HEADER.pack(frame[0], len(frame[2]), frame[1]) + frame[2], ())
)
frames = st.lists(st.one_of(bare, data, asks, resets, byes, later), max_size=12)


def merged(said: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """``said``, as :class:`Heard` would note it: neighbouring data that follow on are one."""
    heard = Heard()
    for what in filter(None, said):
        if what[0] == "data":
            assert isinstance(what[1], int)
            assert isinstance(what[2], bytes)
            heard.data_received(what[1], memoryview(what[2]))
        elif what[0] == "asking":
            assert isinstance(what[1], int)
            assert isinstance(what[2], bytes)
            heard.ack_asked(what[1] + len(what[2]))
            heard.data_received(what[1], memoryview(what[2]))
        else:
            heard.said.append(what)
    return heard.said


def feed(decoder: Decoder, data: bytes, cuts: list[int]) -> None:
    at = 0
    for cut in sorted(min(cut, len(data)) for cut in cuts):
        decoder.feed(memoryview(data)[at:cut])
        at = cut
    decoder.feed(memoryview(data)[at:])


@given(frames, st.lists(st.integers(0, 4000)))
def test_however_it_is_cut(sent: list[Frame], cuts: list[int]) -> None:
    heard = Heard()
    feed(Decoder(heard), b"".join(frame for frame, _ in sent), cuts)
    assert heard.said == merged([meaning for _, meaning in sent])


@given(frames)
def test_one_byte_at_a_time(sent: list[Frame]) -> None:
    heard = Heard()
    stream = b"".join(frame for frame, _ in sent)
    feed(Decoder(heard), stream, list(range(len(stream))))
    assert heard.said == merged([meaning for _, meaning in sent])


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=10))
def test_garbage_is_a_violation_or_frames_but_never_anything_else(garbage: bytes, cuts: list[int]) -> None:
    decoder = Decoder(Heard())
    with contextlib.suppress(ProtocolViolation):
        feed(decoder, garbage, cuts)
    assert len(decoder._header) < HEADER.size
    assert len(decoder._reason) <= MAX_REASON
    assert decoder.missing <= MAX_DATA


@given(st.integers(0, 255), st.integers(0, 2**32 - 1), OFFSETS)
def test_a_length_is_bounded_before_it_is_believed(kind: int, length: int, offset: int) -> None:
    passed_over = kind >= EXTENSIONS and length <= MAX_EXTENSION
    limit = {Kind.DATA: MAX_DATA, Kind.DATA_ASK: MAX_DATA, Kind.RESET: MAX_REASON}.get(Kind(kind) if kind in set(Kind) else Kind.PING, 0)
    valid = passed_over or (kind in set(Kind) and length <= limit and not (kind in (Kind.DATA, Kind.DATA_ASK) and length == 0))
    decoder = Decoder(Heard())
    try:
        decoder.feed(memoryview(HEADER.pack(kind, length, offset)))
    except ProtocolViolation:
        assert not valid
    else:
        assert valid


@given(frames, frames)
def test_who_has_heard_enough_hears_no_more(before: list[Frame], after: list[Frame]) -> None:
    heard = Heard()
    decoder = Decoder(heard)

    def enough(token: int) -> None:
        decoder.over = True

    heard.pong_received = enough  # type: ignore[method-assign]
    wanted = [frame for frame in before if frame[1][:1] != ("pong",)]
    decoder.feed(memoryview(b"".join(frame for frame, _ in [*wanted, (encode(Kind.PONG, 0), ()), *after])))
    decoder.feed(memoryview(encode(Kind.BYE, 0)))
    assert heard.said == merged([meaning for _, meaning in wanted])
