"""Drives whose images are reached over the network."""

from __future__ import annotations

import pytest

from nbdtun.migration.finding import Level
from tests.spawn.rewrite.stage import answers, disk, line, planned, refused, warned

RBD = "rbd:pool/web1:id=me:key=AQBsecret\\\\=\\\\=:mon_host=ceph"
TOLD = 'json:{"driver": "qcow2", "file": {"driver": "rbd", "pool": "pool"}}'


@pytest.mark.parametrize(
    ("given", "far"),
    [
        (f"-hda {RBD}", "-drive index=0,media=disk,format=raw,file=/srv/a"),
        (f"-drive file={RBD},if=virtio,format=raw", "-drive if=virtio,format=raw,file=/srv/a"),
        ("-drive driver=raw,file.driver=rbd,file.pool=p,if=virtio", "-drive driver=raw,if=virtio,file=/srv/a"),
        ("-drive driver=nbd,host=h,port=1,if=virtio,cache=none", "-drive if=virtio,cache=none,format=raw,file=/srv/a"),
    ],
)
def test_one_with_a_place_becomes_a_file(given: str, far: str) -> None:
    made = planned(given, disk(TOLD, "raw", device="virtio0"), given=answers("virtio0=/srv/a,format=raw"))
    assert (line(made), refused(made)) == (far, [])


def test_one_without_a_place_is_refused_without_its_secret() -> None:
    made = planned(f"-drive file={RBD},if=virtio", disk(TOLD, "raw", device="virtio0"))
    (finding,) = [each for each in made.findings if each.level is Level.FAILURE]
    assert finding.what == (
        "-drive: rbd:pool/web1:id=me:key=HIDDEN:mon_host=ceph: it is reached over the network, and its copy needs a file"
    )
    assert finding.remedy == "name one: --disk virtio0=PATH,format=qcow2"


def test_several_are_told_apart_by_their_order() -> None:
    nodes = (disk(TOLD, "raw", device="virtio0"), disk("/srv/b", device="x"), disk("nbd://h:1", "raw", device="virtio1"))
    text = f"-drive file={RBD},if=virtio -drive id=x,file=/srv/b,if=none -drive file=nbd:h:1,if=virtio"
    made = planned(text, *nodes, given=answers("virtio0=/0", "virtio1=/1"))
    assert [(image.node, image.path) for image in made.images] == [("virtio0", "/0"), ("x", "/srv/b"), ("virtio1", "/1")]


def test_one_that_has_gone_leaves_none_in_its_place() -> None:
    text = f"-drive file={RBD},if=virtio -drive file=nbd:h:1,if=virtio"
    made = planned(text, disk(TOLD, "raw", device="virtio0"), given=answers("virtio0=/0"))
    assert [why.partition(" any more")[0] for why in refused(made)] == [
        "-drive: QEMU does not use rbd:pool/web1:id=me:key=HIDDEN:mon_host=ceph",
        "-drive: QEMU does not use nbd:h:1",
    ]


def test_one_that_is_only_read_stays() -> None:
    made = planned("-cdrom http://me:top@h/a.iso", disk("http://me:top@h/a.iso", "raw", read_only=True))
    assert (line(made), refused(made)) == ("-drive index=2,media=cdrom,file=http://me:top@h/a.iso", [])
    assert warned(made) == ["-cdrom: http://me:HIDDEN@h/a.iso is read over the network, from the destination too"]


def test_one_below_another_image() -> None:
    node = disk("/srv/a", device="d", chain=(TOLD,), backing_format="raw")
    assert planned("-drive id=d,file=/srv/a,if=none", node).fit
    kept = planned("-drive id=d,file=/srv/a,if=none", node, given=answers(keep_backing=True))
    assert refused(kept) == ["-drive d: disk d: an image below it is reached over the network"]
    read = planned("-drive id=d,file=/srv/a,readonly=on", disk("/srv/a", device="d", chain=(TOLD,), read_only=True))
    assert (refused(read), len(warned(read)), [path.path for path in read.paths[:-1]]) == ([], 1, ["/srv/a"])


def test_a_node_of_a_protocol_without_a_format() -> None:
    text = "-blockdev driver=rbd,node-name=r,pool=p,image=i,conf=/etc/ceph.conf -device virtio-blk,drive=r"
    made = planned(text, disk(TOLD, "rbd", "r"), given=answers("r=/srv/a,format=raw"))
    assert (line(made), refused(made)) == ("-blockdev node-name=r,driver=file,filename=/srv/a -device virtio-blk,drive=r", [])
