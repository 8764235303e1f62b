"""
All that is found at the far end of a domain that is to arrive, by asking the libvirt of this host. Nothing is changed. All calls block.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

from nbdtun.errors import LibvirtError, NbdtunError, NotAllowed, NotMigratable
from nbdtun.libvirt.far import volumes
from nbdtun.libvirt.far.admission import Rules
from nbdtun.libvirt.far.needs import Needs, read
from nbdtun.libvirt.far.volumes import Place, place_of
from nbdtun.libvirt.findings import FORBIDDEN, PASSED_THROUGH, PROCESSOR, THERE, UNANSWERED
from nbdtun.libvirt.host import Abilities, Capabilities, Domain, Host
from nbdtun.libvirt.pools import Pool, Pools
from nbdtun.libvirt.values import Found, Image, Wanted
from nbdtun.migration.capacity import Space, space_at, summed
from nbdtun.migration.catalogue import LACKING, OCCUPIED, SPACE, UNLIKE
from nbdtun.migration.finding import Finding
from nbdtun.spawn.far.host import has_interface, own_name, standing, user_id
from nbdtun.spawn.values import Network
from nbdtun.units import size_text

_MAP: Final = "or name another one with --map"
_NO_KVM: Final = "it has no KVM, or this user may not use it", "load its module there: modprobe kvm_intel, or kvm_amd; see /dev/kvm"
_LINKS: Final = Path("/sys/class/net")


@frozen
class Scene:
    """This host: what its libvirt says, and what is admitted; ``ours`` are images that an earlier attempt has left, and that will go."""

    host: Host
    pools: Pools
    rules: Rules
    ours: frozenset[str] = frozenset()


def look(scene: Scene, wanted: Wanted) -> Found:
    """
    Look at all that a domain needs.

    :raise LibvirtError: libvirt cannot be asked at all.
    """
    libvirt, hypervisor = scene.host.versions()
    host = scene.host.capabilities()
    findings: list[Finding] = list(_same_host(wanted, host))
    needs: Needs | None = None
    try:
        needs = read(wanted.xml, frozenset(image.target for image in wanted.images))
        if (needs.name, needs.uuid) != (wanted.name, wanted.uuid):
            raise NotAllowed(f"the XML is that of {needs.name}, {needs.uuid}, and not of {wanted.name}, {wanted.uuid}")
    except NbdtunError as error:
        findings.append(FORBIDDEN.of(error))
    else:
        for part in (
            _admission(scene, wanted, needs, host),
            _domain(scene, wanted),
            _user(host),
            _machine(scene, needs, host),
            _host(scene, needs),
            _firmware(scene, wanted, needs),
        ):
            findings += _collected(part)
    made: list[tuple[Image, Place]] = []
    findings += _collected(_images(scene, wanted, {} if needs is None else needs.keys, made))
    return Found(tuple(findings), libvirt, hypervisor, _spaces(made))


def _collected(part: Iterable[Finding]) -> Iterator[Finding]:
    """One part's findings; what it cannot ask ends that part only."""
    try:
        yield from part
    except LibvirtError as error:
        yield UNANSWERED.of(error)
    except (NotMigratable, OSError) as error:
        yield LACKING(f"{error}", "")


def _admission(scene: Scene, wanted: Wanted, needs: Needs, host: Capabilities) -> Iterator[Finding]:
    paths = [path for path in (needs.nvram, *(image.path for image in wanted.images if not image.pool)) if path]
    pools = [pool.path for pool in scene.pools.every() if pool.path]
    told: list[Finding] = []
    try:
        for xml in wanted.forms:
            told += scene.rules.judge(xml, paths, pools, host.owner)
    except NotMigratable as error:  # whoever asks
        told.append(FORBIDDEN.of(error))
    yield from dict.fromkeys(told)


def _same_host(wanted: Wanted, host: Capabilities) -> Iterator[Finding]:
    """libvirt refuses it (qemuMigrationCookieXMLParse): by the UUID, or by the name."""
    if wanted.host and wanted.host == host.uuid:
        yield THERE(
            f"both hosts have the UUID {host.uuid}, so that libvirt takes them for one", "set host_uuid in /etc/libvirt/libvirtd.conf"
        )
    elif wanted.hostname and wanted.hostname == host.name:
        yield THERE(f"both hosts are called {host.name}, so that libvirt takes them for one", "give them different names: hostnamectl")


def _domain(scene: Scene, wanted: Wanted) -> Iterator[Finding]:
    found = scene.host.domain(wanted.uuid)
    if found is None:
        other = scene.host.namesake(wanted.name)
        if other is not None:
            what = f"the destination has another domain called {wanted.name}, with the UUID {other.uuid}"
            yield THERE(what, "rename one of them: virsh domrename")
    elif found.name != wanted.name:
        yield THERE(f"the destination has this domain under the name {found.name}", "undefine it there, or rename it: virsh domrename")
    elif found.active and not (found.arrives and scene.ours):
        yield THERE(f"{wanted.name} is {_state(found)} at the destination already", "use --resolve if one of them was left by a migration")


def _state(found: Domain) -> str:
    return "waiting there for another migration, and" if found.arrives else found.state


def _user(host: Capabilities) -> Iterator[Finding]:
    """QEMU's sockets are reached by its own user, and by root."""
    if os.geteuid() not in (0, *(host.owner or ())[:1]) and host.owner is not None:
        what = f"nbdtun there runs as {own_name()}, who cannot use the sockets of libvirt's QEMUs (user {host.owner[0]})"
        yield UNANSWERED(what, "run it as root; or use qemu:///session at both ends")


def _machine(scene: Scene, needs: Needs, host: Capabilities) -> Iterator[Finding]:
    kinds = host.kinds.get(needs.arch)
    if kinds is None:
        yield LACKING(f"libvirt there has no QEMU for {needs.arch}", "install it there")
        return
    kind = needs.kind if needs.kind in kinds else None
    if kind is None:
        why, remedy = _NO_KVM if needs.kind == "kvm" else ("its libvirt does not offer them", "choose a host that has them")
        yield LACKING(f"the destination runs no domains of type {needs.kind} for {needs.arch}: {why}", remedy)
    machine: str | None = needs.machine
    able = _able(scene, needs, machine, kind)
    if isinstance(able, LibvirtError):
        yield LACKING(able.what, "install a QEMU there that has it, or name that one's path with --map")
        machine, able = None, _able(scene, needs, None, kind)  # what else is missing is said all the same
    if isinstance(able, LibvirtError):
        return  # there is no such emulator at all
    if needs.automatic and not needs.loader and "efi" not in able.firmware:
        yield LACKING("libvirt there finds no UEFI firmware for the domain", "install it there: ovmf")
    for tpm in needs.tpms:
        if tpm not in able.tpms:
            yield LACKING(
                f"libvirt there has no TPM of the kind {tpm}", "install swtpm there" if tpm == "emulator" else "choose a host that has it"
            )
    if kind is not None:
        yield from _processor(scene, needs, machine)


def _able(scene: Scene, needs: Needs, machine: str | None, kind: str | None) -> Abilities | LibvirtError:
    """What the emulator can do with a machine for a kind of domains, None: libvirt's own choice; or why that cannot be said."""
    try:
        return scene.host.abilities(needs.emulator, needs.arch, machine, kind)
    except LibvirtError as error:
        return error


def _processor(scene: Scene, needs: Needs, machine: str | None) -> Iterator[Finding]:
    if needs.mode == "host-passthrough":
        yield PASSED_THROUGH("the guest has its host's own CPU (host-passthrough), which cannot be compared")
    elif needs.cpu and needs.mode != "maximum":
        why = scene.host.lack_of_cpu(needs.emulator, needs.arch, machine, needs.kind, needs.cpu)
        if why:
            yield PROCESSOR(f"the guest's CPU: {why}")


def _host(scene: Scene, needs: Needs) -> Iterator[Finding]:
    for name in needs.networks:
        active = scene.host.network(name)
        if active is None:
            yield LACKING(f"there is no network {name}", f"define it there: virsh net-define; {_MAP}")
        elif not active:
            yield LACKING(f"the network {name} is not active", f"start it there: virsh net-start {name}")
    for name in needs.bridges:
        if not has_interface(name, Network.BRIDGE):
            yield LACKING(f"there is no bridge {name}", f"make it there: ip link add {name} type bridge; {_MAP}")
    for name in (*needs.switches, *needs.links):
        if "/" in name or not (_LINKS / name).exists():
            yield LACKING(f"there is no network interface {name}", f"make it there, {_MAP}")
    for secret in needs.secrets:
        if not scene.host.has_secret(secret.uuid, secret.usage):
            which = secret.uuid or (secret.usage or (0, ""))[1]
            yield LACKING(f"{secret.where}: libvirt there has no secret {which}", "define it there, with its value: virsh secret-define")
    for path, where in needs.files:
        if not os.path.exists(path):
            yield LACKING(f"{where}: {path} is not there", f"copy it there, {_MAP}")


def _firmware(scene: Scene, wanted: Wanted, needs: Needs) -> Iterator[Finding]:
    for path, where in ((needs.loader, "the firmware"), ("" if os.path.exists(needs.nvram) else needs.template, "the NVRAM's template")):
        if path and not os.path.exists(path):
            yield LACKING(f"{where}: {path} is not there", f"install it there: ovmf; {_MAP}")
    if not needs.nvram or needs.nvram in scene.ours or not os.path.exists(needs.nvram):
        return
    size = os.path.getsize(needs.nvram)
    if wanted.nvram and size != wanted.nvram:
        yield OCCUPIED(f"the NVRAM: {needs.nvram} has {size} bytes there, and {wanted.nvram} at the source", "remove it there")
    elif not wanted.overwrite:
        yield OCCUPIED(f"the NVRAM: {needs.nvram} is there already", "give its content up with --overwrite, or remove it there")


def _images(scene: Scene, wanted: Wanted, keys: Mapping[str, str], made: list[tuple[Image, Place]]) -> Iterator[Finding]:
    """Judge the images; those that will be ``made`` are added to that list."""
    seen: dict[str, str] = {}
    users = _once(scene.host.disks)
    for image in wanted.images:
        place = place_of(image, scene.pools, keys)
        if isinstance(place, Finding):
            yield place
            continue
        real = os.path.realpath(place.path)
        if real in seen:
            yield OCCUPIED(f"disk {image.target}: {place.path} is disk {seen[real]}'s already", "name another place with --map")
        seen[real] = image.target
        owners = sorted(users().get(real, frozenset()) - {wanted.uuid})
        if owners:
            yield OCCUPIED(f"disk {image.target}: {place.path} belongs to the domain {owners[0]} there", "name another place with --map")
        elif place.path not in scene.ours:
            yield from volumes.judge(image, place, wanted.overwrite)
        if place.path in scene.ours or not os.path.lexists(place.path):
            made.append((image, place))
    yield from _lacking(_spaces(made))
    yield from _owners(wanted.images)


def _once(ask: Callable[[], dict[str, frozenset[str]]]) -> Callable[[], dict[str, frozenset[str]]]:
    told: list[dict[str, frozenset[str]]] = []

    def answer() -> dict[str, frozenset[str]]:
        if not told:
            told.append(ask())
        return told[0]

    return answer


def _spaces(made: Iterable[tuple[Image, Place]]) -> tuple[Space, ...]:
    """What the images take at the source will be taken here, of a file system or of a pool."""
    return summed(_space(image, place) for image, place in made)


def _space(image: Image, place: Place) -> Space:
    pool: Pool | None = place.pool
    if pool is not None and not pool.has_files:
        return Space(f"pool {pool.name}", f"the storage pool {pool.name}", image.capacity, pool.available)
    return space_at(standing(place.path), min(image.allocation, image.capacity))


def _lacking(needed: Iterable[Space]) -> Iterator[Finding]:
    for space in needed:
        if space.lacks:
            what = f"{space.place}: the disks need {size_text(space.needed)}, and {size_text(space.free)} are free"
            yield SPACE(what, "make room there, or use --map")


def _owners(images: Iterable[Image]) -> Iterator[Finding]:
    for owner in sorted({image.owner for image in images if image.owner and os.geteuid() == 0}):
        if user_id(owner) is None:
            yield UNLIKE(f"there is no user {owner}, who owns images at the source; they will be root's", "add that user there before")
