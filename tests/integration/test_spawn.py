"""
Destinations that are planned from a running QEMU, made, and moved to, with real QEMUs: command lines as people write them.

Both hosts are this one, so each plan maps the source's directory to another. The guests have no system: their disks have a known content.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from lab.daemon import BIN
from lab.process import Process, wait
from lab.qemu import Build
from lab.qmp import Qmp
from nbdtun.errors import NbdtunError, NotMigratable
from nbdtun.spawn.command.options import FLAGS, KEYED, SYNONYMS, TEXTS
from tests.integration.host import KIB, MIB, Host, files, image, write
from tests.integration.lines import LINES

QUICK = ("blockdev", "luns")


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
