"""Objects and devices, and what they need."""

from __future__ import annotations

import pytest

from nbdtun.spawn.values import Role
from tests.spawn.rewrite.stage import answers, line, planned, refused


@pytest.mark.parametrize(
    ("text", "role"),
    [
        ("-object memory-backend-file,id=m,size=1G,mem-path=/srv/ram", Role.MEMORY),
        ("-object rng-random,id=r,filename=/srv/random", Role.PRESENT),
        ("-object tls-creds-x509,id=t,dir=/srv/tls", Role.DIRECTORY),
        ("-object secret,id=s,file=/srv/secret", Role.PRESENT),
        ("-device virtio-net-pci,romfile=/srv/rom", Role.FIRMWARE),
        ("-device loader,file=/srv/blob", Role.FIRMWARE),
    ],
)
def test_paths(text: str, role: Role) -> None:
    made = planned(text, given=answers(maps=("/srv=/data",)))
    assert (line(made), refused(made), made.paths[0].role) == (text.replace("/srv", "/data"), [], role)


@pytest.mark.parametrize(
    "text",
    [
        "-object iothread,id=i",
        "-object memory-backend-memfd,id=m,size=1G,share=on",
        "-device virtio-net-pci,romfile=efi-virtio.rom",
        "-device scsi-hd,serial=/x",
    ],
)
def test_those_that_need_nothing(text: str) -> None:
    made = planned(text)
    assert (line(made), refused(made)) == (text, [])


def test_devices_are_told_once() -> None:
    assert planned("-device e1000 -device e1000,id=b -device ac97").machine.devices == ("ac97", "e1000")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-device vfio-pci,host=1:0", "-device vfio-pci: vfio-pci: it passes a device of this host through"),
        ("-device usb-host,id=u", "-device u: usb-host: it is a device of this host"),
        ("-device vhost-vsock-pci,vhostfd=3", "vhostfd=3 is a descriptor"),
        ("-device new,path=/x", "path=/x is a path in a place that is not known"),
        ("-object input-linux,id=i,evdev=/dev/input/event0", "the object 'input-linux' is bound to this host, or not known"),
        ("-object memory-backend-ram,id=m,x=/y", "x=/y is a path in a place that is not known"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    assert why in refused(planned(text))[0]
