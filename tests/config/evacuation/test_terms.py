"""From the values of options to the terms of an evacuation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nbdtun.config.evacuation.terms import edited_plan, make_terms
from nbdtun.errors import ConfigError
from nbdtun.evacuation.rules import Rules
from nbdtun.evacuation.terms import AtEnd

NAMES = (
    *("qmp", "libvirt", "without", "copying", "retries", "window", "only", "bandwidth", "retry_pause", "at_end", "hook", "hook_time"),
    *("restore", "order", "tls_dir", "run_dir", "answers"),
)
QMP = "/run/qemu/{vm}.qmp"


def options(**given: Any) -> dict[str, Any]:
    standing: dict[str, Any] = dict.fromkeys(NAMES) | dict.fromkeys(
        ("to", "pin", "priority", "keep_together", "keep_apart", "only", "without"), ()
    )
    return standing | given


def test_all_of_them() -> None:
    terms = make_terms(
        options(
            qmp=QMP,
            to=("hv2",),
            tls_dir="pki",
            bandwidth="100MiB",
            retry_pause=2.5,
            at_end="roll-back",
            pin=(("web1", "hv2"),),
            order=("web1",),
            keep_apart=(("web1", "web2"),),
        ),
        None,
    )
    assert terms.words == ("--tls-dir", os.path.abspath("pki"))
    assert (terms.bandwidth, terms.pause, terms.at_end, terms.copying) == (100 << 20, 2500, AtEnd.ROLL_BACK, 2)
    assert terms.rules == Rules((), (("web1", "web2"),), {"web1": "hv2"}, ("web1",))


def test_options_count_before_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "evening.toml"
    path.write_text(f'[evacuation]\nqmp = "{QMP}"\nto = ["hv2"]\ncopying = 5\n[[vm]]\nname = "web1"\nto = "hv2"\n')
    edited = edited_plan(f"{path}")
    terms = make_terms(options(retries=0), edited)
    assert (terms.copying, terms.retries, terms.rules.pins) == (5, 0, {"web1": "hv2"})
    with pytest.raises(ConfigError, match="--pin"):
        make_terms(options(pin=(("web1", "hv2"),)), edited)


def test_those_that_come_home(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    rows = [{"vm": "b", "state": "moved"}, {"vm": "c", "state": "stayed"}, {"vm": "a", "state": "moved"}]
    path.write_text(json.dumps({"vms": rows}))
    terms = make_terms(options(qmp=QMP, to=("hv1",), restore=f"{path}"), None)
    assert (terms.only, terms.rules.order, terms.restores) == (("b", "a"), ("b", "a"), True)
    assert not make_terms(options(qmp=QMP, to=("hv1",), restore=f"{path}", only=("a",)), None).restores
    path.write_text(json.dumps({"vms": rows[1:2]}))
    with pytest.raises(ConfigError, match="no VM has been moved"):
        make_terms(options(qmp=QMP, to=("hv1",), restore=f"{path}"), None)
    path.write_text("[]")
    with pytest.raises(ConfigError, match="no report"):
        make_terms(options(qmp=QMP, to=("hv1",), restore=f"{path}"), None)


def test_hooks_of_a_directory_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hooks").mkdir()
    assert make_terms(options(qmp=QMP, to=("hv1",), hook="hooks"), None).hooks == f"{tmp_path}/hooks"
    with pytest.raises(ConfigError, match="--hook hoks: No such file or directory"):
        make_terms(options(qmp=QMP, to=("hv1",), hook="hoks"), None)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        edited_plan("/nowhere/evening.toml")
