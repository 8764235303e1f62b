"""The VMs of this host: what must not be passed over in silence, as the host may be switched off next."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from nbdtun.errors import ConfigError
from nbdtun.evacuation.terms import Terms
from nbdtun.service.evacuation import survey as module
from nbdtun.service.evacuation.survey import Seen, survey


async def seen(folder: Path, **more: Any) -> list[Seen]:
    return await survey(cast(Any, Clock()), Terms(qmp=f"{folder}/{{vm}}.qmp", to=("hv2",), **more))


@pytest_twisted.ensureDeferred
async def test_a_monitor_whose_name_is_not_valid_is_told(tmp_path: Path) -> None:
    for name in ("my vm", "_web"):
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"{tmp_path}/{name}.qmp")
    (tmp_path / "no socket.qmp").touch()
    first, second = await seen(tmp_path)
    assert (first.vm, second.vm) == ("_web", "my vm")
    assert first.has_guest
    assert "'my vm' is not a valid name" in str(second.wrong)
    assert await seen(tmp_path, without=("my*", "_web")) == []


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("below", "more", "line"),
    [
        ("", {}, "no QMP socket has the form {0}/{{vm}}.qmp"),
        ("", {"without": ("web*",)}, "no QMP socket has the form {0}/{{vm}}.qmp, among those that --only and --without choose"),
        ("/nowhere", {}, "there is no directory {0}/nowhere, and so no VM"),
    ],
)
async def test_a_host_without_vms_is_told_as_such(below: str, more: dict[str, Any], line: str, tmp_path: Path) -> None:
    """The form may be misspelt."""
    with capturedLogs() as events:
        assert await seen(Path(f"{tmp_path}{below}"), **more) == []
    assert [event["what"] for event in events] == [line.format(tmp_path)]


@pytest_twisted.ensureDeferred
async def test_an_only_that_fits_no_vm_is_an_error(tmp_path: Path) -> None:
    """The others would have been moved, and the status would have been 0."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{tmp_path}/my vm.qmp")
    assert len(await seen(tmp_path, only=("my*",))) == 1
    with pytest.raises(ConfigError, match=r"--only wbe\*: no VM here has such a name; `nbdtun vms` lists"):
        await seen(tmp_path, only=("my*", "wbe*"))
    assert len(await seen(tmp_path, only=("my*", "web1"), restores=True)) == 1  # it may be at another host


@pytest_twisted.ensureDeferred
async def test_nor_does_one_fit_a_domain_of_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class There:
        def __init__(self, reactor: Any, uri: str) -> None:
            pass

        async def open(self) -> There:
            return self

        async def do(self, work: Any) -> list[str]:
            return ["web1"]

        def close(self) -> None:
            pass

    monkeypatch.setattr(module, "Libvirt", There)
    with pytest.raises(ConfigError, match="--only db1: no VM here has such a name"):
        await survey(cast(Any, Clock()), Terms(libvirt="qemu:///system", to=("hv2",), only=("web1", "db1")))


@pytest_twisted.ensureDeferred
async def test_a_directory_that_cannot_be_read_is_not_an_empty_host(tmp_path: Path) -> None:
    assert await seen(tmp_path / "nowhere") == []
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be read: Not a directory"):
        await seen(tmp_path / "file")
