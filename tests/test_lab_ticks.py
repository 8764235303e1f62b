"""The oracle of the integration tests is itself tested."""

from __future__ import annotations

import pytest

from lab import ticks

SLOTS = 8


def region(*values: int) -> bytes:
    """A tick region of 8 slots with these ticks, written in this order."""
    sectors = [bytes(ticks.SECTOR)] * SLOTS
    for value in values:
        sectors[value % SLOTS] = f"tick {value}".encode().ljust(ticks.SECTOR - 1) + b"\n"
    return b"".join(sectors)


@pytest.mark.parametrize(
    ("console", "last"),
    [
        ("", 0),
        ("booting\r\ntick 1\r\ntick 2\r\n", 2),
        ("tick 1\r\ntick 2", 1),
        ("tick 1\r\nti", 1),
        ("ck 12\r\ntick 13\r\n", 13),
        ("12\r\n", 0),
    ],
)
def test_the_last_whole_line_counts(console: str, last: int) -> None:
    assert ticks.reported(console) == last


def test_a_gap_on_the_console_is_seen() -> None:
    assert ticks.gaps("tick 1\r\ntick 2\r\ntick 4\r\n") == [2]
    assert ticks.gaps("ick 1\r\ntick 2\r\ntick 3\r\n") == []


def test_due_is_the_last_tick_of_a_slot() -> None:
    assert [ticks.due(slot, 11, SLOTS) for slot in range(SLOTS)] == [8, 9, 10, 11, 4, 5, 6, 7]


@pytest.mark.parametrize("last", [0, 1, 7, 8, 9, 30])
def test_all_reported_ticks_are_there(last: int) -> None:
    assert ticks.lost(region(*range(1, last + 1)), last, SLOTS) == []


def test_later_ticks_than_reported_are_welcome() -> None:
    assert ticks.lost(region(*range(1, 21)), 18, SLOTS) == []


def test_a_missing_tick_is_named() -> None:
    (line,) = ticks.lost(region(1, 2, 4), 4, SLOTS)
    assert line.startswith("slot 3: no tick")
    assert "tick 3 was reported" in line


def test_an_old_tick_is_a_lost_one() -> None:
    assert ticks.lost(region(*range(1, 11)), 11, SLOTS) == ["slot 3: tick 3, tick 11 was reported"]


def test_a_tick_in_the_wrong_slot_is_a_fault() -> None:
    whole = region(*range(1, 9))
    swapped = whole[ticks.SECTOR : 2 * ticks.SECTOR] + whole[: ticks.SECTOR] + whole[2 * ticks.SECTOR :]
    assert len(ticks.lost(swapped, 8, SLOTS)) == 2


def test_a_torn_sector_is_a_fault() -> None:
    torn = region(1, 2)[: ticks.SECTOR + 200] + bytes(ticks.SECTOR * SLOTS - ticks.SECTOR - 200)
    assert [line[:6] for line in ticks.lost(torn, 2, SLOTS)] == ["slot 1", "slot 2"]
