"""A full table costs those who fill it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nbdtun.tunnel.destination.fair_table import FairTable


def filled(limit: int, entries: str, each: int | None = None) -> FairTable[int, str]:
    """A table to which the owners in ``entries`` have added something in turn; the keys count up."""
    table: FairTable[int, str] = FairTable(limit, each)
    for key, owner in enumerate(entries):
        table.add(owner, key, owner)
    return table


def test_who_has_the_most_loses_his_oldest() -> None:
    assert list(filled(4, "aaab")) == [0, 1, 2, 3]
    assert list(filled(4, "aaabb")) == [1, 2, 3, 4]
    assert list(filled(4, "baaac")) == [0, 2, 3, 4]
    assert list(filled(3, "baaaaaaa")) == [0, 6, 7]


def test_one_owner_has_a_limit_of_his_own() -> None:
    assert list(filled(10, "abaab", each=2)) == [1, 2, 3, 4]


def test_other_limits_displace_as_others_come() -> None:
    table = filled(4, "aaab")
    table.limit(2, 1)
    assert len(table) == 4
    assert table.add("c", 9, "new") == (0, "a")
    assert table.add("c", 10, "newer") == (9, "new")
    table.limit(9)
    assert table.add("c", 11, "newest") is None


def test_what_had_to_go_is_told() -> None:
    table = filled(2, "ab")
    assert table.add("a", 7, "new") == (0, "a")
    assert table.add("c", 7, "newer") is None
    assert table.find(7) == ("c", "newer")
    assert table.oldest() == (1, "b")
    assert table.pop(1) == "b"
    assert table.pop(1) is None
    assert (len(table), 1 in table, 7 in table) == (1, False, True)
    assert FairTable(1).oldest() is None
    assert repr(table) == "<FairTable 1 of 2, 1 owners>"


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 30))), st.integers(1, 8), st.integers(1, 8))
def test_it_is_never_fuller_than_it_may_be_and_the_small_lose_nothing(added: list[tuple[str, int]], limit: int, each: int) -> None:
    table: FairTable[int, str] = FairTable(limit, each)
    for owner, key in added:
        before = {each: table.find(each) for each in table}
        gone = table.add(owner, key, owner)
        counts = [sum(entry is not None and entry[0] == one for entry in before.values()) for one in "abcde"]
        assert len(table) <= limit
        assert all(sum(table.find(each)[0] == one for each in table) <= each for one in "abcde")  # type: ignore[index]
        if gone is not None:
            assert gone[0] in before
            assert counts["abcde".index(gone[1])] == max(counts) or gone[1] == owner
        assert key in table
