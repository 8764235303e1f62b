"""A host's libvirt that says what it was told to, for corners that no libvirtd here has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from attrs import define, field

from nbdtun.errors import LibvirtError
from nbdtun.libvirt.far.admission import Rules
from nbdtun.libvirt.far.look import Scene
from nbdtun.libvirt.host import Abilities, Capabilities, Domain, Host
from nbdtun.libvirt.pools import Pool, Pools
from tests.libvirt.stage import UUID

XML = """
<domain type='kvm'>
  <name>web1</name><uuid>{uuid}</uuid>
  <os{os}><type arch='x86_64' machine='pc-q35-7.2'>hvm</type>{firmware}</os>
  {cpu}
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{devices}</devices>{end}
</domain>"""


def xml(*, uuid: str = UUID, os: str = "", firmware: str = "", cpu: str = "", devices: str = "", end: str = "") -> str:
    return XML.format(uuid=uuid, os=os, firmware=firmware, cpu=cpu, devices=devices, end=end)


@define
class Told:
    """What is said of one host."""

    uuid: str = "host-1"
    name: str = "there"
    owner: tuple[int, int] | None = None
    kinds: frozenset[str] = frozenset({"kvm", "qemu"})
    firmware: frozenset[str] = frozenset({"efi"})
    tpms: frozenset[str] = frozenset({"emulator"})
    lack: str = ""
    machines: frozenset[str] = frozenset({"pc-q35-7.2"})
    domains: list[Domain] = field(factory=list)
    networks: dict[str, bool] = field(factory=dict)
    users: dict[str, frozenset[str]] = field(factory=dict)
    pools: list[Pool] = field(factory=list)
    paths: dict[str, str] = field(factory=dict)
    ended: list[str] = field(factory=list)

    def versions(self) -> tuple[int, int]:
        return 9_000_000, 7_002_000

    def capabilities(self) -> Capabilities:
        return Capabilities(self.uuid, self.name, self.owner, {"x86_64": self.kinds})

    def abilities(self, emulator: str | None, arch: str, machine: str | None, kind: str | None) -> Abilities:
        if machine not in (None, *self.machines):
            raise LibvirtError(f"no machine {machine}")
        return Abilities(machine or "pc", self.firmware, self.tpms)

    def lack_of_cpu(self, *_: Any) -> str:
        return self.lack

    def domain(self, uuid: str) -> Domain | None:
        return next((each for each in self.domains if each.uuid == uuid), None)

    def namesake(self, name: str) -> Domain | None:
        return next((each for each in self.domains if each.name == name), None)

    def network(self, name: str) -> bool | None:
        return self.networks.get(name)

    def has_secret(self, uuid: str, usage: tuple[int, str] | None = None) -> bool:
        return False

    def disks(self) -> dict[str, frozenset[str]]:
        return self.users

    def every(self) -> Iterator[Pool]:
        return iter(self.pools)

    def at(self, directory: str) -> Pool | None:
        return next((pool for pool in self.pools if pool.path == directory), None)

    def named(self, name: str) -> Pool | None:
        return next((pool for pool in self.pools if pool.name == name), None)

    def path_of(self, pool: Pool, name: str) -> str:
        return self.paths.get(name, "")


def scene(told: Told, ours: frozenset[str] = frozenset(), rules: Rules | None = None) -> Scene:
    return Scene(cast("Host", told), cast("Pools", told), rules or Rules(anywhere=True), ours)
