"""Where images belong, and their XML; integration/libvirt_far makes them."""

from __future__ import annotations

import os
import pwd
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import pytest
from attrs import evolve

from nbdtun.errors import LibvirtError, NotMigratable
from nbdtun.libvirt.far import volumes
from nbdtun.libvirt.far.record import Made
from nbdtun.libvirt.far.volumes import Place, description, judge, make, place_of, remove
from nbdtun.libvirt.pools import Pool, Pools
from nbdtun.libvirt.values import Image
from nbdtun.migration.finding import Finding
from nbdtun.spawn.values import Twin
from tests.libvirt.far.stage import Told
from tests.libvirt.stage import IMAGE, MIB

DATA = Pool("images", "dir", "/data")
VOLUME_GROUP = Pool("vg0", "logical", "/dev/vg0", available=100 * MIB)


def place(image: Image, *pools: Pool, **told: object) -> Place | Finding:
    return place_of(image, cast("Pools", Told(pools=list(pools), **told)))  # type: ignore[arg-type]


def test_the_pool_that_holds_the_path_is_taken() -> None:
    assert place(IMAGE, VOLUME_GROUP, DATA) == Place("/data/web1.qcow2", "web1.qcow2", DATA)
    assert place(IMAGE, VOLUME_GROUP) == Place("/data/web1.qcow2", "web1.qcow2")


def test_a_volume_is_in_its_pool() -> None:
    image = evolve(IMAGE, path="/there/x", pool="images", volume="v")
    assert place(image, DATA) == Place("/data/v", "v", DATA)
    assert place(image, DATA, paths={"v": "/data/sub/v"}) == Place("/data/sub/v", "v", DATA)


@pytest.mark.parametrize(
    ("image", "pools", "says"),
    [
        (evolve(IMAGE, pool="gold", volume="v"), (DATA,), "disk vda: there is no storage pool gold; define it there"),
        (IMAGE, (evolve(DATA, active=False),), "the storage pool images is not active; start it there: virsh pool-start images"),
        (evolve(IMAGE, path="data/a"), (), "data/a is not an absolute path"),
        (evolve(IMAGE, path="/data/../etc/a"), (), "/data/../etc/a is not an absolute path"),
        (evolve(IMAGE, pool="images", volume="../a"), (DATA,), "../a is no name of a volume"),
        (evolve(IMAGE, path="/"), (), " is no name of a volume"),
    ],
)
def test_places_that_cannot_be(image: Image, pools: tuple[Pool, ...], says: str) -> None:
    found = place(image, *pools)
    assert isinstance(found, Finding)
    assert says in f"{found}"


@pytest.mark.parametrize(
    ("where", "says"),
    [
        (Place("/dev/vg9/a", "a"), ["disk vda: /dev/vg9/a is not there, and in no storage pool of libvirt's that could make it"]),
        (Place("/dev/vg0/none", "none", VOLUME_GROUP), []),
        (
            Place("/nowhere/lun", "lun", Pool("san", "iscsi", "/nowhere")),
            ["disk vda: /nowhere/lun is not there, and the storage pool san is one of type iscsi, in which libvirt makes no volumes"],
        ),
        (Place("/dev", "dev"), ["disk vda: /dev is neither a file nor a block device"]),
    ],
)
def test_what_is_in_the_way(where: Place, says: list[str]) -> None:
    assert [finding.what for finding in judge(evolve(IMAGE, device=True, format="raw"), where, False)] == says


def test_the_sources_own_image_is_not_given_up_where_nobody_can_tell_it(tmp_path: Path) -> None:
    """On NFS, root may not make a file beside the image, and QEMU's lock may not be seen by the other host."""
    path = tmp_path / "web1.raw"
    path.write_bytes(bytes(64 * MIB))
    image = evolve(IMAGE, format="raw", path=f"{path}", twin=Twin("", path.name, path.stat().st_ino))
    (finding,) = judge(image, Place(f"{path}", path.name), True)
    assert "may be the source's own image: no file can be made beside that one, to see" in finding.what
    assert list(judge(evolve(image, twin=Twin("0" * 32, path.name)), Place(f"{path}", path.name), True)) == []


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "gone")
    (finding,) = judge(IMAGE, Place(f"{tmp_path}/a", "a"), True)
    assert finding.what == f"disk vda: {tmp_path}/a is a link that leads nowhere"


def test_a_volume_as_it_is_to_be() -> None:
    me = pwd.getpwuid(os.getuid())
    image = evolve(IMAGE, owner=me.pw_name, group=f"{me.pw_gid}", mode=0o100640, extended_l2=True)
    assert description(image, Place("/data/a", "a", DATA)) == (
        f'<volume><name>a</name><capacity unit="bytes">{64 * MIB}</capacity><allocation unit="bytes">0</allocation>'
        f'<target><format type="qcow2" /><permissions><mode>0640</mode><owner>{me.pw_uid}</owner><group>{me.pw_gid}</group></permissions>'
        '<compat>1.1</compat><clusterSize unit="B">65536</clusterSize><features><extended_l2 /></features></target></volume>'
    )


def test_a_volume_of_unknown_owners_in_a_volume_group() -> None:
    image = Image("vda", "/dev/vg0/a", "raw", 64 * MIB, device=True, owner="nobody-of-that-name")
    told = description(image, Place("/dev/vg0/a", "a", VOLUME_GROUP))
    assert f'<allocation unit="bytes">{64 * MIB}</allocation>' in told  # a sparse one would be a snapshot of nothing
    assert "<target><permissions><mode>0600</mode></permissions></target>" in told  # no format: a partition would not know it


def test_a_qcow2_image_on_a_block_device_is_made_by_its_operator() -> None:
    (finding,) = judge(evolve(IMAGE, device=True), Place("/dev/vg0/none", "none", VOLUME_GROUP), False)
    assert finding.what.endswith("is not there, and libvirt makes no qcow2 in a storage pool of type logical")
    assert finding.remedy == "make it there: virsh vol-create-as, and qemu-img create -f qcow2"


class Failing:
    """Pools in which nothing can be made or removed; or where a file can be made."""

    def __init__(self, makes: bool = False) -> None:
        self._makes = makes

    def named(self, name: str) -> None:
        return None

    def drop(self, directory: str) -> None:
        self.dropped = directory

    def make(self, pool: object, directory: str, volume: str) -> None:
        os.makedirs(directory, exist_ok=True)
        if not self._makes:
            raise LibvirtError("No space left on device")
        (Path(directory) / "a").touch()

    def remove(self, pool: object, path: str) -> None:
        raise LibvirtError("the pool is gone")


def test_what_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    told: list[tuple[Made, tuple[str, ...]]] = []
    path = f"{tmp_path}/new/deep/a"
    with pytest.raises(NotMigratable, match=r"disk vda: .*/a cannot be made: No space left on device"):
        make(IMAGE, Place(path, "a"), cast("Pools", Failing()), lambda made, folders: told.append((made, folders)))
    assert told == [(Made(path), (f"{tmp_path}/new", f"{tmp_path}/new/deep"))]  # it was told before it was made
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("fails", "is_made"), [(4, True), (5, False)])
def test_a_luks_key_whose_cost_could_not_be_measured_is_measured_again(tmp_path: Path, fails: int, is_made: bool) -> None:
    class Hasty(Failing):
        left = fails

        def make(self, pool: object, directory: str, volume: str) -> None:
            if self.left:
                self.left -= 1
                raise LibvirtError("qemu-img: Unable to get accurate CPU usage")
            super().make(pool, directory, volume)

    pools = cast("Pools", Hasty(makes=True))
    with nullcontext() if is_made else pytest.raises(NotMigratable, match="accurate CPU usage"):
        make(IMAGE, Place(f"{tmp_path}/a", "a"), pools, lambda made, folders: None)
    assert (tmp_path / "a").exists() == is_made


def test_what_was_made_is_removed_even_if_libvirt_knows_it_no_more(tmp_path: Path) -> None:
    told: list[Made] = []
    make(IMAGE, Place(f"{tmp_path}/a", "a"), cast("Pools", Failing(makes=True)), lambda made, folders: told.append(made))
    remove(told[-1], cast("Pools", Failing()))
    assert list(tmp_path.iterdir()) == []


class Vanished(Pools):
    """The pool of a logical volume has gone with the daemon that was started again, or is not active."""

    def __init__(self, *pools: Pool) -> None:
        self._pools = pools

    def named(self, name: str) -> Pool | None:
        return next(iter(self._pools), None)

    def remove(self, pool: Pool | None, path: str) -> None:
        """libvirt knows no such volume."""


@pytest.mark.parametrize("pools", [(), (evolve(VOLUME_GROUP, active=False),)])
def test_a_volume_whose_pool_is_not_there_is_not_forgotten(monkeypatch: pytest.MonkeyPatch, pools: tuple[Pool, ...]) -> None:
    """Its record stays, so that a later attempt removes it; else it would be in that one's way."""
    there = [True]
    monkeypatch.setattr(Made, "is_there", property(lambda made: there[0]))
    made = Made("/dev/vg0/web1", "vg0", identity="dm/uuid LVM-1")
    with pytest.raises(LibvirtError, match="/dev/vg0/web1 is still there: the storage pool vg0 is not, or is not active; virsh pool-start"):
        remove(made, Vanished(*pools))
    there[0] = False
    remove(made, Vanished(*pools))


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("somebody's")
    remove(Made(f"{path}", "", 1, 2), cast("Pools", Failing()))
    remove(Made(f"{path}"), cast("Pools", Failing()))  # its making was interrupted, and there is something in it
    assert path.read_text() == "somebody's"


def test_one_whose_making_was_interrupted_is_removed_while_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(LibvirtError, match="the pool is gone"):
        remove(Made(f"{tmp_path}/a"), cast("Pools", Failing()))
    assert volumes.is_empty(f"{tmp_path}/a")
