"""The module `migrate`: what it asks of nbdtun, and what it makes of the answers. integration/ansible_moves has real ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.ansible.stage import Play, last, row

HERE = ["--qmp=/run/qemu/web1.qmp"]
TO = "--to=ssh://hv2"
WANTED: dict[str, Any] = {"vm": "web1", "to": "ssh://hv2"}
UNDER_WAY = {"pid": 7, "to": "ssh://hv2", "progress": {}}


def test_it_is_moved(play: Play) -> None:
    play.answers = [row(), last(0, downtime_ms=71.4)]
    result = play.run("migrate", **WANTED)
    assert (result["failed"], result["changed"], result["outcome"], result["downtime_ms"], result["code"]) == (
        False,
        True,
        "moved",
        71.4,
        None,
    )
    assert play.said == [["vms", "--json", *HERE, "--", "web1"], ["migrate", "--progress=final", *HERE, TO, "--", "web1"]]


def test_each_command_has_the_options_that_it_knows(play: Play) -> None:
    play.answers = [row(), last(0)]
    play.run("migrate", **WANTED, bandwidth="1MiB", keep_source=True, settle="2s")
    assert play.said[0] == ["vms", "--json", *HERE, "--settle=2s", "--", "web1"]
    assert play.said[1] == ["migrate", "--progress=final", *HERE, TO, "--settle=2s", "--bandwidth=1MiB", "--keep-source", "--", "web1"]
    play.answers, play.said = [row(), (0, '{"findings": []}', ""), (0, "", "")], []
    play.run("migrate", check=True, **WANTED, bandwidth="1MiB", keep_source=True)
    assert play.said[1] == ["check", "--json", "--no-measure", *HERE, TO, "--bandwidth=1MiB", "--", "web1"]


def test_it_is_there_already(play: Play) -> None:
    play.answers = [row(None), row(None, {"ssh://hv2": "running"})]
    result = play.run("migrate", **WANTED)
    assert (result["failed"], result["changed"], result["outcome"]) == (False, False, "there")
    assert play.said[-1] == ["vms", "--json", *HERE, TO, "--", "web1"]


@pytest.mark.parametrize("state", [None, "inmigrate", "shutdown"])
def test_it_is_nowhere(play: Play, state: str | None) -> None:
    play.answers = [row(state), row(state, {"ssh://hv2": None})]
    result = play.run("migrate", **WANTED)
    assert (result["failed"], result["changed"], result["outcome"], result["code"]) == (True, False, "absent", "vm-unknown")
    assert "web1 runs neither here nor at ssh://hv2" in result["msg"]


def test_nobody_can_say_whether_it_is_there(play: Play) -> None:
    play.answers = [row(None), row(None, {"ssh://hv2": {"state": None, "error": "no way", "code": "reach", "remedy": "try ssh"}})]
    result = play.run("migrate", **WANTED)
    assert (result["failed"], result["outcome"], result["code"], result["remedy"]) == (True, "absent", "reach", "try ssh")


def test_a_monitor_that_cannot_be_asked(play: Play) -> None:
    play.answers = [row(None, error="held by another; end it", code="monitor", remedy="end it")]
    result = play.run("migrate", **WANTED)
    assert (result["failed"], result["outcome"], result["code"], result["remedy"]) == (True, "stayed", "monitor", "end it")


def test_a_migration_that_is_under_way_is_waited_for(play: Play) -> None:
    play.answers = [
        row(None, migration=UNDER_WAY),
        row(None, migration=UNDER_WAY),
        row(None),
        row(None),
        row(None, {"ssh://hv2": "running"}),
    ]
    result = play.run("migrate", **WANTED)
    assert (result["failed"], result["changed"], result["outcome"], result["adopted"]) == (False, True, "moved", True)


def test_one_that_was_rolled_back_meanwhile_is_begun_anew(play: Play) -> None:
    play.answers = [row(None, migration=UNDER_WAY), row(), row(), last(0)]
    assert play.run("migrate", **WANTED)["outcome"] == "moved"


def test_one_to_another_host_is_left_alone(play: Play) -> None:
    play.answers = [row(None, migration={**UNDER_WAY, "to": "hv9"})]
    result = play.run("migrate", **WANTED)
    assert (result["failed"], result["code"], result["adopted"]) == (True, "not-migratable", False)
    assert "is being migrated to hv9, and not to ssh://hv2" in result["msg"]


def test_an_unknown_outcome_is_settled_first(play: Play) -> None:
    play.answers = [row("postmigrate"), last(0)]
    result = play.run("migrate", **WANTED)
    assert (result["changed"], result["outcome"], result["settled"]) == (True, "moved", True)
    assert play.said[-1] == ["migrate", "--resolve", "--progress=final", *HERE, TO, "--", "web1"]


def test_a_source_that_was_left_is_no_doubt(play: Play) -> None:
    """With keep_source its QEMU stays, and is in the same state as one whose outcome is unknown."""
    play.answers = [row("postmigrate"), row("postmigrate", {"ssh://hv2": "running"})]
    result = play.run("migrate", **WANTED, keep_source=True)
    assert (result["failed"], result["changed"], result["outcome"]) == (False, False, "there")
    play.answers = [row("postmigrate"), row("postmigrate", {"ssh://hv2": None}), last(0)]
    assert play.run("migrate", **WANTED, keep_source=True)["settled"] is True


def test_one_that_never_arrived_is_moved_then(play: Play) -> None:
    play.answers = [row("postmigrate"), last(1, "migration", "web1 did not arrive and never will"), row(), last(0)]
    result = play.run("migrate", **WANTED)
    assert (result["outcome"], result["settled"], len(play.said)) == ("moved", True, 4)


def test_one_that_stays_unknown_is_not_moved(play: Play) -> None:
    """It fails, says that nothing may be started by hand, and that the task itself asks first."""
    play.answers = [row("postmigrate"), last(3, "unknown", "the destination cannot be asked")]
    result = play.run("migrate", **WANTED)
    assert (result["failed"], result["changed"], result["outcome"], result["code"]) == (True, True, "unknown", "unknown")
    assert "do not start it by hand" in result["msg"]
    assert len(play.said) == 2


def test_a_vm_of_libvirt_that_is_paused_may_be_in_doubt(play: Play) -> None:
    play.answers = [row("paused"), last(1, "not-migratable", "there is nothing to resolve"), row("paused"), last(0)]
    assert play.run("migrate", **WANTED, libvirt="qemu:///system")["outcome"] == "moved"
    assert [words[0] for words in play.said] == ["vms", "migrate", "vms", "migrate"]
    assert play.said[0] == ["vms", "--json", "--libvirt=qemu:///system", "--", "web1"]


def test_a_process_that_was_killed_is_settled_at_once(play: Play) -> None:
    play.answers = [row(), (137, "", ""), last(1, "migration", "web1 is at the source, as it was before")]
    result = play.run("migrate", **WANTED)
    assert (result["failed"], result["outcome"], result["code"], result["settled"]) == (True, "stayed", "migration", True)
    assert play.said[-1][:2] == ["migrate", "--recover"]


def test_the_dry_run_checks_and_shows_the_plan(play: Play) -> None:
    found = [{"level": "ok", "what": "fine"}, {"level": "warning", "what": "slow"}]
    play.answers = [row(), (0, json.dumps({"findings": found}), ""), (0, "make   directory /srv/vm\n", "")]
    result = play.run("migrate", check=True, diff=True, **WANTED, map={"/srv": "/data"}, tls_dir="/pki")
    assert (result["failed"], result["changed"], result["outcome"], result["findings"]) == (False, True, "would_move", found)
    assert result["diff"]["after"] == "web1: runs at ssh://hv2\nmake   directory /srv/vm\n"
    assert play.warnings == ["web1: slow"]
    assert play.said[1] == ["check", "--json", "--no-measure", *HERE, TO, "--tls-dir=/pki", "--map=/srv=/data", "--", "web1"]
    assert play.said[2] == ["plan", *HERE, TO, "--map=/srv=/data", "--", "web1"]


def test_the_dry_run_fails_where_the_migration_would(play: Play) -> None:
    found = [{"level": "failure", "what": "no room", "remedy": "make some", "code": "not-migratable"}]
    play.answers = [row(), (1, json.dumps({"findings": found}), "")]
    result = play.run("migrate", check=True, **WANTED)
    assert (result["failed"], result["changed"], result["code"], result["remedy"]) == (True, False, "not-migratable", "make some")
    assert result["msg"] == "web1 cannot be migrated: no room; make some"


@pytest.mark.parametrize(("state", "changes"), [("postmigrate", {}), (None, {"migration": UNDER_WAY})])
def test_the_dry_run_settles_nothing(play: Play, state: str | None, changes: dict[str, Any]) -> None:
    play.answers = [row(state, **changes)]
    assert play.run("migrate", check=True, **WANTED)["changed"] is True


def test_there_is_no_nbdtun_or_an_old_one(play: Play) -> None:
    play.installed = False
    result = play.run("migrate", **WANTED)
    assert (result["failed"], result["changed"], result["code"]) == (True, False, "not-installed")
    assert "the role nbdtun.migration.nbdtun does" in result["remedy"]
    play.installed, play.version = True, "nbdtun 0.0.9"
    assert play.run("migrate", **WANTED)["code"] == "version"


def test_a_name_that_looks_like_an_option_is_none(play: Play) -> None:
    play.answers = [(2, "", "nbdtun: --help: a name has other characters [config]\n")]
    result = play.run("migrate", vm="--help", to="ssh://hv2")
    assert (result["failed"], result["code"]) == (True, "config")
    assert play.said[0][-2:] == ["--", "--help"]
