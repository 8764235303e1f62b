"""
The images of a domain's disks at the far end: where each belongs, what is there, and how it is made and removed.

They are volumes of libvirt's: in the storage pool of their directory, or in a transient one. An image that is there already is
examined as a file.
"""

from __future__ import annotations

import os
import stat
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final

from attrs import frozen

from nbdtun.errors import LibvirtError, NotMigratable
from nbdtun.libvirt.far import partitions
from nbdtun.libvirt.far.record import Made
from nbdtun.libvirt.pools import Pool, Pools
from nbdtun.libvirt.values import Image
from nbdtun.migration.catalogue import LACKING, OCCUPIED
from nbdtun.migration.finding import Finding
from nbdtun.ownership.directories import remove_empty
from nbdtun.ownership.images import MadeFile, remove_made
from nbdtun.spawn.content import identity
from nbdtun.spawn.far import images
from nbdtun.spawn.far.host import group_id, missing, user_id
from nbdtun.spawn.values import Image as File
from nbdtun.units import size_text

_ELSEWHERE = "name another place with --map"
#: QEMU before 9.2.1 says this on fast machines ("crypto: fix bogus error benchmarking pbkdf"), now and then; and how often it is tried.
_UNMEASURED: Final = "Unable to get accurate CPU usage"
_TRIALS: Final = 5


@frozen
class Place:
    """
    Where an image belongs: at ``path``, as the volume ``name`` of ``pool``, or of a transient one. ``key`` is the UUID of the secret that
    it is encrypted with, by LUKS.
    """

    path: str
    name: str
    pool: Pool | None = None
    key: str = ""


def place_of(image: Image, pools: Pools, keys: Mapping[str, str] = MappingProxyType({})) -> Place | Finding:
    """Where an image belongs, or why it cannot be there; ``keys`` has the secrets of disks with LUKS, by their targets."""
    if image.pool:
        pool = pools.named(image.pool)
        if pool is None:
            return LACKING(f"disk {image.target}: there is no storage pool {image.pool}", "define it there, or use --map for another one")
        path = (pools.path_of(pool, image.volume) if pool.active else "") or os.path.join(pool.path, image.volume)
        name = image.volume
    else:
        path, name = image.path, os.path.basename(image.path)
        if not os.path.isabs(path) or os.path.normpath(path) != path:
            return LACKING(f"disk {image.target}: {path} is not an absolute path", _ELSEWHERE)
        pool = pools.at(os.path.dirname(path))
    if not name or "/" in name:
        return LACKING(f"disk {image.target}: {name} is no name of a volume", _ELSEWHERE)
    if pool is not None and not pool.active:
        return LACKING(f"disk {image.target}: the storage pool {pool.name} is not active", f"start it there: virsh pool-start {pool.name}")
    return Place(path, name, pool, keys.get(image.target, ""))


def judge(image: Image, place: Place, overwrite: bool) -> Iterator[Finding]:
    """Yield what is in the way of making an image, or of using the one that is there."""
    name = f"disk {image.target}: {place.path}"
    try:
        found = os.stat(place.path)
    except FileNotFoundError:
        if os.path.islink(place.path):
            yield OCCUPIED(f"{name} is a link that leads nowhere", f"remove it, or {_ELSEWHERE}")
        else:
            yield from _judge_missing(image, place, name)
        return
    except OSError as error:
        yield LACKING(f"{name} cannot be looked at: {error.strerror}", "run nbdtun there as root")
        return
    if images.is_same(_file(image, place), found):
        yield OCCUPIED(f"{name} is the source's own image: both hosts see the same one", _ELSEWHERE)
        return
    if images.may_be_same(_file(image, place), found):
        yield OCCUPIED(f"{name} may be the source's own image: no file can be made beside that one, to see", _ELSEWHERE)
        return
    if not (stat.S_ISBLK(found.st_mode) or stat.S_ISREG(found.st_mode)):
        yield OCCUPIED(f"{name} is neither a file nor a block device", _ELSEWHERE)
        return
    yield from _judge_there(image, place, stat.S_ISBLK(found.st_mode), overwrite, name)


def _judge_missing(image: Image, place: Place, name: str) -> Iterator[Finding]:
    if place.pool is None and (image.device or place.path.startswith("/dev/")):
        yield LACKING(f"{name} is not there, and in no storage pool of libvirt's that could make it", "make it, or define a pool for it")
    elif place.pool is not None and not place.pool.can_make:
        kind = f"the storage pool {place.pool.name} is one of type {place.pool.kind}, in which libvirt makes no volumes"
        yield LACKING(f"{name} is not there, and {kind}", "make it there")
    elif place.pool is not None and not place.pool.has_files and image.format != "raw":
        kind = f"libvirt makes no {image.format} in a storage pool of type {place.pool.kind}"
        yield LACKING(f"{name} is not there, and {kind}", f"make it there: virsh vol-create-as, and qemu-img create -f {image.format}")


def _judge_there(image: Image, place: Place, is_device: bool, overwrite: bool, name: str) -> Iterator[Finding]:
    file = _file(image, place)
    if is_device:
        size, kind = images.device_size(place.path), image.format
        told: dict[str, object] = {}
    else:
        told, why = images.inspect(place.path)
        if images.LOCKED.search(why):
            yield OCCUPIED(f"{name} is in use by another QEMU", f"end it, or {_ELSEWHERE}")
            return
        kind, size = f"{told.get('format', 'of no known format')}", int(f"{told.get('virtual-size', 0)}")
        if image.format == "raw" and place.key and kind == "luks":
            kind = "raw"
        elif image.format == "raw":  # whatever is in it
            kind, size = "raw", os.path.getsize(place.path)
    if kind != image.format:
        yield OCCUPIED(f"{name} is {kind} there, and {image.format} at the source", f"remove it, or {_ELSEWHERE}")
    elif size < image.capacity or (size != image.capacity and not is_device):
        sizes = f"{size} bytes ({size_text(size)}) there, and {image.capacity} ({size_text(image.capacity)}) at the source"
        yield OCCUPIED(f"{name} has {sizes}", f"remove it, or {_ELSEWHERE}")
    elif not overwrite and (place.key or not images.is_blank(file, dict(told), is_device)):
        yield OCCUPIED(f"{name} is there already, and not empty", f"give its content up with --overwrite, or {_ELSEWHERE}")


def _file(image: Image, place: Place) -> File:
    """The same as a file, for what is common to all images."""
    return File(image.target, place.path, image.format, image.capacity, device=image.device, twin=image.twin)


def description(image: Image, place: Place) -> str:
    """The XML of a volume as it is to be made; owners that are not known here are left to libvirt, and all where it is not root's."""
    told = ET.Element("volume")
    ET.SubElement(told, "name").text = place.name
    ET.SubElement(told, "capacity", unit="bytes").text = f"{image.capacity}"
    sparse = place.pool is None or place.pool.has_files
    ET.SubElement(told, "allocation", unit="bytes").text = f"{0 if sparse else image.capacity}"
    target = ET.SubElement(told, "target")
    if sparse:  # a partition has a type instead, and a logical volume none
        ET.SubElement(target, "format", type=image.format)
    rights = ET.SubElement(target, "permissions")
    ET.SubElement(rights, "mode").text = f"{(image.mode if image.mode >= 0 else 0o600) & 0o777:04o}"
    for tag, identifier in (("owner", image.owner and user_id(image.owner)), ("group", image.group and group_id(image.group))):
        if isinstance(identifier, int) and os.geteuid() == 0:
            ET.SubElement(rights, tag).text = f"{identifier}"
    if place.key:
        secret = ET.SubElement(target, "encryption", format="luks")
        ET.SubElement(secret, "secret", type="passphrase", uuid=place.key)
    if image.compat:
        ET.SubElement(target, "compat").text = image.compat
    if image.cluster:
        ET.SubElement(target, "clusterSize", unit="B").text = f"{image.cluster}"
    if image.extended_l2:
        ET.SubElement(ET.SubElement(target, "features"), "extended_l2")
    return ET.tostring(told, "unicode")


def make(image: Image, place: Place, pools: Pools, tell: Callable[[Made, tuple[str, ...]], object]) -> None:
    """
    Make an image, unless it is there.

    ``tell`` is called with it before it is made, and again when it is there; and with the directories that are made for it.

    :raise NotMigratable: it cannot be made; nothing is left of it.
    """
    if os.path.lexists(place.path):
        return
    pool, folders = place.pool.name if place.pool else "", tuple(missing(place.path))
    tell(Made(place.path, pool), folders)
    try:
        _made_by(pools, place, description(image, place))
        tell(_made(place.path, pool), folders)
    except (LibvirtError, OSError) as error:
        for folder in reversed(folders):
            with suppress(OSError):
                remove_empty(folder)
        raise NotMigratable(f"disk {image.target}: {place.path} cannot be made: {error}") from None


def _made_by(pools: Pools, place: Place, volume: str, trials: int = _TRIALS) -> None:
    """Have libvirt make it; the trial that sets the cost of a LUKS key may be too short to be measured, and is made again."""
    try:
        pools.make(place.pool, os.path.dirname(place.path), volume)
    except LibvirtError as error:
        if trials == 1 or _UNMEASURED not in f"{error}":
            raise
        _made_by(pools, place, volume, trials - 1)


def _made(path: str, pool: str) -> Made:
    found = os.stat(path)
    if stat.S_ISBLK(found.st_mode):
        return Made(path, pool, identity=identity(found.st_rdev))
    return Made(path, pool, found.st_dev, found.st_ino)


def remove(made: Made, pools: Pools) -> None:
    """
    Remove an image that was made, unless another has taken its place; one whose making was interrupted only if nothing is in it.

    :raise LibvirtError: it cannot be removed; or it is a volume, and its pool is not there, or not active.
    """
    if not made.pool:
        pools.drop(os.path.dirname(made.path))
    if not made.is_there and (made.inode or made.identity or not is_empty(made.path)):
        return
    pool = pools.named(made.pool) if made.pool else None
    try:
        if not made.pool or pool is not None:
            pools.remove(pool, made.path)
    except LibvirtError:
        if made.identity and pool is not None and pool.kind == "disk":
            partitions.remove(made.path)
            pools.refresh(pool)
        elif not made.inode:
            raise
    if made.inode:  # libvirt may not know of it any more
        remove_made(MadeFile(made.path, made.device, made.inode))
    elif made.identity and made.is_there:
        raise LibvirtError(
            f"{made.path} is still there: the storage pool {made.pool} is not, or is not active", f"virsh pool-start {made.pool}"
        )


def is_empty(path: str) -> bool:
    """Whether a file that was made as an image holds nothing, and no QEMU has it open."""
    with suppress(OSError, NotMigratable):
        return stat.S_ISREG(os.stat(path).st_mode) and images.holds_nothing(path, seen=False)
    return False
