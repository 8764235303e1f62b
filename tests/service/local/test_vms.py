"""The VMs that a destination serves: which sockets are found, and which names never become a path."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nbdtun.config import VM, VMPattern
from nbdtun.errors import ConfigError
from nbdtun.service.local import vms as module
from nbdtun.service.local.vms import VMs


def waits(path: Path) -> str:
    """A QEMU's socket."""
    path.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{path}")
    return f"{path}"


def there(directory: Path, names: str = "*", form: str = "{vm}-incoming.qmp") -> VMs:
    return VMs([VMPattern(names, f"{directory}/{form}")])


def test_one_that_is_named_need_not_exist() -> None:
    vms = VMs([VM("web1", "/run/web1.qmp"), VM("web2", "/run/web2.qmp")])
    assert dict(vms.items()) == dict(vms) == {"web1": "/run/web1.qmp", "web2": "/run/web2.qmp"}
    assert (len(vms), vms.places, "web3" in vms) == (2, [], False)
    assert repr(VMs([VM("web1", "/a"), VMPattern("db*", "/{vm}")])) == "<VMs web1, db*=/{vm}>"


def test_one_that_comes_later_is_found(tmp_path: Path) -> None:
    vms = there(tmp_path)
    assert "web1" not in vms
    path = waits(tmp_path / "web1-incoming.qmp")
    assert vms["web1"] == path
    assert dict(vms.items()) == {"web1": path}
    assert vms.places == [f"{tmp_path}/{{vm}}-incoming.qmp"]


class TestChange:
    """VMs come and go while their destination runs."""

    def test_names_and_patterns_come_and_go(self, tmp_path: Path) -> None:
        vms = VMs([VM("web1", "/run/web1.qmp")])
        path, pattern = waits(tmp_path / "db1.qmp"), VMPattern("db*", f"{tmp_path}/{{vm}}.qmp")
        places = vms.places
        vms.change([VM("web2", "/run/web2.qmp"), VM("web1", "/run/other.qmp"), pattern, pattern], [])
        assert dict(vms.items()) == {"db1": path, "web2": "/run/web2.qmp", "web1": "/run/other.qmp"}
        assert places == [pattern.qmp]
        assert vms.texts == ["web2", "web1", f"db*={pattern.qmp}"]
        vms.change([], [vms.find("web2"), vms.find("db*")])
        assert (dict(vms.items()), places) == ({"web1": "/run/other.qmp"}, [])
        with pytest.raises(ConfigError, match="no VM web2 is served; there is web1"):
            vms.find("web2")

    def test_one_whose_migration_is_under_way_is_remembered(self, tmp_path: Path) -> None:
        """Until it is over, and there is another change; so is one that a pattern has found."""
        path, pattern = waits(tmp_path / "db1.qmp"), VMPattern("db*", f"{tmp_path}/{{vm}}.qmp")
        vms = VMs([VM("web1", "/run/web1.qmp"), pattern])
        vms.change([], [VM("web1", "/run/web1.qmp"), pattern], busy=["web1", "db1", "gone"])
        assert (vms["web1"], vms["db1"], list(vms)) == ("/run/web1.qmp", path, [])
        vms.change([], [])
        assert not {"web1", "db1"} & {name for name in ("web1", "db1") if name in vms}

    def test_what_a_pattern_that_stays_has_found_is_still_remembered(self, tmp_path: Path) -> None:
        vms = there(tmp_path)
        path = waits(tmp_path / "db1-incoming.qmp")
        assert vms["db1"] == path
        os.unlink(path)
        vms.change([VM("web1", "/q")], [])
        assert vms["db1"] == path


@pytest.mark.parametrize("entry", ["web1.qmp", "-incoming.qmp", ".web1-incoming.qmp", "a b-incoming.qmp", "x" * 65 + "-incoming.qmp"])
def test_files_that_spell_no_name(tmp_path: Path, entry: str) -> None:
    assert len(entry) > 70 or waits(tmp_path / entry)
    assert list(there(tmp_path)) == []


def test_only_sockets_count(tmp_path: Path) -> None:
    (tmp_path / "web1-incoming.qmp").write_text("")
    (tmp_path / "web2-incoming.qmp").symlink_to("gone")
    (tmp_path / "web3-incoming.qmp").symlink_to(waits(tmp_path / "other"))
    assert list(there(tmp_path)) == ["web3"]


def test_a_pattern_for_names(tmp_path: Path) -> None:
    for name in ("web1", "web22", "db1"):
        waits(tmp_path / f"{name}-incoming.qmp")
    assert list(there(tmp_path, "web?")) == ["web1"]
    assert list(there(tmp_path, "db1")) == ["db1"]
    assert "web22" not in there(tmp_path, "web?")


@pytest.mark.parametrize("form", ["{vm}/qmp", "vm-{vm}.d/{vm}.qmp", "{vm}.{vm}.qmp"])
def test_the_name_may_stand_anywhere_in_the_path(tmp_path: Path, form: str) -> None:
    path = waits(tmp_path / form.replace("{vm}", "web1"))
    waits(tmp_path / form.replace("{vm}", "web2", 1).replace("{vm}", "web3")) if form.count("{vm}") > 1 else None
    assert dict(there(tmp_path, form=form).items()) == {"web1": path}


@pytest.mark.parametrize("name", ["../web1", "sub/web1", "web1/../web1", "", ".", "*", "web1-incoming.qmp\0", f"{'x' * 200}"])
def test_a_sources_name_is_never_a_path(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waits(tmp_path / "web1-incoming.qmp")
    waits(tmp_path / "sub" / "web1-incoming.qmp")
    looked_at: set[str] = set()

    def watched(function: Callable[[str], Any]) -> Callable[[str], Any]:
        def look(path: str) -> Any:
            looked_at.add(path)
            return function(path)

        return look

    monkeypatch.setattr(os, "stat", watched(os.stat))
    monkeypatch.setattr(os, "listdir", watched(os.listdir))
    assert name not in there(tmp_path / "sub")
    assert name not in there(tmp_path)
    assert looked_at == {f"{tmp_path}/sub", f"{tmp_path}"}


def test_of_two_the_named_one_then_the_first(tmp_path: Path) -> None:
    first, second = waits(tmp_path / "a" / "web1"), waits(tmp_path / "b" / "web1")
    patterns = [VMPattern("*", f"{tmp_path}/{place}/{{vm}}") for place in "ab"]
    assert VMs(patterns)["web1"] == dict(VMs(patterns).items())["web1"] == first
    assert VMs(patterns[::-1])["web1"] == second
    named = VMs([*patterns, VM("web1", "/named")])
    assert named["web1"] == dict(named.items())["web1"] == "/named"


def test_one_whose_qemu_has_ended_is_still_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its source may ask for the outcome, and is told that nobody answers there."""
    monkeypatch.setattr(module, "REMEMBERED", 2)
    vms = there(tmp_path)
    paths = {name: waits(tmp_path / f"{name}-incoming.qmp") for name in ("a", "b", "c", "never-asked-for")}
    assert [vms[name] for name in "abac"] == [paths[name] for name in "abac"]
    for path in paths.values():
        os.unlink(path)
    assert list(vms) == []
    assert (vms["a"], vms["c"]) == (paths["a"], paths["c"])
    assert "b" not in vms
    assert "never-asked-for" not in vms


def test_what_cannot_be_a_socket_or_be_read_is_not_there(tmp_path: Path) -> None:
    assert list(there(tmp_path / "gone")) == []
    deep = tmp_path / ("x" * (107 - len(f"{tmp_path}/") - len("/a-incoming.qmp")))
    path = waits(deep / "a-incoming.qmp")
    assert len(path) == 107
    os.rename(path, deep / "aa-incoming.qmp")
    assert list(there(deep)) == []
