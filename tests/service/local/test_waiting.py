"""What a daemon says that waits for something before it ends."""

from __future__ import annotations

from nbdtun.service.local.waiting import listed, patience


def test_things_are_listed_by_name_but_not_all() -> None:
    assert listed([]) == "nothing"
    assert listed(["channel nbd a", "the memory of web1"]) == "channel nbd a, the memory of web1"
    assert listed([str(number) for number in range(10)]) == "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"


def test_how_long_and_for_what() -> None:
    line = "waiting up to 10 min (--drain-timeout) for the memory of web1; a second signal ends it now"
    assert patience(["the memory of web1"], 600) == line
