"""`check` and `migrate` say the same, always: every failing pre-condition that the project knows, put to both."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from lab.crossing import VM, Crossing
from lab.daemon import BIN, free_port
from lab.disks import MIB, Disk
from lab.pair import Pair, Plan
from lab.qemu import Drive, Qemu
from lab.qmp import QmpError

PLAN = Plan(32 * MIB)


def both(crossing: Crossing, *more: str, arguments: list[str] | None = None) -> list[str]:
    """The failures, in the words of both, which are the same; so are their statuses, and nothing is begun."""
    words = arguments or crossing.arguments(*more)
    checked = subprocess.run([BIN / "nbdtun", "check", *words, "--json", "--no-measure"], capture_output=True, text=True, timeout=120)
    found = [one for one in json.loads(checked.stdout)["findings"] if one["level"] == "failure"]
    lines = [one["what"] + (f"; {one['remedy']}" if one["remedy"] else "") for one in found]
    assert lines, checked.stdout
    migrated = subprocess.run([BIN / "nbdtun", "migrate", *words, "--progress", "json"], capture_output=True, text=True, timeout=120)
    last = migrated.stderr.splitlines()[-1]
    assert last == f"nbdtun: {'; '.join(lines)} [{found[0]['code']}]"
    assert migrated.returncode == checked.returncode
    assert json.loads(migrated.stdout.splitlines()[-1])["phase"] == "failed"
    assert crossing.pair.source.leftovers() == []
    return lines


@contextmanager
def waiting(crossing: Crossing, drives: list[Drive] | None = None, **options: Any) -> Iterator[Qemu]:
    """Another QEMU at the destination, with such drives, or with the disk that it should have."""
    crossing.pair.destination.kill()
    if drives is None:
        drives = [empty(crossing.directory, "vda", PLAN.size)]
    options = {"incoming": True} | options
    with Qemu("dst", crossing.directory, crossing.pair.guest, drives, **options) as vm:
        yield vm


def empty(directory: Path, name: str, size: int, **options: Any) -> Drive:
    return Drive(Disk(directory / f"{name}-other.raw", size).make_empty(), name, **options)


@pytest.fixture
def crossing(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> Crossing:
    made = crossings(pairs(PLAN))
    made.pair.source.wait_ticks(1)
    return made


def test_of_this_host_and_the_tunnel(crossing: Crossing, directory: Path, tls: Path) -> None:
    words = crossing.arguments()
    expected: dict[str, list[str]] = {
        "no disk vdz; it has vda": crossing.arguments("--disk", "vdz"),
        "too long for the path of a UNIX socket": crossing.arguments("--run-dir", f"/tmp/{'long' * 20}"),
        "No such file or directory; is QEMU running": _changed(words, "--qmp", "/nonexistent.qmp"),
        "is --qmp the destination's?": _changed(words, "--qmp", f"{crossing.pair.destination.qmp_path}"),
        "not-this-name": crossing.arguments("--tls-name", "not-this-name.example"),
        "the destination has no VM 'other'": ["other", *words[1:]],
        "Connection was refused": _changed(words, "--to", f"tcp:127.0.0.1:{free_port()}"),
    }
    for says, arguments in expected.items():
        assert any(says in line for line in both(crossing, arguments=arguments)), says
    assert len(both(crossing, arguments=[*_changed(words, "--to", f"tcp:127.0.0.1:{free_port()}"), "--disk", "vdz"])) == 2


def test_of_certificates(crossing: Crossing, directory: Path, tls: Path) -> None:
    shutil.copytree(tls, directory / "broken")
    (directory / "broken/client-cert.pem").unlink()
    (line,) = both(crossing, "--tls-dir", f"{directory}/broken")
    assert "client-cert.pem" in line


def test_of_the_source(crossing: Crossing) -> None:
    qmp = crossing.pair.source.qmp
    qmp("migrate-set-capabilities", capabilities=[{"capability": "multifd", "state": True}])
    qmp("block-export-add", type="nbd", id="mine", node_name="vda", name="mine") if _serve(qmp) else None
    lines = both_but_leftovers(crossing)
    assert any("multifd" in line for line in lines)
    assert any("the nbd export 'mine' serves it to another client" in line for line in lines)
    assert len(lines) == 2


def _serve(qmp: Any) -> bool:
    with suppress(QmpError):
        qmp("nbd-server-start", addr={"type": "inet", "data": {"host": "127.0.0.1", "port": f"{free_port()}"}})
    return True


def both_but_leftovers(crossing: Crossing) -> list[str]:
    """The same where something of another tool's is in the source's QEMU."""
    with ExitStack() as ended:
        source = crossing.pair.source
        kept, source.leftovers = source.leftovers, list  # type: ignore[method-assign]
        ended.callback(setattr, source, "leftovers", kept)
        return both(crossing)


def test_of_the_destination(crossing: Crossing) -> None:
    machines: dict[str, dict[str, Any]] = {
        "not waiting for a migration; start it with -S -incoming defer": {"incoming": False, "paused": True},
        "start the destination with -machine pc-q35-7.2": {"machine": "pc-q35-7.1"},
        "start the destination with the same -m": {"memory": 64 << 10},
        "start the destination with -cpu": {"cpu": "qemu64"},
        "start the destination with the same -smp": {"extra": ["-smp", "2"]},
    }
    for says, options in machines.items():
        with waiting(crossing, **options):
            assert any(says in line for line in both(crossing)), says
    disks: dict[str, list[dict[str, Any]]] = {
        "is too small for": [{"size": PLAN.size // 2}],
        "it is read-only": [{"size": PLAN.size, "read_only": True}],
        "no writable disk": [],
    }
    for says, images in disks.items():
        with waiting(crossing, [empty(crossing.directory, "vda", **image) for image in images]):
            assert any(says in line for line in both(crossing)), says
    assert "QEMU has ended" in both(crossing)[0]


def test_of_the_same_image(crossing: Crossing) -> None:
    disk = crossing.pair.source.drives[0].disk
    with waiting(crossing, [Drive(disk, "vda")], extra=["-no-user-config"]):
        assert any("image" in line for line in both(crossing))


def test_of_both_ends_at_once(crossing: Crossing) -> None:
    crossing.pair.source.qmp("migrate-set-capabilities", capabilities=[{"capability": "multifd", "state": True}])
    with waiting(crossing, [empty(crossing.directory, "vda", PLAN.size // 2)], machine="pc-q35-7.1"):
        lines = both(crossing)
    assert [any(word in line for line in lines) for word in ("multifd", "-machine", "too small")] == [True] * 3


@pytest.mark.slow
def test_of_a_monitor_that_another_client_holds(crossing: Crossing) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(f"{crossing.pair.source.qmp_path}")
        (line,) = both(crossing)
        assert "another client holds it" in line


def test_while_it_is_being_migrated(crossing: Crossing) -> None:
    """A second one is told so at once, and by whom."""
    attempt = crossing.migrate("--bandwidth", "1MiB")
    attempt.wait_phase("mirror")
    for name in ("check", "migrate"):
        done = subprocess.run([BIN / "nbdtun", name, *crossing.arguments()], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert f"{VM} is being migrated by another process (pid {attempt.pid}); `nbdtun status` shows it" in done.stdout + done.stderr
    attempt.terminate()


def _changed(words: list[str], option: str, value: str) -> list[str]:
    at = words.index(option) + 1
    return [*words[:at], value, *words[at + 1 :]]
