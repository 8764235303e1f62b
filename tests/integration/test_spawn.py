"""
Destinations that are planned from a running QEMU, made, and moved to, with real QEMUs: command lines as people write them.

Both hosts are this one, so each plan maps the source's directory to another. The guests have no system: their disks have a known content.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from lab.daemon import BIN, free_port
from lab.process import Process, wait
from lab.qemu import Build
from lab.qmp import Qmp
from nbdtun.errors import NbdtunError, NotMigratable
from nbdtun.migration.destination.control import DestinationControl
from nbdtun.migration.destination.sessions import Sessions
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.settings import MigrationSettings, StepTimeouts
from nbdtun.migration.source.migration import Migration
from nbdtun.service import planning
from nbdtun.spawn.command.options import FLAGS, KEYED, SYNONYMS, TEXTS
from nbdtun.spawn.far.maker import Maker
from nbdtun.spawn.rewrite.answers import Answers, Mapped, Place, places
from tests.integration.rig import pause
from tests.migration.stage.direct import Tunnel

KIB, MIB = 1 << 10, 1 << 20
PLAIN = "-m 64 -accel tcg -nodefaults -display none -serial file:D/serial.log -pidfile D/qemu.pid -qmp unix:D/lab.qmp,server=on,wait=off"

LINES = {
    "drive": "-machine q35 -drive if=virtio,file=D/a.qcow2",
    "hda": "-hda D/b.raw -cdrom D/cd.iso -vga std",
    "blockdev": """
        -blockdev driver=file,node-name=base-file,filename=D/base.qcow2,read-only=on
        -blockdev driver=qcow2,node-name=base,file=base-file,read-only=on
        -blockdev driver=file,node-name=top-file,filename=D/top.qcow2 -blockdev driver=qcow2,node-name=top,file=top-file,backing=base
        -device virtio-blk-pci,drive=top,id=disk0
        -blockdev {"driver":"raw","node-name":"b","file":{"driver":"file","filename":"D/b.raw"}}
        -device {"driver":"virtio-blk-pci","drive":"b"}
    """,
    "firmware": """
        -machine q35 -drive if=pflash,unit=0,format=raw,readonly=on,file=D/code.fd -drive if=pflash,unit=1,format=raw,file=D/vars.fd
        -drive if=virtio,file=D/a.qcow2,format=qcow2
    """,
    "nics": """
        -nic user,model=virtio-net-pci -nic user,model=e1000 -netdev user,id=net2 -device virtio-net-pci,netdev=net2,id=nic2
        -netdev socket,id=net3,mcast=230.0.0.1:PORT,localaddr=127.0.0.1 -device rtl8139,netdev=net3
        -drive if=virtio,file=D/a.qcow2
    """,
    "smp": "-M q35,usb=off -cpu Nehalem -smp 4,sockets=2,cores=2,threads=1 -drive file=D/b.raw,format=raw,if=virtio,cache=none",
    "memory": """
        -object memory-backend-memfd,id=m0,size=32M,share=on -object memory-backend-file,id=m1,size=32M,mem-path=D/ram
        -numa node,memdev=m0 -numa node,memdev=m1 -drive if=virtio,file=D/a.qcow2
    """,
    "tablet": """
        -machine pc -usb -device usb-tablet -device qemu-xhci,id=xhci -device usb-kbd,bus=xhci.0 -vga std -vnc unix:D/vnc -hda D/a.qcow2
    """,
    "agent": """
        -device virtio-serial-pci -chardev socket,id=qga,path=D/qga.sock,server=on,wait=off
        -device virtserialport,chardev=qga,name=org.qemu.guest_agent.0 -monitor unix:D/hmp,server,nowait -drive if=virtio,file=D/a.qcow2
    """,
    "iothreads": """
        -object iothread,id=t0 -object iothread,id=t1 -drive if=none,id=d0,file=D/a.qcow2,format=qcow2,aio=threads
        -device virtio-blk-pci,drive=d0,iothread=t0 -drive if=none,id=d1,file=D/b.raw,format=raw
        -device virtio-scsi-pci,iothread=t1,id=s -device scsi-hd,drive=d1,bus=s.0
    """,
    "thread": "-object iothread,id=t0 -drive if=none,id=d0,file=D/a.qcow2 -device virtio-blk-pci,drive=d0,iothread=t0",
    "luns": """
        -device virtio-scsi-pci,id=s -drive if=none,id=l0,file=D/a.qcow2 -device scsi-hd,drive=l0,bus=s.0,channel=0,scsi-id=1,lun=0
        -drive if=none,id=l1,file=D/b.raw,format=raw -device scsi-hd,drive=l1,bus=s.0,channel=0,scsi-id=1,lun=1
        -drive if=none,id=cd,media=cdrom,file=D/cd.iso,readonly=on -device scsi-cd,drive=cd,bus=s.0,scsi-id=2
    """,
}
"""D is the source's directory, PORT a free port. A TPM by swtpm is below: it is refused where there is no second one."""

QUICK = ("blockdev", "luns")


class Host:
    """A QEMU in a directory of its own, and where its destination is to be."""

    def __init__(self, directory: Path, build: Build) -> None:
        self.here, self.there = directory / "here", directory / "there"
        self.build = build
        self.here.mkdir()
        self.qmp = self.here / "vm.qmp"
        self.maker = Maker(reactor)
        self._made = ""
        self.ended = ExitStack()

    def images(self) -> None:
        """Images with known content, and what else the lines name."""
        for name, fmt, options in (("a.qcow2", "qcow2", ["-o", "cluster_size=32k"]), ("b.raw", "raw", []), ("base.qcow2", "qcow2", [])):
            image("create", "-q", "-f", fmt, *options, self.here / name, "24M")
            write(self.here / name, fmt, 0x11, 1)
        image("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", self.here / "top.qcow2")
        write(self.here / "top.qcow2", "qcow2", 0x22, 5)
        (self.here / "cd.iso").write_bytes(os.urandom(64 * KIB))
        found = [Path(directory, "bios-256k.bin") for directory in ("/usr/share/seabios", "/usr/share/qemu")]
        firmware = next(path for path in found if path.exists())
        (self.here / "code.fd").write_bytes(firmware.read_bytes())
        (self.here / "vars.fd").write_bytes(b"v" * 128 * KIB)

    def start(self, line: str, *, plain: str = PLAIN, wait_for: bool = True) -> Process:
        """Start the source with a command line."""
        text = f"{plain} {line}".replace("PORT", f"{free_port()}")
        words = [word.replace("D/", f"{self.here}/") for word in text.split()]
        command = [*self.build.command(), *words, "-qmp", f"unix:{self.qmp},server=on,wait=off"]
        process = self.ended.enter_context(Process(command, self.here.parent / "source.log", self.build.env()))
        if wait_for:
            made = [self.qmp, *(self.here / name for name in ("qemu.pid", "serial.log"))]
            wait(lambda: all(path.exists() for path in made), 20, "the source's monitor", process)
        return process

    def answers(self, *disks: str, **more: Any) -> Answers:
        settings: tuple[str, ...] = (*more.pop("settings", ()), *([f"emulator={self.wrapped()}"] if self.build.prefix else []))
        return Answers((Mapped(f"{self.here}", f"{self.there}"),), places(map(Place.parse, disks)), settings, **more)

    def wrapped(self) -> Path:
        """A program that starts a QEMU whose libraries are not where the system looks for them."""
        path = self.here.parent / "emulator"
        path.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={self.build.env()["LD_LIBRARY_PATH"]} exec {self.build.binary} "$@"\n')
        path.chmod(0o755)
        return path

    async def plan(self, **more: Any) -> planning.Planned:
        drawn = await planning.draw(reactor, "web1", f"{self.qmp}", self.answers(**more))
        return await planning.examine(drawn, self.maker)

    async def make(self, *disks: str, **more: Any) -> Qmp:
        """Make the destination; its monitor."""
        drawn = await planning.draw(reactor, "web1", f"{self.qmp}", self.answers(*disks, **more))
        self._made = await planning.make(drawn, self.maker)
        return Qmp(self.there / "lab.qmp")

    async def move(self) -> None:
        """Migrate to the destination that was made, by the migration's own objects."""
        tunnel = Tunnel(reactor, self.here.parent)
        steps = StepTimeouts(settle=3, undo=10)
        sessions = Sessions(reactor, {"web1": self._made}, tunnel.egress, steps)
        tunnel.serve = lambda: DestinationControl(sessions)
        await tunnel.start()
        monitor = Monitor(reactor, f"{self.qmp}", "web1")
        await monitor.connect()
        try:
            await Migration(reactor, monitor, tunnel, MigrationSettings(vm="web1", steps=steps, settle=0.2), lambda progress: None).run()
        finally:
            await monitor.close()
            await sessions.stop()
            await tunnel.stop()
            tunnel.cut_control()
            await pause(0.05)

    def faults(self, planned: planning.Planned) -> list[str]:
        """The disks whose copy is not like the original, once both QEMUs have ended."""
        found = []
        for made in planned.plan.images:
            if made.path.endswith(".fd"):
                continue
            before = Path(made.origin)
            done = subprocess.run(["qemu-img", "compare", before, made.path], capture_output=True, text=True)
            found += [f"{made.node}: {done.stdout}{done.stderr}"] if done.returncode else []
        return found


def image(*words: str | Path) -> None:
    subprocess.run(["qemu-img", *words], check=True, capture_output=True)


def write(path: Path, fmt: str, pattern: int, megabytes: int) -> None:
    subprocess.run(["qemu-io", "-f", fmt, "-c", f"write -P {pattern} {megabytes}M 1M", path], check=True, capture_output=True)


def files(directory: Path) -> list[str]:
    return sorted(f"{path.relative_to(directory)}" for path in directory.rglob("*"))


@pytest.fixture
def host(directory: Path, native_qemu: Build) -> Iterator[Host]:
    yield from _host(directory, native_qemu)


def _host(directory: Path, build: Build) -> Iterator[Host]:
    one = Host(directory, build)
    one.images()
    with one.ended:
        yield one


@pytest.fixture(params=["native_qemu", pytest.param("recent_qemu", marks=pytest.mark.slow)])
def either(request: pytest.FixtureRequest, directory: Path) -> Iterator[Host]:
    yield from _host(directory, request.getfixturevalue(request.param))


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in LINES])
@pytest_twisted.ensureDeferred
async def test_lines_as_people_write_them(either: Host, name: str) -> None:
    """Each is moved, and comes back by the same command from the other side."""
    if name == "firmware":
        (either.there).mkdir()
    for path in ("cd.iso", "code.fd"):
        if path in LINES[name]:
            either.there.mkdir(exist_ok=True)
            (either.there / path).write_bytes((either.here / path).read_bytes())
    source = either.start(LINES[name])
    planned = await either.plan()
    failures = [finding.what for finding in planned.findings if finding.level.value == "failure"]
    if name == "iothreads" and either.build.version < (8, 0):
        assert ["would end as soon as the copy of a disk with an iothread has arrived" in what for what in failures] == [True]
        return
    assert failures == []
    qmp = await either.make()
    try:
        assert qmp("query-status")["status"] == "inmigrate"
        await either.move()
        await deferToThread(source.wait_exit, 20)
        assert qmp("query-status")["status"] == "running"
        await either.maker.remove()  # a guest has run on it
        assert qmp("query-status")["status"] == "running"
    finally:
        qmp("quit")
    await deferToThread(wait, lambda: not Path(f"{either.there}/qemu.pid").exists(), 10, "the destination's end")
    assert either.faults(planned) == []


@pytest_twisted.ensureDeferred
async def test_what_was_made_is_removed_and_a_second_try_works(host: Host) -> None:
    host.start(LINES["drive"])
    before = files(host.here)
    for _ in range(2):
        qmp = await host.make()
        assert files(host.there) == ["a.qcow2", "lab.qmp", "qemu.pid", "serial.log", "vm.qmp", "vm.qmp.log"]
        del qmp
        await host.maker.remove()
        assert not host.there.exists()
    assert files(host.here) == before


@pytest_twisted.ensureDeferred
async def test_images_are_like_those_of_the_source(host: Host) -> None:
    (host.here / "a.qcow2").unlink()
    image("create", "-q", "-f", "qcow2", "-o", "cluster_size=128k,extended_l2=on,refcount_bits=8", host.here / "a.qcow2", "24M")
    (host.here / "a.qcow2").chmod(0o640)
    host.start(LINES["drive"])
    await host.make()
    told = json.loads(
        subprocess.run(["qemu-img", "info", "-U", "--output=json", host.there / "a.qcow2"], capture_output=True, check=True).stdout
    )
    await host.maker.remove()
    data = told["format-specific"]["data"]
    assert (told["cluster-size"], told["virtual-size"], data["extended-l2"], data["refcount-bits"]) == (128 * KIB, 24 * MIB, True, 8)


@pytest_twisted.ensureDeferred
async def test_the_same_file_is_never_written_to(host: Host) -> None:
    host.start(LINES["drive"])
    (host.here / "link").symlink_to(host.here / "a.qcow2")
    (host.here / "hard").hardlink_to(host.here / "a.qcow2")
    for name in ("a.qcow2", "link", "hard"):
        for overwrite in (False, True):
            with pytest.raises(NotMigratable, match="is the source's own image: both hosts see the same file"):
                await host.make(f"virtio0={host.here}/{name}", overwrite=overwrite)
    assert [name for name in files(host.here) if "nbdtun" in name] == []


@pytest_twisted.ensureDeferred
async def test_an_image_that_is_there(host: Host) -> None:
    host.start(LINES["drive"])
    host.there.mkdir()
    there = host.there / "a.qcow2"
    image("create", "-q", "-f", "qcow2", there, "24M")
    await host.make()  # it is empty
    await host.maker.remove()
    assert files(host.there) == ["a.qcow2"]
    write(there, "qcow2", 0x33, 2)
    with pytest.raises(NotMigratable, match="is there already, and not empty; give its content up with --overwrite"):
        await host.make()
    await host.make(overwrite=True)
    await host.maker.remove()
    assert files(host.there) == ["a.qcow2"]
    with Process(["qemu-nbd", "-t", "-k", host.here / "nbd", "-f", "qcow2", there], host.here.parent / "nbd.log") as server:
        wait((host.here / "nbd").exists, 10, "qemu-nbd", server)
        with pytest.raises(NotMigratable, match="is in use by another QEMU"):
            await host.make(overwrite=True)


@pytest_twisted.ensureDeferred
async def test_all_that_is_lacking_is_told_at_once(host: Host) -> None:
    host.start(f"{LINES['luns']} -nic user,hostfwd=tcp:127.0.0.1:PORT-:22")
    found = [finding.what.replace(f"{host.there}", "T") for finding in (await host.plan()).findings]
    assert found[0] == "-drive cd: T/cd.iso is not there"
    assert found[1].startswith("-nic user: port ")
    host.there.mkdir()
    (host.there / "cd.iso").write_bytes(bytes(64 * KIB))
    found = [finding.what.replace(f"{host.there}", "T") for finding in (await host.plan()).findings]
    assert found[0] == "-drive cd: T/cd.iso has another content than at the source"


@pytest_twisted.ensureDeferred
async def test_a_qemu_that_cannot_start_leaves_nothing(host: Host) -> None:
    host.start(f"{LINES['drive']} -rtc base=utc")
    with pytest.raises(NotMigratable, match=r"QEMU has ended at once: qemu-system-x86_64: invalid datetime format"):
        await host.make(settings=("rtc.base=nonsense",))
    assert not host.there.exists()


@pytest_twisted.ensureDeferred
async def test_secrets_are_not_printed_and_are_there(host: Host) -> None:
    """QEMU itself repeats what it cannot use, with the secret in it."""
    secrets = "-object secret,id=s,data=topmost -smbios type=11,value=topmost -fw_cfg name=opt/org.x,string=topmost"
    host.start(f"{LINES['drive']} {secrets}")
    assert "topmost" not in json.dumps((await host.plan()).as_json())
    await host.make()
    (pid,) = (int(path.read_text()) for path in host.there.glob("*.pid"))
    assert Path(f"/proc/{pid}/cmdline").read_bytes().count(b"=topmost") == 3
    await host.maker.remove()
    with pytest.raises(NotMigratable, match="-object secret,id=s,data=HIDDEN,format=nonsense: "):
        await host.make(settings=("object.s.format=nonsense",))


@pytest_twisted.ensureDeferred
async def test_a_drive_over_the_network(host: Host) -> None:
    """QEMU tells its address in another form than the command line has it."""
    there, socket = host.here.parent / "far.raw", host.here / "nbd.sock"
    with Process(["qemu-nbd", "-t", "-k", socket, "-x", "x", "-f", "raw", host.here / "b.raw"], host.here.parent / "nbd.log") as server:
        wait(socket.exists, 10, "qemu-nbd", server)
        source = host.start("-drive file=nbd:unix:D/nbd.sock:exportname=x,if=virtio,format=raw")
        (failure,) = (await host.plan()).findings
        assert "it is reached over the network, and its copy needs a file; name one: --disk virtio0=PATH" in str(failure)
        qmp = await host.make(f"virtio0={there},format=raw")
        await host.move()
        await deferToThread(source.wait_exit, 20)
        qmp("quit")
    await deferToThread(wait, lambda: not Path(f"{host.there}/qemu.pid").exists(), 10, "the destination's end")
    image("compare", host.here / "b.raw", there)


@pytest_twisted.ensureDeferred
async def test_a_device_that_was_plugged_in(host: Host) -> None:
    host.start(LINES["drive"].replace("q35", "pc"))
    Qmp(host.qmp)("device_add", driver="virtio-rng-pci", id="late")
    with pytest.raises(NbdtunError, match="-device late: it was plugged in since QEMU's start"):
        await host.make()


@pytest_twisted.ensureDeferred
async def test_a_tpm_whose_emulator_is_not_there(host: Host) -> None:
    """The source's has a server; the destination's needs one of its own."""
    server = host.here / "tpm.sock"
    line = f"{LINES['drive']} -chardev socket,id=tpm,path={server}"
    with Process(["nbdkit", "-f", "-U", server, "memory", "1M"], host.here.parent / "tpm.log") as process:
        wait(server.exists, 10, "a server", process)
        host.start(line)
        with pytest.raises(NotMigratable, match=f"-chardev tpm: {host.there}/tpm.sock has no server"):
            await host.make()


OVMF = Path("/usr/share/OVMF")


def swtpm(directory: Path, state: Path) -> Process:
    """A TPM 2.0 in software, at the socket ``tpm.sock`` in a directory."""
    state.mkdir()
    words = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--ctrl", f"type=unixio,path={directory}/tpm.sock"]
    return Process(words, Path(f"{state}.log"))


@pytest.mark.slow
@pytest.mark.skipif(not (OVMF.is_dir() and shutil.which("swtpm")), reason="ovmf and swtpm are not installed")
@pytest_twisted.ensureDeferred
async def test_real_firmware_with_its_variables_and_a_tpm(either: Host) -> None:
    """
    The firmware writes its variables when it boots. They travel as memory; QEMU writes them to their file as soon as the guest runs there
    (hw/block/pflash_cfi01.c, postload_update_cb). The TPM's state travels with QEMU's own.
    """
    code = next(path for name in ("OVMF_CODE_4M.fd", "OVMF_CODE.fd") if (path := OVMF / name).exists())
    shutil.copy(OVMF / code.name.replace("CODE", "VARS"), either.here / "vars.fd")
    fresh = (either.here / "vars.fd").read_bytes()
    line = f"""
        -machine q35 -drive if=pflash,unit=0,format=raw,readonly=on,file={code} -drive if=pflash,unit=1,format=raw,file=D/vars.fd
        -drive if=virtio,file=D/a.qcow2,format=qcow2 -chardev socket,id=tpm,path=D/tpm.sock
        -tpmdev emulator,id=tpm0,chardev=tpm -device tpm-tis,tpmdev=tpm0
    """
    either.there.mkdir()
    with swtpm(either.here, either.here.parent / "tpm"), swtpm(either.there, either.here.parent / "far-tpm"):
        wait(lambda: all((at / "tpm.sock").exists() for at in (either.here, either.there)), 10, "swtpm")
        source = either.start(line)
        await deferToThread(wait, lambda: (either.here / "vars.fd").read_bytes() != fresh, 60, "the firmware's variables", source)
        planned = await either.plan()
        assert [str(finding) for finding in planned.findings if finding.level.value == "failure"] == []
        Qmp(either.here / "lab.qmp")("stop")
        qmp = await either.make()
        await either.move()
        await deferToThread(source.wait_exit, 20)
        assert qmp("query-tpm")[0]["model"] == "tpm-tis"
        qmp("cont")
        qmp("stop")
        assert (either.there / "vars.fd").read_bytes() == (either.here / "vars.fd").read_bytes()
        qmp("quit")
    await deferToThread(wait, lambda: not (either.there / "qemu.pid").exists(), 10, "the destination's end")
    assert either.faults(planned) == []


def test_the_command(host: Host) -> None:
    host.start(LINES["drive"])
    words = [f"{BIN}/nbdtun", "plan", "web1", "--qmp", f"{host.qmp}", "--map", f"{host.here}={host.there}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"make   qcow2 image {host.there}/a.qcow2 for virtio0: 24 MiB, compat=1.1, cluster_size=32768" in done.stdout
    assert done.stdout.endswith("    -S \\\n    -incoming defer\n")
    told = json.loads(subprocess.run([*words, "--json"], capture_output=True, check=True, timeout=60).stdout)
    assert (told["fit"], told["findings"], told["arguments"][-3:]) == (True, [], ["-S", "-incoming", "defer"])
    assert told["directories"] == [f"{host.there}"]
    done = subprocess.run(words[:-2], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "failure  place" in done.stdout
    assert not host.there.exists()
    assert [name for name in files(host.here) if "nbdtun" in name] == []


@pytest.mark.slow
@pytest.mark.parametrize("build", ["native_qemu", "recent_qemu"])
def test_the_table_of_options_is_qemus_own(request: pytest.FixtureRequest, build: str) -> None:
    """QEMU looks at each word of its line before it does anything, even before ``-version``."""
    one: Build = request.getfixturevalue(build)

    def says(name: str) -> str:
        done = subprocess.run([one.binary, "-version", f"-{name}"], capture_output=True, text=True, env=one.env(), timeout=20)
        return "none" if "invalid option" in done.stderr else "value" if "requires an argument" in done.stderr else "flag"

    known = dict.fromkeys(FLAGS, "flag") | dict.fromkeys(TEXTS | KEYED.keys(), "value") | {"M": "value", "h": "flag"}
    assert known.keys() >= SYNONYMS.keys()
    wrong = {name: told for name, kind in known.items() if (told := says(name)) not in (kind, "none")}
    assert wrong == {}
    listed = subprocess.run([one.binary, "-help"], capture_output=True, text=True, env=one.env(), check=True).stdout
    named = {word.lstrip("-") for line in listed.splitlines() if line.startswith("-") for word in line.split()[0].split("/")}
    assert named - known.keys() == set()
