"""Parameters become words, and no value becomes an option."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nbdtun.migration.plugins.module_utils import options, terms
from ansible_collections.nbdtun.migration.plugins.module_utils.command import Failure

from nbdtun.cli import command

NONE: dict[str, Any] = {**dict.fromkeys([*options.HOST, *options.WAY, *options.MOVE]), "map": {}, "options": {}}


def test_whose_vms() -> None:
    assert options.whose(NONE) == ["--qmp=/run/qemu/{vm}.qmp"]
    assert options.whose_vm(NONE, "web1") == ["--qmp=/run/qemu/web1.qmp"]
    assert options.whose_vm({**NONE, "qmp": "/run/one.qmp"}, "web1") == ["--qmp=/run/one.qmp"]
    assert options.whose_vm({**NONE, "libvirt": "qemu:///system"}, "web1") == ["--libvirt=qemu:///system"]


def test_the_way() -> None:
    assert options.way(NONE) == []
    told = {**NONE, "tls_dir": "--evil", "insecure": True, "timeout": ["2h", "mirror=1h"], "converge": ["downtime", "auto-converge"]}
    assert options.way(told) == [
        "--tls-dir=--evil",
        "--insecure",
        "--timeout=2h",
        "--timeout=mirror=1h",
        "--converge=downtime,auto-converge",
    ]


def test_nbdtun_has_each_option() -> None:
    """What is given as a parameter is an option of each command that is called with it."""
    one: dict[str, Any] = {"str": "x", "path": "/x", "list": ["x"], "bool": True, "dict": {"a": "b"}, "int": 1}
    full = {name: one[told["type"]] for name, told in {**options.HOST, **options.WAY, **options.MOVE, **terms.OWN}.items()}
    full |= {"options": {}, "libvirt": None, "keep_together": [["a", "b"]], "keep_apart": []}
    way = options.whose(full) + options.way(full)
    calls = {
        "vms": way,
        "check": way + options.pace(full),
        "migrate": way + options.pace(full) + options.end(full),
        "evacuate": terms.words(full),
    }
    for name, words in calls.items():
        known = {option for each in command.commands[name].params for option in each.opts}
        assert {word.partition("=")[0] for word in words} - known == set(), name
        assert len(words) >= 15


def test_further_options() -> None:
    more = {"connections": 4, "through_ssh": True, "no-push": False, "allow-mismatch": ["cpu", "rng0"], "stall-timeout": None}
    assert options.more(more) == ["--allow-mismatch=cpu", "--allow-mismatch=rng0", "--connections=4", "--through-ssh"]


@pytest.mark.parametrize("name", ["progress", "--to", "to", "qmp", "hold", "resolve", "metrics", "a b", "", "code", "x=y"])
def test_options_that_are_not_the_users(name: str) -> None:
    with pytest.raises(Failure, match="is no option that can be given here"):
        options.more({name: "value"})
