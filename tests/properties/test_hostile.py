"""Everything that a peer can send, near to what honest peers send and far from it; see ``tests/fuzz`` for what must hold."""

from __future__ import annotations

import os
import time
from typing import Any

import hypothesis
import pytest
from hypothesis import given, settings

from nbdtun.migration.qmp.schema import ANSWERS, MANY, mismatch
from nbdtun.tunnel.channels.splice import Splice
from tests.fuzz.qemu import ask_all
from tests.fuzz.seeds import LONG, QEMU, SEEDS
from tests.fuzz.targets import TARGETS, frames
from tests.properties.hostile import COMMANDS, FIELDS, JSON, MORE, anything, near

#: Seconds for examples that nobody has seen yet, and what they are made from. ``make test`` gives them a minute.
SECONDS, SEED = float(os.environ.get("NBDTUN_NEW", "0")), int(os.environ.get("NBDTUN_SEED", "0"))

#: Examples of one round of new ones.
ROUND = 10


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_what_is_nearly_honest(name: str) -> None:
    @settings(max_examples=25)
    @given(near(name))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_what_is_anything(name: str) -> None:
    @settings(max_examples=15)
    @given(hypothesis.strategies.binary(max_size=600))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()


@pytest.mark.parametrize("name", sorted(MORE))
def test_what_is_made_for_it(name: str) -> None:
    @settings(max_examples=40)
    @given(MORE[name])
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()


@settings(max_examples=50)
@given(JSON)
def test_something_else_than_a_qemu(value: Any) -> None:
    ask_all(lambda command: value)


def new(name: str, seed: int) -> None:
    """A round of examples of ``seed``."""

    @hypothesis.seed(seed)
    @settings(max_examples=ROUND, derandomize=False, database=None)
    @given(anything(name))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()


@pytest.mark.xdist_group("new examples")
@pytest.mark.skipif(not SECONDS, reason="NBDTUN_NEW=SECONDS looks for new examples (make test does)")
def test_new_examples(record_property: Any) -> None:
    """One round for each target after the other, until the time is over. Each is of a seed that repeats it."""
    began = time.monotonic()
    rounds = 0
    while time.monotonic() - began < SECONDS:
        for name in sorted(TARGETS):
            seed = SEED + rounds
            try:
                new(name, seed)
            except BaseException as found:
                found.add_note(f"repeat it: NBDTUN_NEW=1 NBDTUN_SEED={seed} pytest {__file__} -k new_examples  # {name}")
                raise
        rounds += 1
    record_property("rounds", rounds)


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_honest_answers_pass(name: str) -> None:
    """Else the properties above would hold because nothing ever got through."""
    for seed in SEEDS[name]:
        TARGETS[name](seed)


def test_a_frame_that_swallows_what_is_said_later() -> None:
    """Its PINGs kept the link, and so the channel, for longer than an honest peer's."""
    head = b"\xfe\xff\x02\x00\x00\x00\x00\x01" + bytes(11) + b"\x01\x00\x00\x00\x00\x00\x00\x05"
    TARGETS["with_keys"](head + bytes(8) + b"12345\x05" + bytes(13) + b"\x07\x02" + bytes(13) + b"\x0f\x03" + bytes(13))


def test_there_is_something_honest_of_each() -> None:
    assert set(SEEDS) == set(TARGETS)
    assert set(QEMU) == set(ANSWERS) | set(MANY)
    assert not [command for command, shape in ANSWERS.items() if mismatch(shape, QEMU[command])]


def test_every_field_of_every_command_is_tried() -> None:
    """They come from the commands themselves: one that is added is tried as well."""
    assert {"OpenChannel", "ResumeChannel", "Prepare", "Check", "Settle", "Status", "Set", "Cancel"} <= set(COMMANDS)
    assert {"urgent", "hardware", "received", "bandwidth", "findings", "report"} <= set(FIELDS)


def test_a_frame_of_bulk_goes_through_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the way of large frames would never be tried."""
    poured: list[int] = []
    pour = Splice.pour

    def counted(splice: Splice, source: int, count: int) -> int | None:
        poured.append(count)
        return pour(splice, source, count)

    monkeypatch.setattr(Splice, "pour", counted)
    frames(LONG * 2)
    assert max(poured) > 65536
