"""Each end of a migration has one meaning for a task."""

from __future__ import annotations

import json

import pytest
from ansible_collections.nbdtun.migration.plugins.module_utils.command import Done
from ansible_collections.nbdtun.migration.plugins.module_utils.outcome import result_of, settled_here


@pytest.mark.parametrize(
    ("rc", "outcome", "changed", "code"),
    [
        (0, "moved", True, None),
        (1, "stayed", False, "mirror"),
        (2, "usage", False, "mirror"),
        (3, "unknown", True, "mirror"),
        (4, "lost", True, "mirror"),
        (130, "cancelled", False, "cancelled"),
        (-9, "unknown", True, "mirror"),
        (77, "unknown", True, "mirror"),
    ],
)
def test_each_status(rc: int, outcome: str, changed: bool, code: str | None) -> None:
    done = Done(rc, json.dumps({"error": rc and "it broke; mend it", "code": rc and "mirror", "remedy": rc and "mend it"}), "")
    result = result_of(done, "web1", "hv2")
    assert (result["outcome"], result["changed"], result["failed"], result["code"]) == (outcome, changed, rc != 0, code)
    if outcome == "stayed":
        assert (result["msg"], result["remedy"]) == ("it broke; mend it", "mend it")


def test_one_that_ended_without_a_word_is_unknown() -> None:
    result = result_of(Done(-9, "", ""), "web1", "hv2")
    assert (result["outcome"], result["code"]) == ("unknown", "killed")
    assert "run this task again: it asks the destination first" in result["msg"]


@pytest.mark.parametrize(
    ("rc", "code", "here"), [(1, "migration", True), (1, "not-migratable", True), (1, "link-lost", False), (3, "unknown", False)]
)
def test_what_settles_that_it_is_here(rc: int, code: str, here: bool) -> None:
    assert settled_here(Done(rc, json.dumps({"code": code}), "")) is here
    assert settled_here(Done(rc, "", f"nbdtun: no [{code}]\n")) is here
