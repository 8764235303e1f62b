from __future__ import annotations

import pytest

from nbdtun.config.belongings import all_of, parse_belongings
from nbdtun.migration.settings import Belonging
from tests.config.stage import refused

BOTH = frozenset(Belonging)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("snapshots", {Belonging.SNAPSHOTS}),
        ("bitmaps", {Belonging.BITMAPS}),
        ("snapshots,bitmaps", BOTH),
        ("bitmaps,snapshots", BOTH),
        ("bitmaps,bitmaps", {Belonging.BITMAPS}),
    ],
)
def test_what_may_stay_behind(text: str, meant: frozenset[Belonging]) -> None:
    assert parse_belongings(text) == meant


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "''"),  # nothing is never meant, and a variable that is not set looks so
        ("snapshots,", "''"),
        ("snapshots, bitmaps", "' bitmaps'"),
        ("Snapshots", "'Snapshots'"),
        ("snapshot", "'snapshot'"),
        ("all", "'all'"),
        ("bitmaps,luggage,hats", "'luggage'"),
        ("a\nb", "'a\\nb'"),
    ],
)
def test_one_that_does_not_exist_loses_nothing(text: str, named: str) -> None:
    told = refused(parse_belongings, text)
    assert told.startswith(f"{named} cannot be left behind; ")
    assert told.endswith(("use one of snapshots, bitmaps", "did you mean snapshots?", "did you mean bitmaps?"))


def test_an_option_that_is_given_twice_adds() -> None:
    assert all_of([]) == frozenset()
    assert all_of([parse_belongings("snapshots"), parse_belongings("bitmaps")]) == BOTH
    assert all_of(iter([BOTH, parse_belongings("bitmaps")])) == BOTH
