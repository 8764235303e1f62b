"""Two ends of different releases."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nbdtun.amp import Refused
from nbdtun.errors import ProtocolViolation, VersionMismatch
from nbdtun.versions import MAX_FEATURES, Agreed, Features, Speaks

VERSIONS = some.integers(1, 9)
RANGES = some.tuples(VERSIONS, VERSIONS).map(sorted)
NAMES = some.frozensets(some.sampled_from(["ghosts", "colour-2", "z"]))
ENDS = some.builds(lambda versions, names: Speaks("the protocol", versions[0], versions[1], names), RANGES, NAMES)


@given(ENDS, ENDS)
def test_both_ends_come_to_one_conclusion(one: Speaks, other: Speaks) -> None:
    common = {*range(one.lowest, one.highest + 1)} & {*range(other.lowest, other.highest + 1)}
    try:
        agreed = one.agree(**other.offer())
    except VersionMismatch:
        assert not common
    else:
        assert agreed.version == max(common)
        assert agreed.features == one.features & other.features
        assert other.chosen(agreed.fields(), "the destination") == agreed
        assert one.only(agreed).agree(**other.only(agreed).offer()) == agreed


@pytest.mark.parametrize(
    ("source", "destination", "line"),
    [
        ((2, 3), (1, 1), "the source speaks versions 2 to 3 of the protocol, the destination version 1; the destination needs"),
        ((1, 1), (2, 3), "the source speaks version 1 of the protocol, the destination versions 2 to 3; the source needs"),
    ],
)
def test_the_line_names_both_ends_and_the_older_one(source: tuple[int, int], destination: tuple[int, int], line: str) -> None:
    with pytest.raises(VersionMismatch) as caught:
        Speaks("the protocol", *destination).agree(**Speaks("the protocol", *source).offer())
    assert str(caught.value) == f"{line} a newer release of nbdtun"


def test_a_range_that_is_none() -> None:
    with pytest.raises(ProtocolViolation, match="offers versions 3 to 1"):
        Speaks("the protocol").agree(3, 1, frozenset())


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (Agreed(2), "it has chosen version 2 of the protocol, which was not offered"),
        (Agreed(0), "it has chosen version 0 of the protocol, which was not offered"),
        (Agreed(1, frozenset({"ghosts"})), "it has chosen version 1 with ghosts of the protocol, which was not offered"),
    ],
)
def test_an_answer_that_was_not_offered(answer: Agreed, line: str) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        Speaks("the protocol", features=frozenset({"z"})).chosen(answer.fields(), "it")
    assert str(caught.value) == line


@given(NAMES)
def test_names_on_the_wire(names: frozenset[str]) -> None:
    assert Features().fromString(Features().toString(names)) == names


@pytest.mark.parametrize("data", [b" ", b"a ", b"a  b", b"A", b"\xff", b"-", b"a" * 33, b"a " * MAX_FEATURES + b"a", b"a\n", b"a,b"])
def test_names_that_are_none(data: bytes) -> None:
    with pytest.raises(Refused, match="not a list of features"):
        Features().fromString(data)


@given(ENDS, ENDS)
def test_what_is_written_down_is_read_by_those_who_understand_it(writer: Speaks, reader: Speaks) -> None:
    common = {*range(writer.lowest, writer.highest + 1)} & {*range(reader.lowest, reader.highest + 1)}
    if common and writer.features <= reader.features:
        reader.understand(writer.document() | {"more": 1})
    else:
        with pytest.raises(VersionMismatch, match="this nbdtun"):
            reader.understand(writer.document() | {"more": 1})


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        {"lowest": 1, "highest": 1},
        {"lowest": "1", "highest": 1, "features": []},
        {"lowest": 2, "highest": 1, "features": []},
        {"lowest": 0, "highest": 1, "features": []},
        {"lowest": 1, "highest": 65_536, "features": []},
        {"lowest": 1, "highest": 1, "features": ["a"] * 33},
        {"lowest": 1, "highest": 1, "features": [7]},
        {"lowest": 1, "highest": 1, "features": ["\x1b[2J"]},
    ],
)
def test_what_does_not_say_who_understands_it(told: object) -> None:
    with pytest.raises(ValueError, match="does not say"):
        Speaks("the protocol").understand(told)
