"""The module `evacuate`: what it asks of nbdtun, and what it makes of the answers. integration/ansible_moves has real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.stage import Answer, Play

WANTED: dict[str, Any] = {"to": ["ssh://hv2", "ssh://hv3"]}
TERMS = ["--qmp=/run/qemu/{vm}.qmp", "--to=ssh://hv2", "--to=ssh://hv3"]
NOTHING: Answer = (0, json.dumps({"vms": [], "running": False}), "")


def vm(name: str, state: str = "moved", **more: Any) -> dict[str, Any]:
    return {"vm": name, "state": state, "to": "ssh://hv2", "code": None, "reason": None, **more}


def journal(*vms: dict[str, Any], running: bool = False) -> Answer:
    return 0, json.dumps({"vms": vms, "running": running}), ""


def evacuated(status: int, *vms: dict[str, Any]) -> Callable[[list[str]], Answer]:
    """An evacuation that comes to its end, and writes its report."""

    def answer(words: list[str]) -> Answer:
        (path,) = (word.partition("=")[2] for word in words if word.startswith("--report="))
        Path(path).write_text(json.dumps({"vms": vms}))
        return status, "", ""

    return answer


def test_a_host_is_emptied(play: Play) -> None:
    play.answers = [NOTHING, evacuated(0, vm("web1"), vm("web2"))]
    result = play.run("evacuate", **WANTED, keep_apart=[["web1", "web2"]], pin={"web1": "ssh://hv2"}, copying=3)
    assert (result["failed"], result["changed"], result["moved"], result["stayed"]) == (False, True, ["web1", "web2"], [])
    assert [each["vm"] for each in result["report"]["vms"]] == ["web1", "web2"]
    assert play.said[0] == ["evacuate", "--resume", "--dry-run", "--json"]
    words = ["evacuate", *TERMS, "--copying=3", "--keep-apart=web1,web2", "--pin=web1=ssh://hv2", "--progress=none"]
    assert play.said[1][:-1] == words


def test_an_empty_host_is_left_as_it_is(play: Play) -> None:
    play.answers = [NOTHING, evacuated(0)]
    result = play.run("evacuate", **WANTED)
    assert (result["failed"], result["changed"], result["moved"], result["msg"]) == (False, False, [], "there is no VM to move")


def test_some_stay(play: Play) -> None:
    play.answers = [NOTHING, evacuated(1, vm("web1"), vm("web2", "stayed", code="not-migratable", reason="a job runs"))]
    result = play.run("evacuate", **WANTED)
    assert (result["failed"], result["changed"], result["code"], result["rc"]) == (True, True, "not-migratable", 1)
    assert result["msg"] == "web2 stays here: a job runs"


def test_some_are_unknown_and_are_never_tried_blindly(play: Play) -> None:
    """Not in this run; and a later one resumes, which asks first."""
    play.answers = [journal(vm("web1", "unknown")), evacuated(3, vm("web1", "unknown", code="link-lost", reason="no answer"))]
    result = play.run("evacuate", **WANTED)
    assert (result["failed"], result["code"], result["unknown"], result["resumed"]) == (True, "unknown", ["web1"], True)
    assert "start none of these by hand" in result["msg"]
    assert play.said[1][:2] == ["evacuate", "--resume"]
    assert len(play.said) == 2


def test_an_interrupted_one_is_gone_on_with_and_then_the_rest(play: Play) -> None:
    play.answers = [journal(vm("web1"), vm("web2", "copying")), evacuated(0, vm("web1"), vm("web2")), evacuated(0, vm("web3"))]
    result = play.run("evacuate", **WANTED, journal="/j", run_dir="/r")
    assert (result["failed"], result["moved"], result["resumed"]) == (False, ["web1", "web2", "web3"], True)
    assert play.said[0] == ["evacuate", "--resume", "--dry-run", "--json", "--journal=/j", "--run-dir=/r"]
    assert play.said[1][:4] == ["evacuate", "--resume", "--journal=/j", "--run-dir=/r"]


def test_one_that_is_under_way_is_waited_for(play: Play) -> None:
    going = journal(vm("web1", "copying"), running=True)
    play.answers = [going, going, journal(vm("web1")), evacuated(0)]
    result = play.run("evacuate", **WANTED)
    assert (result["failed"], result["changed"], result["moved"], result["adopted"]) == (False, True, ["web1"], True)


def test_one_that_is_refused_or_killed(play: Play) -> None:
    play.answers = [NOTHING, (1, "", "nbdtun: another `nbdtun evacuate` runs on this host; wait [not-migratable]\n")]
    assert play.run("evacuate", **WANTED)["code"] == "not-migratable"
    play.answers = [NOTHING, (137, "", "")]
    assert play.run("evacuate", **WANTED)["code"] == "killed"


def test_the_report_is_of_all_runs(play: Play, tmp_path: Path) -> None:
    """Also of one whose module was killed, whose VMs are in the journal alone."""
    path = tmp_path / "report.json"
    play.answers = [NOTHING, evacuated(1, vm("web1"), vm("web2", "stayed", reason="no"))]
    play.run("evacuate", **WANTED, report=f"{path}")
    assert (json.loads(path.read_text())["begun"], path.stat().st_mode & 0o777) == (False, 0o600)
    path.write_text(json.dumps({**json.loads(path.read_text()), "begun": True}))
    play.answers = [journal(vm("web2")), evacuated(0, vm("web3"))]
    result = play.run("evacuate", **WANTED, report=f"{path}")
    assert sorted(each["vm"] for each in result["report"]["vms"]) == ["web1", "web2", "web3"]
    assert {each["state"] for each in json.loads(path.read_text())["vms"]} == {"moved"}
    play.answers = [journal(vm("web3")), evacuated(0)]
    later = play.run("evacuate", **WANTED, report=f"{path}")
    assert (later["changed"], later["report"]) == (False, result["report"])


@pytest.mark.parametrize("text", ["", "[]", '{"vms": [1]}'])
def test_a_report_that_is_none_is_not_overwritten(play: Play, tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    assert play.run("evacuate", **WANTED, report=f"{path}")["code"] == "config"
    assert path.read_text() == text


def test_vms_come_home(play: Play) -> None:
    seen: list[Any] = []

    def answer(words: list[str]) -> Answer:
        (path,) = (word.partition("=")[2] for word in words if word.startswith("--restore="))
        seen.append(json.loads(Path(path).read_text()))
        return evacuated(0, vm("web1", to="ssh://hv1"))(words)

    play.answers = [NOTHING, answer]
    report = {"vms": [vm("web1")]}
    assert play.run("evacuate", to=["ssh://hv1"], restore=report)["moved"] == ["web1"]
    assert seen == [report]


@pytest.mark.parametrize("check", [False, True])
def test_there_is_nothing_to_bring_home(play: Play, check: bool) -> None:
    play.answers = [NOTHING]
    result = play.run("evacuate", to=["ssh://hv1"], restore={"vms": [vm("web1", "stayed")]}, check=check)
    assert (result["failed"], result["changed"]) == (False, False)


def test_the_dry_run_shows_the_plan(play: Play) -> None:
    planned = {"vms": [{"vm": "web1", "to": "ssh://hv2", "refused": None, "code": None}]}
    play.answers = [NOTHING, (0, json.dumps(planned), "")]
    result = play.run("evacuate", **WANTED, check=True, diff=True)
    assert (result["failed"], result["changed"], result["moved"]) == (False, True, ["web1"])
    assert result["diff"]["after"] == "web1: ssh://hv2\n"
    assert play.said[1] == ["evacuate", "--dry-run", "--json", *TERMS]


def test_the_dry_run_fails_where_a_vm_would_stay(play: Play) -> None:
    planned = {"vms": [{"vm": "web1", "to": None, "refused": "a job runs", "code": "not-migratable"}]}
    play.answers = [journal(vm("web9", "copying")), (1, json.dumps(planned), "")]
    result = play.run("evacuate", **WANTED, check=True)
    assert (result["failed"], result["code"], result["stayed"], result["changed"]) == (True, "not-migratable", ["web1"], True)
