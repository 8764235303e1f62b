"""Everything that a peer can send, near to what honest peers send and far from it; see ``tests/fuzz`` for what must hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbdtun.migration.control import commands
from nbdtun.migration.qmp.schema import ANSWERS, MANY, mismatch
from nbdtun.tunnel.protocol.frames import HEADER, MAX_DATA, MAX_REASON, Kind, encode
from tests.fuzz import targets
from tests.fuzz.seeds import QEMU, SEEDS
from tests.fuzz.targets import SESSION, TARGETS, ask_all
from tests.tunnel.stage.stranger import box

OFFSETS = st.one_of(st.integers(0, 20), st.integers(0, 2**64 - 1), st.sampled_from([5, 6, 15, 16, 65535, 131072]))
KINDS = st.one_of(st.sampled_from([int(kind) for kind in Kind]), st.integers(0, 255))
LENGTHS = st.sampled_from([0, 1, 5, MAX_REASON, MAX_REASON + 1, MAX_DATA, MAX_DATA + 1, 2**32 - 1])
FRAMES = st.one_of(
    st.tuples(KINDS, OFFSETS, st.binary(max_size=80)).map(lambda frame: HEADER.pack(frame[0], len(frame[2]), frame[1]) + frame[2]),
    st.tuples(KINDS, LENGTHS, OFFSETS).map(lambda header: HEADER.pack(*header)),
    st.just(encode(Kind.DATA, 0, bytes(targets.TERMS.window + 1)[:MAX_DATA])),
    st.binary(max_size=40),
)
LINKS = st.lists(FRAMES, max_size=12).map(b"".join)

VALUES = ["1", "0", "-1", "", "True", "9" * 30, "i" * 16, "disk", "web1", SESSION, "/etc/shadow", "../x", "nbd.sock", "[config]"]
WORDS = st.one_of(st.sampled_from(VALUES), st.text(max_size=20))
AMP = ["_ask", "_command", "_answer", "_error", "_error_code", "_error_description"]
TUNNEL = ["version", "channel", "target", "window", "received", "urgent"]
MIGRATION = ["session", "vm", "machine", "memory", "disks", "run", "state", "reason", "code", "outcome"]
KEYS = st.sampled_from([*AMP, *TUNNEL, *MIGRATION])
NAMES = st.sampled_from([*("OpenChannel", "ResumeChannel", "StartTLS", "Check"), *(name for name in vars(commands) if name.istitle())])
BOXES = st.tuples(st.dictionaries(KEYS, WORDS, max_size=6), st.one_of(st.just({}), NAMES.map(lambda name: {"_command": name}))).map(
    lambda parts: box(**parts[1] | parts[0])
)


@st.composite
def near(draw: st.DrawFn, name: str) -> bytes:
    """What an honest peer says, with some of it changed, left out or repeated."""
    said = bytearray(b"".join(draw(st.lists(st.sampled_from(SEEDS[name]), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(0, 4))):
        at, count = draw(st.integers(0, len(said))), draw(st.integers(0, 6))
        said[at : at + count] = draw(st.binary(max_size=6))
    return bytes(said)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=8), st.just("\ud800")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["id", "status", "inserted", "ram"]), inner)),
    max_leaves=8,
)


@st.composite
def broken(draw: st.DrawFn) -> dict[str, Any]:
    """A QEMU's answers, with some parts of them replaced by anything."""
    said: dict[str, Any] = json.loads(json.dumps(QEMU))
    for _ in range(draw(st.integers(1, 4))):
        place: Any = said
        key: Any = draw(st.sampled_from(sorted(said)))
        while isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
            place = place[key]
            key = draw(st.sampled_from(sorted(place))) if isinstance(place, dict) else draw(st.integers(0, len(place) - 1))
        place[key] = draw(JSON)
    return said


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"qmp"}))
def test_what_is_nearly_honest(name: str) -> None:
    @settings(max_examples=25)
    @given(near(name))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"qmp"}))
def test_what_is_anything(name: str) -> None:
    @settings(max_examples=15)
    @given(st.binary(max_size=600))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()


@settings(max_examples=40)
@given(st.lists(BOXES, max_size=4).map(b"".join))
def test_boxes_before_a_link(data: bytes) -> None:
    targets.opening(data)


@settings(max_examples=40)
@given(st.lists(BOXES, max_size=3).map(b"".join))
def test_boxes_for_an_answer(data: bytes) -> None:
    targets.answers(data)


@settings(max_examples=60)
@given(st.lists(BOXES, max_size=6).map(b"".join))
def test_boxes_over_a_control_channel(data: bytes) -> None:
    targets.commands(data)
    targets.command_answers(data)


@settings(max_examples=40)
@given(LINKS)
def test_frames_of_a_source(data: bytes) -> None:
    targets.frames(data)


@settings(max_examples=40)
@given(LINKS)
def test_frames_of_a_destination(data: bytes) -> None:
    targets.link_of_destination(data)


@settings(max_examples=150)
@given(broken())
def test_a_qemu_that_answers_nonsense(said: dict[str, Any]) -> None:
    ask_all(lambda command: said.get(command, {}))


@settings(max_examples=50)
@given(JSON)
def test_something_else_than_a_qemu(value: Any) -> None:
    ask_all(lambda command: value)


def test_honest_answers_pass() -> None:
    """Else the properties above would hold because nothing ever got through."""
    assert set(QEMU) == set(ANSWERS) | set(MANY)
    assert not [command for command, shape in ANSWERS.items() if mismatch(shape, QEMU[command])]
    for name, seeds in SEEDS.items():
        for seed in seeds:
            TARGETS[name](seed)
