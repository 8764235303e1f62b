"""Two real libvirtds whose connection goes through the gate and the keepalives of both ends, on plain sockets in the place of a tunnel."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Protocol
from twisted.internet.threads import deferToThread

from lab import libvirt
from lab.disks import MIB, Disk
from lab.domain import Domain
from lab.guest import Guest
from lab.libvirt import Host
from nbdtun.libvirt.rpc.gate import Gate
from nbdtun.libvirt.rpc.grant import Grant
from nbdtun.libvirt.rpc.places import places
from nbdtun.libvirt.rpc.proxy import Proxy
from nbdtun.process import adopt, quiet_factory
from nbdtun.tunnel.opening.detach import Catch

#: A libvirtd with this gives a silent connection up after 4 s; by default after 30 s.
HASTY = "keepalive_interval = 1\nkeepalive_count = 3\n"

#: Devices for which libvirt makes up names of its own, at each start.
MORE = """
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <serial type='pty'><target port='1'/></serial>
    <interface type='user'><model type='virtio'/></interface>
    <graphics type='vnc' autoport='yes' listen='127.0.0.1'/>
    <video><model type='vga'/></video>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
"""


class Half(Protocol):
    """One end of the cable between the proxies."""

    transport: Any
    other: Half

    def dataReceived(self, data: bytes) -> None:
        self.other.transport.write(data)

    def connectionLost(self, reason: object = None) -> None:
        self.other.transport.loseConnection()


def cable() -> tuple[list[Half], list[socket.socket]]:
    """The two ends of a cable, and the sockets that are plugged into them."""
    halves, plugs = [Half(), Half()], []
    halves[0].other, halves[1].other = halves[1], halves[0]
    for half in halves:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.setblocking(False)
            adopt(reactor, theirs, quiet_factory(partial(_same, half)))
        plugs.append(ours)
    return halves, plugs


def _same(half: Half) -> Half:
    return half


class Lane:
    """What libvirt's connection goes through, at both ends: a socket at the source that leads to the destination's libvirtd."""

    def __init__(self, path: Path, there: Host, grant: Grant) -> None:
        self.path, self._there, self._grant = path, there, grant
        self.away = False
        self.admits_it = True
        self.refused: list[str] = []
        self._proxies: list[Proxy] = []
        self._halves: list[Half] = []
        listening: Any = reactor
        self._port: IListeningPort = listening.listenUNIX(f"{path}", quiet_factory(lambda: Catch(self._accept)))

    def _accept(self, near: socket.socket) -> None:
        far = socket.socket(socket.AF_UNIX)
        far.connect(f"{self._there.socket}")
        halves, plugs = cable()
        self._halves += halves
        self._proxies.append(Proxy(reactor, near, plugs[0], away=self._is_away))
        self._proxies.append(Proxy(reactor, far, plugs[1], away=self._is_away, gate=Gate(self._grant), refused=self.refused.append))

    def _is_away(self) -> bool:
        return self.away and self.admits_it

    def pull(self) -> None:
        self.away = True
        for half in self._halves:
            half.transport.pauseProducing()

    def plug(self) -> None:
        self.away = False
        for half in self._halves:
            half.transport.resumeProducing()

    async def close(self) -> None:
        if (stopping := self._port.stopListening()) is not None:
            await stopping
        for proxy in self._proxies:
            proxy.close()
            await proxy.closed


@pytest.fixture(scope="module", autouse=True)
def _libvirt() -> None:
    if reason := libvirt.unable():
        pytest.skip(reason)


@pytest.fixture
def hosts(directory: Path) -> Iterator[tuple[Host, Host]]:
    directory.chmod(0o755)
    with ExitStack() as stack:
        here, there = (stack.enter_context(Host(directory, name, keepalive=HASTY)) for name in ("here", "there"))
        yield here, there


@pytest.fixture
def domain(hosts: tuple[Host, Host], guest: Guest) -> Domain:
    here, there = hosts
    disk = Disk(here.spare / "vda.raw", 64 * MIB).make()
    disk.twin(there.spare / "vda.raw").make_empty()
    domain = Domain(guest, (disk,))
    definition = here.spare / "web1.xml"
    definition.write_text(domain.xml().replace("</devices>", f"{MORE}</devices>"))
    here.virsh("define", f"{definition}")
    here.virsh("start", "--paused", domain.name)  # it need not boot: tests/integration/test_libvirt.py has the ticks
    return domain


@pytest_twisted.async_yield_fixture
async def lane(hosts: tuple[Host, Host], domain: Domain, directory: Path) -> AsyncIterator[Lane]:
    here, there = hosts
    xml = here.virsh("dumpxml", "--migratable", domain.name)
    grant = Grant(
        name=domain.name,
        uuid=UUID(here.virsh("domuuid", domain.name)),
        uri="qemu:///system",
        memory=f"unix://{directory}/memory.sock",
        disks=f"unix://{directory}/disks.sock",
        places=places(xml) | places(here.virsh("dumpxml", "--inactive", domain.name)),
    )
    lane = Lane(directory / "libvirt.sock", there, grant)
    yield lane
    await lane.close()


def migrate(here: Host, lane: Lane, domain: Domain, directory: Path, *options: str) -> Deferred[str]:
    uris = ["--migrateuri", f"unix://{directory}/memory.sock", "--disks-uri", f"unix://{directory}/disks.sock"]
    flags = ["--live", "--p2p", "--copy-storage-all", "--persistent", "--undefinesource", *options]
    to = f"qemu+unix:///system?socket={lane.path}"
    return deferToThread(here.virsh, "migrate", *flags, *uris, domain.name, to, timeout=120)


def pause(seconds: float) -> Deferred[None]:
    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done


async def under_way(there: Host) -> None:
    """Wait until the destination's libvirtd has prepared it."""
    while "paused" not in await deferToThread(there.virsh, "list"):
        await pause(0.2)


@pytest_twisted.ensureDeferred
async def test_a_migration_passes_and_the_link_may_be_away(hosts: tuple[Host, Host], lane: Lane, domain: Domain, directory: Path) -> None:
    here, there = hosts
    migration = migrate(here, lane, domain, directory, "--bandwidth", "8")
    await under_way(there)
    lane.pull()
    await pause(7)
    lane.plug()
    await migration
    assert lane.refused == []
    assert await deferToThread(here.virsh, "list", "--all") == ""
    assert "web1" in await deferToThread(there.virsh, "list", "--all", "--persistent")


@pytest_twisted.ensureDeferred
async def test_without_our_answers_libvirt_gives_up(hosts: tuple[Host, Host], lane: Lane, domain: Domain, directory: Path) -> None:
    """So the other test can fail."""
    here, there = hosts
    lane.admits_it = False
    migration = migrate(here, lane, domain, directory, "--bandwidth", "8")
    await under_way(there)
    lane.pull()
    with pytest.raises(RuntimeError, match=r"client socket is closed|Lost connection to destination|keepalive timeout"):
        await migration


@pytest_twisted.ensureDeferred
async def test_a_migration_that_is_cancelled_leaves_nothing(hosts: tuple[Host, Host], lane: Lane, domain: Domain, directory: Path) -> None:
    here, there = hosts
    migration = migrate(here, lane, domain, directory, "--bandwidth", "8")
    await under_way(there)
    await deferToThread(here.virsh, "domjobabort", domain.name)
    with pytest.raises(RuntimeError, match="cancel"):
        await migration
    assert lane.refused == []
    assert "paused" in await deferToThread(here.virsh, "list")
    assert await deferToThread(there.virsh, "list", "--all") == ""


@pytest_twisted.ensureDeferred
async def test_nothing_else_passes(hosts: tuple[Host, Host], lane: Lane, domain: Domain) -> None:
    here, there = hosts
    definition = f"{here.spare / 'web1.xml'}"
    line = "nbdtun: this connection is for the migration of web1 only"
    for words in (["define", definition], ["create", definition], ["vol-delete", "/etc/shadow"], ["list"], ["pool-list"], ["nodeinfo"]):
        with pytest.raises(RuntimeError, match=line):
            await deferToThread(there.virsh, *words, uri=f"qemu+unix:///system?socket={lane.path}")
    before = len(lane.refused)
    with pytest.raises(RuntimeError):  # virsh has a line of its own for all that goes wrong when it looks for a domain
        await deferToThread(there.virsh, "destroy", domain.name, uri=f"qemu+unix:///system?socket={lane.path}")
    assert len(lane.refused) > before
    assert all("libvirt's procedure" in refused for refused in lane.refused)
    with pytest.raises(RuntimeError, match=r"nbdtun: this connection is for qemu:///system only"):
        await deferToThread(there.virsh, "list", uri=f"test+unix:///default?socket={lane.path}")
    assert await deferToThread(there.virsh, "list", "--all") == ""


@pytest_twisted.ensureDeferred
async def test_another_disk_than_agreed_is_refused_to_libvirts_user(
    hosts: tuple[Host, Host], lane: Lane, domain: Domain, directory: Path
) -> None:
    here, there = hosts
    other = directory / "other.xml"
    xml = await deferToThread(here.virsh, "dumpxml", "--migratable", domain.name)
    other.write_text(xml.replace("/var/lib/libvirt/nbdtun/vda.raw", "/etc/shadow"))
    with pytest.raises(RuntimeError, match=r"the domain's XML names /etc/shadow, which was not agreed on"):
        await migrate(here, lane, domain, directory, "--xml", f"{other}")
    assert "paused" in await deferToThread(here.virsh, "list")
    assert await deferToThread(there.virsh, "list", "--all") == ""
