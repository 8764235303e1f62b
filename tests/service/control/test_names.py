"""The names of control sockets."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbdtun.service.control.names import Name, directory, is_daemon

BASE = Path("/run/nbdtun")


def test_a_vm_and_a_daemon_cannot_meet() -> None:
    vm, daemon = Name.of_vm("812", "/run/812.qmp"), Name.of_daemon(812)
    assert (vm.text, daemon.text) == ("812", "@812")
    assert daemon.path(BASE) == "/run/nbdtun/control/@812.sock"
    assert Path(vm.path(BASE)).name == f"812@{vm.key}.sock"
    assert len(vm.key) == 10


@pytest.mark.parametrize("name", [Name.of_vm("web1", "/run/web1.qmp"), Name.of_daemon(812)])
def test_a_file_has_the_whole_name(name: Name) -> None:
    assert Name.of_file(Path(name.path(BASE))) == name


def test_a_vms_name_is_cut_where_the_path_would_be_too_long() -> None:
    base = Path("/run/" + "d" * 50)
    name = Name.of_vm("x" * 64, "/run/web1.qmp")
    path = Path(name.path(base))
    assert len(f"{path}") == 107
    cut = Name.of_file(path)
    assert cut.key == name.key
    assert cut.fits(name.vm)
    assert not cut.fits("y" * 64)
    assert not Name.of_daemon(7).fits("web1")
    assert Name.of_file(Path(name.path(Path("/run/" + "d" * 100)))).vm == "x"


def test_one_vm_is_found_under_any_name(tmp_path: Path) -> None:
    directory(tmp_path).mkdir()
    name = Name.of_vm("web1", "/run/web1.qmp")
    Path(name.path(tmp_path)).touch()
    Path(Name.of_vm("web1", "/run/other.qmp").path(tmp_path)).touch()
    assert Name.of_vm("db1", "/run/web1.qmp").present(tmp_path) == [Path(name.path(tmp_path))]
    assert Name.of_daemon(7).present(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "daemon"), [("@812", True), ("812", False), ("web1", False), ("@", False), ("@x", False), ("@8/1", False)]
)
def test_what_an_operator_means(text: str, daemon: bool) -> None:
    assert is_daemon(text) is daemon
