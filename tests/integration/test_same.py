"""`check` and `migrate` say the same, always: every failing pre-condition that the project knows, put to both."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.crossing import VM, Crossing
from lab.daemon import BIN, free_port
from lab.disks import MIB
from lab.pair import Pair, Plan
from lab.process import wait
from lab.qemu import Build, Drive
from nbdtun.libvirt import findings
from nbdtun.migration import catalogue
from nbdtun.migration.catalogue import Kind
from nbdtun.migration.finding import Level
from tests.integration import differing, test_obstacles, test_one_command
from tests.integration.replaced import empty, waiting
from tests.integration.same import both
from tests.tls.stage.authority import HOUR, authority, revoke

PLAN = Plan(32 * MIB)


def told(crossing: Crossing, table: dict[Kind, str], *more: str) -> None:
    """Both say all of this; and it is said by the check that the kind belongs to."""
    lines = both(crossing, *more)
    for kind, says in table.items():
        assert any(says in line for line in lines), f"{kind.found} {says}:\n" + "\n".join(lines)


#: In a row of its own each, of the tests of these names.
ALONE: dict[str, tuple[Kind, ...]] = {
    "test_of_certificates": (catalogue.CERTIFICATES[0],),
    "test_of_certificates_at_the_destination": (catalogue.DESTINATION_CERTIFICATES[0],),
    "test_of_this_host_and_the_tunnel": (catalogue.SOCKETS[0], catalogue.SOURCE, catalogue.STATE, catalogue.TUNNEL, catalogue.DESTINATION),
    "test_of_a_code_that_nobody_offers": (catalogue.CODE,),
    "test_of_a_container": (catalogue.SOCKETS[0], catalogue.DESTINATION_SOCKETS[0]),
    "test_of_usb_ports": (catalogue.USB_PORTS,),
    "test_of_both_ends_at_once": (catalogue.MACHINE,),
}
#: In other files. Behind ssh, where the destination is made, in test_one_command; a disk that is full has a unit test only.
MADE: dict[str, tuple[Kind, ...]] = {
    "test_what_is_lacking_is_one_line_and_nothing_is_left": (catalogue.LACKING,),
    "test_check_and_migrate_say_the_same_of_a_place_that_is_taken": (catalogue.OCCUPIED,),
    "test_check_and_migrate_say_the_same_of_a_device_that_was_plugged_in": (catalogue.UNPLANNED,),
    "test_check_and_migrate_say_the_same_of_a_host_that_ssh_cannot_reach": (catalogue.SSH,),
    "test_of_a_controller_with_an_iothread": (catalogue.DISK_THREAD,),
}


def test_no_failure_is_left_out() -> None:
    """A kind that is new in the catalogue needs a row here; those of libvirt's migrations are in integration/libvirt_far."""
    libvirts = {one for one in vars(findings).values() if isinstance(one, Kind)}
    failures = {kind for kind in catalogue.kinds() if kind.level is Level.FAILURE} - libvirts
    provoked = {*differing.TOLD, catalogue.SPACE, *(kind for name in ALONE if callable(globals()[name]) for kind in ALONE[name])}
    provoked |= {kind for name in MADE if hasattr(test_one_command, name) or hasattr(test_obstacles, name) for kind in MADE[name]}
    assert [kind.found for kind in failures - provoked] == []


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
        "connection refused": _changed(words, "--to", f"tcp:127.0.0.1:{free_port()}"),
    }
    for says, arguments in expected.items():
        assert any(says in line for line in both(crossing, arguments=arguments)), says
    assert len(both(crossing, arguments=[*_changed(words, "--to", f"tcp:127.0.0.1:{free_port()}"), "--disk", "vdz"])) == 2


@pytest.mark.slow
def test_of_a_code_that_nobody_offers(crossing: Crossing) -> None:
    words = [VM, "--qmp", f"{crossing.qmp[0]}", "--to", f"tcp:127.0.0.1:{free_port()}", "--code", "7-crossover-clockwork"]
    (line,) = both(crossing, arguments=[*words, "--run-dir", f"{crossing.run_dir}"])
    assert "is `nbdtun receive` running there?" in line


def test_of_certificates(crossing: Crossing, directory: Path, tls: Path) -> None:
    shutil.copytree(tls, directory / "broken")
    (directory / "broken/client-cert.pem").unlink()
    (line,) = both(crossing, "--tls-dir", f"{directory}/broken")
    assert "client-cert.pem" in line


@pytest.mark.slow
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


@pytest.mark.slow
def test_of_the_same_image(crossing: Crossing) -> None:
    disk = crossing.pair.source.drives[0].disk
    with waiting(crossing, [Drive(disk, "vda")], extra=["-no-user-config"]):
        assert any("image" in line for line in both(crossing))


def test_of_both_ends_at_once(crossing: Crossing) -> None:
    crossing.pair.source.qmp("migrate-set-capabilities", capabilities=[{"capability": "multifd", "state": True}])
    with waiting(crossing, [empty(crossing.directory, "vda", PLAN.size // 2)], machine="pc-q35-7.1"):
        lines = both(crossing)
    assert [any(word in line for line in lines) for word in ("multifd", "-machine", "too small")] == [True] * 3


def test_of_two_machines_that_differ_in_everything(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], directory: Path) -> None:
    pair = pairs(*differing.PLANS, paused=True, extra=differing.here(directory))
    crossing = crossings(pair)
    differing.burden(pair.source, directory)
    with waiting(crossing, differing.drives(directory), cpu="Nehalem,-popcnt", extra=differing.there(directory)) as other:
        differing.switch_on(other)
        told(crossing, differing.TOLD)


@pytest.mark.slow
def test_of_usb_ports(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    """QEMU has chosen them, in the order of the devices."""
    bus, keys, pen = ["-device", "qemu-xhci,id=usb"], ["-device", "usb-kbd"], ["-device", "usb-tablet"]
    crossing = crossings(pairs(PLAN, paused=True, extra=[*bus, *keys, *pen]))
    with waiting(crossing, extra=[*bus, *pen, *keys]):
        told(crossing, {catalogue.USB_PORTS: " at the source; at the destination "})


@pytest.mark.slow
@pytest.mark.parametrize("end", [0, 1], ids=["source", "destination"])
def test_of_a_socket_that_is_no_monitor(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], directory: Path, end: int) -> None:
    """At either end: the monitor for humans, and a plain file."""
    pair = pairs(PLAN, paused=True, extra=["-monitor", f"unix:{directory}/NAME.hmp,server=on,wait=off"])
    (directory / "plain").touch()
    for place, says in ((directory / f"{('src', 'dst')[end]}.hmp", "monitor for humans"), (directory / "plain", "not a socket")):
        qmp = [pair.source.qmp_path, pair.destination.qmp_path]
        qmp[end] = place
        assert any(says in line for line in both(crossings(pair, qmp=(qmp[0], qmp[1])))), says


@pytest.mark.slow
def test_of_a_name_that_is_not_admitted(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    (line,) = both(crossings(pairs(PLAN, paused=True), daemon_options=["--allow", "somebody"]))
    assert "admit" in line or "allow" in line


@pytest.mark.slow
def test_of_certificates_at_the_destination(pairs: Callable[..., Pair], directory: Path, tls: Path) -> None:
    """They are lost while the daemon runs."""
    shutil.copytree(tls, directory / "lost")
    with Crossing(pairs(PLAN, paused=True), directory / "lost") as crossing:
        assert both(crossing, "--disk", "vdz") == ["web1 has no disk vdz; it has vda"]
        (directory / "lost/server-cert.pem").unlink()
        (line,) = both(crossing)
    assert "server-cert.pem: No such file or directory" in line


def test_of_a_revocation_list_that_is_out_of_date(pairs: Callable[..., Pair], directory: Path, tls: Path) -> None:
    """At both ends; both commands warn of it, and the VM moves."""
    shutil.copytree(tls, directory / "old")
    revoke(directory / "old", authority().revokes(until=-HOUR / 2))
    with Crossing(pairs(PLAN, paused=True), directory / "old") as crossing:
        checked = subprocess.run([BIN / "nbdtun", "check", *crossing.arguments(), "--no-measure"], capture_output=True, text=True)
        attempt = crossing.migrate()
        assert attempt.wait_exit(60) == 0, attempt.log()
    path = f"{directory}/old/ca-crl.pem: out of date since 20"
    for said in (checked.stdout, attempt.log()):
        assert (said.count(path), said.count(f"the destination's {path}")) == (2, 1), said


@dataclass(frozen=True)
class Contained(Build):
    """A QEMU in a mount namespace of its own, where nothing is in ``hidden``."""

    hidden: Path = Path()

    def command(self) -> list[str]:
        enter = f'mount -t tmpfs none {self.hidden} && exec "$0" "$@"'
        return ["unshare", "-m", "--propagation", "private", "sh", "-c", enter, *super().command()]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a mount namespace")
def test_of_a_container(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], native_qemu: Build, directory: Path) -> None:
    for name in ("run", "far"):
        (directory / name).mkdir(mode=0o711)
    builds = tuple(Contained(native_qemu.binary, hidden=directory / name) for name in ("run", "far"))
    here, there = both(crossings(pairs(PLAN, paused=True, builds=builds)))
    assert f"has another {directory}/run than this host, or none; it is in a container" in here
    assert f"has another {directory}/far than this host, or none; it is in a container" in there


@pytest.mark.slow
def test_of_the_states_of_a_machine(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    """One that finishes a migration, and that has moved; here, and at the destination."""
    crossing = crossings(pairs(PLAN, paused=True))
    source = crossing.pair.source
    source.qmp("migrate-set-capabilities", capabilities=[{"capability": "pause-before-switchover", "state": True}])
    source.qmp("migrate", uri="exec:cat >/dev/null")
    wait(lambda: source.qmp("query-migrate")["status"] == "pre-switchover", 30, "pre-switchover", source)
    assert any("is just finishing" in line for line in both(crossing))
    source.qmp("migrate-continue", state="pre-switchover")
    source.wait_status("postmigrate")
    assert any("it has moved already" in line for line in both(crossing))
    with waiting(crossing, incoming=False) as other:
        assert any("QEMU is running, not waiting for a migration" in line for line in both(crossing))
        other.qmp("migrate", uri="exec:cat >/dev/null")
        other.wait_status("postmigrate")
        assert any("QEMU is postmigrate, not waiting for a migration" in line for line in both(crossing))


def test_of_a_vm_that_has_moved(crossing: Crossing) -> None:
    """The source's QEMU has ended, and the destination knows why."""
    assert crossing.migrate().wait_exit(60) == 0
    missing, moved = both(crossing)
    assert "QEMU" in missing
    assert moved == "web1 is already running at the destination; if it has moved, nothing is left to do"


@pytest.mark.slow
def test_of_a_monitor_that_another_client_holds(crossing: Crossing) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(f"{crossing.pair.source.qmp_path}")
        (line,) = both(crossing)
        assert "another client holds this monitor" in line


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
