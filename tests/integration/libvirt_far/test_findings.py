"""What the far end says of a domain that cannot be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_twisted

from lab.libvirt import Guarded, Host
from nbdtun.errors import NbdtunError, NotAllowed, NotMigratable
from nbdtun.libvirt.far.admission import Rules
from nbdtun.libvirt.values import Wanted
from tests.integration.libvirt_far.stage import (
    EMULATOR,
    NOBODY,
    UUID,
    Scene,
    begin,
    domain,
    file_of,
    image_of,
    make,
    texts,
    wanted_of,
)


@pytest_twisted.ensureDeferred
async def test_all_that_is_missing_is_said_at_once(scene: Scene) -> None:
    more = f"""
        <interface type='network'><source network='blue'/></interface>
        <interface type='bridge'><source bridge='br-nowhere'/></interface>
        <disk type='file' device='cdrom'><source file='{scene.directory}/nowhere.iso'/><target dev='sda' bus='sata'/><readonly/></disk>
        <hostdev mode='subsystem' type='usb'><source><vendor id='0x1'/><product id='0x2'/></source></hostdev>
        <tpm model='tpm-tis'><backend type='nonsense'/></tpm>
        <disk type='volume'><source pool='gold' volume='v'/><target dev='vdb'/>
          <encryption format='luks'><secret type='passphrase' uuid='22222222-2222-2222-2222-222222222222'/></encryption></disk>"""
    xml = domain(scene.pool / "a.raw", more=more, cpu="Skylake-Server", machine="pc-q35-99.0")
    xml = xml.replace("</os>", "<loader type='pflash'>/usr/share/no.fd</loader></os>")
    images = (image_of(scene.pool / "a.raw"), image_of(Path("x.raw"), "vdb", pool="gold", volume="v"))
    found = (await scene.arrivals().look(Wanted("web1", UUID, xml, images))).findings
    said = [f"{finding}" for finding in found]
    assert [line.split(";")[0] for line in said if "CPU" not in line] == [
        "the domain's XML has <hostdev>, a device of its host",
        f"invalid argument: the machine 'pc-q35-99.0' is not supported by emulator '{EMULATOR}'",
        "libvirt there has no TPM of the kind nonsense",
        "there is no network blue",
        "there is no bridge br-nowhere",
        "disk vdb: libvirt there has no secret 22222222-2222-2222-2222-222222222222",
        f"disk sda: {scene.directory}/nowhere.iso is not there",
        "the firmware: /usr/share/no.fd is not there",
        "disk vdb: there is no storage pool gold",
    ]
    (cpu,) = [line for line in said if "CPU" in line]
    assert "the CPU is incompatible with host CPU: Host CPU does not provide required features: " in cpu
    assert all(finding.remedy for finding in found)


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        (domain(machine="pc-q35-99.0"), "the machine 'pc-q35-99.0' is not supported by emulator"),
        (domain().replace(f"{EMULATOR}", "/usr/bin/qemu-nowhere"), "Cannot check QEMU binary /usr/bin/qemu-nowhere: No such file"),
        (domain().replace("arch='x86_64'", "arch='s390x'"), "libvirt there has no QEMU for s390x"),
        (domain(cpu="Nonsense"), "Unknown CPU model Nonsense"),
        (domain(name="web2"), "the XML is that of web2"),
        (domain(more="<hostdev mode='subsystem' type='usb'/>"), "a device of its host"),
        (domain(more="<tpm model='tpm-tis'><backend type='nonsense'/></tpm>"), "libvirt there has no TPM of the kind nonsense"),
        (
            domain().replace(
                "</os>", "<loader type='pflash'>/usr/share/no.fd</loader><nvram template='/usr/share/t.fd'>/data/n</nvram></os>"
            ),
            "the firmware: /usr/share/no.fd is not there|the NVRAM's template: /usr/share/t.fd is not there|/data/n is in no storage pool",
        ),
        ("<domain", "malformed"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_domain_that_cannot_be_here(scene: Scene, xml: str, says: str) -> None:
    found = await texts(scene.arrivals(), Wanted("web1", UUID, xml))
    for words in says.split("|"):
        assert any(words in line for line in found), found
    with pytest.raises(NbdtunError):
        await begin(scene.arrivals(), Wanted("web1", UUID, xml))
    assert not (scene.directory / "state").exists()


@pytest_twisted.ensureDeferred
async def test_a_place_that_is_not_admitted(scene: Scene) -> None:
    wanted = wanted_of(image_of(Path("/etc/cron.d/evil.raw")))
    with pytest.raises(NotAllowed, match=r"/etc/cron.d/evil.raw is in no storage pool there"):
        await begin(scene.arrivals(), wanted)
    assert await texts(scene.arrivals(Rules(anywhere=True)), wanted) == []
    assert await texts(scene.arrivals(Rules()), wanted_of(image_of(scene.pool / "a.raw"))) == []


@pytest_twisted.ensureDeferred
async def test_a_domain_that_is_there_already(scene: Scene) -> None:
    arrivals, path = scene.arrivals(), make(scene.directory / "old.raw")
    wanted = wanted_of(image_of(scene.pool / "a.raw"))
    scene.host.virsh("create", file_of(scene, domain(path)))
    assert await texts(arrivals, wanted) == ["failure: web1 is running at the destination already"]
    with pytest.raises(NotMigratable, match="web1 is running at the destination already"):
        await begin(arrivals, wanted)
    scene.host.virsh("destroy", "web1")
    scene.host.virsh("create", file_of(scene, domain(path, uuid="99999999-2222-3333-4444-555555555555")))
    (line,) = await texts(arrivals, wanted)
    assert "another domain called web1, with the UUID 99999999-2222" in line
    assert scene.volumes() == []


PROGRAM = """
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from nbdtun.libvirt.connection import Libvirt
def end(result): print(getattr(result, "value", result)); reactor.stop()
reactor.callWhenRunning(lambda: Deferred.fromCoroutine(Libvirt(reactor, "{uri}").open()).addBoth(end))
reactor.run()
"""


def opened_by_nobody(host: Host) -> list[str]:
    """The lines that an ordinary user reads who opens a connection at a host."""
    command = [*host.enter, "setpriv", "--reuid", NOBODY, "--clear-groups", sys.executable, "-c", PROGRAM.format(uri="qemu:///system")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"], "HOME": "/"})
    return [*done.stdout.splitlines(), *done.stderr.splitlines()]


def test_a_user_whom_libvirt_does_not_admit_reads_why(scene: Scene) -> None:
    (line,) = opened_by_nobody(scene.host)
    assert "Permission denied; run nbdtun as root, or as a user of the group libvirt" in line


@pytest.mark.slow
@pytest.mark.skipif(not Path("/usr/lib/polkit-1/polkitd").exists(), reason="polkitd is not installed")
def test_a_user_whom_polkit_would_have_to_ask_reads_that(directory: Path) -> None:
    directory.chmod(0o755)
    with Guarded(directory, "guarded") as guarded:
        (line,) = opened_by_nobody(guarded)
    agent = "no polkit agent available to authenticate action 'org.libvirt.unix.manage'"
    assert f"authentication unavailable: {agent}; run nbdtun as root, or as a user of the group libvirt" in line
