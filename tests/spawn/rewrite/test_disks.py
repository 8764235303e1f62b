"""Options with images: what is made, what must be there, and the line that has them."""

from __future__ import annotations

import pytest

from nbdtun.spawn.values import Role
from tests.spawn.rewrite.stage import answers, disk, line, planned, refused, warned

CHAIN = """
-blockdev driver=file,node-name=bf,filename=/srv/base.qcow2,read-only=on -blockdev qcow2,node-name=base,file=bf,read-only=on
-blockdev driver=file,node-name=f,filename=/srv/a.qcow2 -blockdev driver=qcow2,node-name=top,file=f,backing=base
-device virtio-blk-pci,drive=top
"""


@pytest.mark.parametrize(
    ("given", "far"),
    [
        ("-hda a.qcow2", "-drive index=0,media=disk,file=/srv/a.qcow2,format=qcow2"),
        ("a.qcow2", "-drive index=0,media=disk,file=/srv/a.qcow2,format=qcow2"),
        ("-pflash a.qcow2", "-drive if=pflash,file=/srv/a.qcow2,format=qcow2"),
        ("-drive if=virtio,file=a.qcow2", "-drive if=virtio,file=/srv/a.qcow2,format=qcow2"),
        ("-drive driver=qcow2,file.filename=a.qcow2", "-drive driver=qcow2,file.filename=/srv/a.qcow2"),
        (
            "-blockdev driver=qcow2,node-name=v,file.driver=file,file.filename=a.qcow2",
            "-blockdev driver=qcow2,node-name=v,file.driver=file,file.filename=/srv/a.qcow2",
        ),
    ],
)
def test_one_image(given: str, far: str) -> None:
    made = planned(given, disk("a.qcow2", name="v", options={"cluster_size": "32768"}))
    assert (line(made), refused(made)) == (far, [])
    (image,) = made.images
    assert (image.path, image.format, image.size, image.needed, image.origin) == (
        "/srv/a.qcow2",
        "qcow2",
        64 << 20,
        1 << 20,
        "/srv/a.qcow2",
    )
    assert image.options == {"cluster_size": "32768"}


def test_a_comma_in_a_path() -> None:
    made = planned("-hda a,b", disk("a,b", "raw"))
    assert line(made) == "-drive index=0,media=disk,file=/srv/a,,b,format=raw"


def test_another_place_and_another_format() -> None:
    given = answers("v=/dev/vg/web1,format=raw")
    text = "-blockdev driver=file,node-name=f,filename=a.qcow2 -blockdev driver=qcow2,node-name=v,file=f -device e1000"
    made = planned(text, disk("a.qcow2", name="v"), disk("a.qcow2", "file", "f", drive=False), given=given)
    assert line(made) == (
        "-blockdev driver=host_device,node-name=f,filename=/dev/vg/web1 -blockdev driver=raw,node-name=v,file=f -device e1000"
    )
    assert made.images[0].options == {}


@pytest.mark.parametrize(("more", "needed"), [("", 64), (",discard=unmap", 1), (",discard=ignore", 64)])
def test_the_space_that_a_raw_image_needs(more: str, needed: int) -> None:
    text = f"-blockdev driver=raw,node-name=v,file.driver=file,file.filename=a{more}"
    for made in (planned(text, disk("a", "raw", "v")), planned(f"-drive file=a,if=virtio{more}", disk("a", "raw"))):
        assert [image.needed >> 20 for image in made.images] == [needed]


def test_a_disk_has_several_names() -> None:
    node = disk("a", device="drive0", qdev="/machine/peripheral/sys/virtio-backend")
    for name in ("drive0", "sys"):
        made = planned("-drive id=drive0,file=a,if=none", node, given=answers(f"{name}=/b"))
        assert [image.path for image in made.images] == ["/b"]


def test_json_stays_json() -> None:
    text = """-blockdev '{"driver": "raw", "node-name": "v", "file": {"driver": "file", "filename": "/srv/a", "locking": "on"}}'"""
    made = planned(text, disk("/srv/a", "raw", "v"), given=answers(maps=("/srv=/data",)))
    assert made.arguments[3] == '{"driver": "raw", "node-name": "v", "file": {"driver": "file", "filename": "/data/a", "locking": "on"}}'


def test_the_copy_has_no_chain() -> None:
    nodes = (
        disk("/srv/a.qcow2", name="top", chain=("/srv/base.qcow2",)),
        disk("/srv/base.qcow2", name="base", read_only=True, drive=False),
    )
    made = planned(CHAIN, *nodes)
    assert line(made) == (
        "-blockdev driver=file,node-name=f,filename=/srv/a.qcow2 "
        "-blockdev driver=qcow2,node-name=top,file=f -device virtio-blk-pci,drive=top"
    )
    assert ([image.path for image in made.images], refused(made)) == (["/srv/a.qcow2"], [])


def test_a_chain_that_is_kept() -> None:
    nodes = (
        disk("/srv/a.qcow2", name="top", chain=("/srv/base.qcow2",), backing_format="qcow2"),
        disk("/srv/base.qcow2", name="base", read_only=True, drive=False),
    )
    made = planned(CHAIN, *nodes, given=answers(keep_backing=True, maps=("/srv=/data",)))
    assert "backing=base" in line(made)
    assert "filename=/data/base.qcow2" in line(made)
    assert (made.images[0].backing, made.images[0].backing_format) == ("/data/base.qcow2", "qcow2")
    assert ("/data/base.qcow2", Role.MEDIUM) in [(path.path, path.role) for path in made.paths]
    assert refused(made) == []


def test_a_filter_above_a_format() -> None:
    text = """
    -object throttle-group,id=g
    -blockdev driver=throttle,node-name=t,throttle-group=g,file.driver=raw,file.file.driver=file,file.file.filename=a
    """
    made = planned(text, disk("a", "throttle", "t"), disk("a", "raw", drive=False), given=answers(maps=("/srv=/data",)))
    assert "file.file.filename=/data/a" in line(made)
    assert [(image.node, image.format) for image in made.images] == [("t", "raw")]


@pytest.mark.parametrize(
    ("text", "role"),
    [
        ("-cdrom a.iso", Role.MEDIUM),
        ("-drive file=a.iso,media=cdrom", Role.MEDIUM),
        ("-drive if=pflash,file=a.iso,readonly=on", Role.FIRMWARE),
        ("-blockdev driver=raw,node-name=v,read-only=on,file.driver=file,file.filename=a.iso", Role.MEDIUM),
    ],
)
def test_what_is_only_read_must_be_there(text: str, role: Role) -> None:
    made = planned(text, disk("a.iso", "raw", "v", read_only=True), given=answers(maps=("/srv=/data",)))
    assert ("/data/a.iso", role) in [(path.path, path.role) for path in made.paths]
    assert (made.images, refused(made)) == ((), [])
    assert "/data/a.iso" in line(made)


def test_an_empty_drive_stays_empty() -> None:
    assert line(planned("-drive media=cdrom,if=ide")) == "-drive media=cdrom,if=ide"


@pytest.mark.parametrize("text", ["-snapshot -hda a.qcow2", "-drive index=0,media=disk,file=a.qcow2,snapshot=on"])
def test_a_temporary_image_becomes_one_that_stays(text: str) -> None:
    made = planned(text, disk("/var/tmp/vl.x", chain=("a.qcow2",), backing_format="raw", device="ide0-hd0"))
    assert line(made) == "-drive index=0,media=disk,file=/srv/a.qcow2,format=raw"
    assert warned(made) == [
        f"{'-hda' if 'hda' in text else '-drive'}: without snapshot: the destination's image keeps what the guest changes"
    ]


@pytest.mark.parametrize(
    ("text", "node", "why"),
    [
        ("-hda a", disk("b", "raw"), "-hda: QEMU does not use a any more: its medium, or its chain of images, was changed"),
        ("-drive id=d,file=a", disk("b", "raw", device="d"), "-drive d: QEMU does not use a any more"),
        (
            "-drive file.driver=rbd,file.pool=p,file.image=i,if=virtio",
            disk("json:{}", "raw", device="virtio0"),
            "-drive: its image: it is reached over",
        ),
        (
            "-blockdev driver=rbd,node-name=r,pool=p,image=i -device virtio-blk,drive=r",
            disk("json:{}", "rbd", "r"),
            "-blockdev r: it is reached over the network",
        ),
        ("-hda a", disk("a", "raw", unfit="it is encrypted"), "disk #block1: it is encrypted"),
        ("-hda a", disk("a", "vmdk", device="ide0-hd0"), "disk ide0-hd0: nbdtun makes no images of the format vmdk"),
        ("-drive file=nbd://h/a", disk("nbd://h/a", "raw"), "-drive: nbd://h/a: it is reached over the network"),
        ("-hda /dev/fdset/1", disk("/dev/fdset/1", "raw", read_only=True), "/dev/fdset/1 is a descriptor that another program passed"),
        ("-drive file=a,x=/y", disk("a", "raw"), "x=/y is a path in a place that is not known to nbdtun"),
        (
            "-blockdev driver=raw,node-name=v,offset=512,file.driver=file,file.filename=a",
            disk("a", "raw", "v"),
            "-blockdev v: it is only a part of an image",
        ),
        (
            "-blockdev driver=raw,node-name=v,file.driver=nbd,file.host=h",
            disk("nbd://h", "raw", "v"),
            "-blockdev v: it is reached over the network",
        ),
        ("-blockdev driver=raw,node-name=v,file=gone", disk("a", "raw", "v"), "-blockdev v: its file gone is not in the command line"),
        (
            "-blockdev driver=raw,node-name=v,file.driver=file,file.filename=a",
            disk("b", "raw", "v"),
            "-blockdev v: QEMU does not use a any more",
        ),
    ],
)
def test_what_is_refused(text: str, node: object, why: str) -> None:
    assert any(why in line for line in refused(planned(text, node)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "node", "far"),
    [
        ("-drive file=nbd://h/a,if=virtio", disk("nbd://h/a", "raw", "v"), "-drive if=virtio,format=qcow2,file=/b"),
        (
            "-blockdev driver=raw,node-name=v,file.driver=nbd,file.host=h",
            disk("nbd://h", "raw", "v"),
            "-blockdev driver=qcow2,node-name=v,file.driver=file,file.filename=/b",
        ),
    ],
)
def test_an_image_of_the_network_becomes_a_file(text: str, node: object, far: str) -> None:
    made = planned(text, node, given=answers("v=/b,format=qcow2"))  # type: ignore[arg-type]
    assert (line(made), refused(made)) == (far, [])
