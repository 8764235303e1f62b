"""What an evacuation has come to. modules/test_evacuate has the results."""

from __future__ import annotations

from typing import Any

from ansible_collections.nbdtun.migration.plugins.module_utils.drain import diff_of, in_state, joined, unfinished


def vm(name: str, state: str) -> dict[str, Any]:
    return {"vm": name, "state": state}


def test_what_is_unfinished() -> None:
    every = [vm("a", "moved"), vm("b", "stayed"), vm("c", "lost"), vm("d", "unknown"), vm("e", "copying"), vm("f", "waiting")]
    assert unfinished({"vms": every}) == ["d", "e", "f"]
    assert in_state(every, "moved", "lost") == ["a", "c"]


def test_a_later_run_counts_but_what_was_moved_stays_moved() -> None:
    before = [vm("a", "moved"), vm("b", "stayed"), vm("c", "moved")]
    after = [vm("a", "stayed"), vm("b", "moved"), vm("d", "unknown")]
    assert {each["vm"]: each["state"] for each in joined(before, after)} == {"a": "moved", "b": "moved", "c": "moved", "d": "unknown"}


def test_the_diff() -> None:
    shown = diff_of("hv1", {"b": "hv1", "a": "hv1"}, {"a": "hv2"})
    assert (shown["before"], shown["after"]) == ("a: hv1\nb: hv1\n", "a: hv2\nb: hv1\n")
