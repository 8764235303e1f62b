"""All other options."""

from __future__ import annotations

import pytest

from nbdtun.spawn.values import Role
from tests.spawn.rewrite.stage import answers, line, planned, refused, warned


@pytest.mark.parametrize(
    ("text", "role"),
    [
        ("-pidfile /srv/p", Role.PIDFILE),
        ("-D /srv/l", Role.LOG),
        ("-kernel /srv/k", Role.FIRMWARE),
        ("-bios /srv/b", Role.FIRMWARE),
        ("-mem-path /srv/m", Role.MEMORY),
        ("-fw_cfg name=opt/x,file=/srv/f", Role.FIRMWARE),
        ("-smbios type=11,path=/srv/f", Role.FIRMWARE),
        ("-acpitable file=/srv/a", Role.FIRMWARE),
        ("-trace enable=x,file=/srv/t", Role.LOG),
        ("-vnc unix:/srv/v,share=ignore", Role.SOCKET),
        ("-spice unix=on,addr=/srv/s", Role.SOCKET),
        ("-audiodev wav,id=a,path=/srv/w", Role.LOG),
    ],
)
def test_paths(text: str, role: Role) -> None:
    made = planned(text, given=answers(maps=("/srv=/data",)))
    assert (line(made), refused(made), made.paths[0].role) == (text.replace("/srv", "/data"), [], role)


def test_several_tables() -> None:
    assert line(planned("-acpitable file=a:/b")) == "-acpitable file=/srv/a:/b"


@pytest.mark.parametrize(
    "text",
    [
        "-bios bios-256k.bin",
        "-m 1G,slots=2",
        "-smp 4,sockets=2",
        "-usbdevice tablet",
        "-tpmdev emulator,id=t,chardev=c",
        "-sandbox on,spawn=deny",
        "-L /usr/x",
    ],
)
def test_those_that_stay(text: str) -> None:
    made = planned(text)
    assert (line(made), made.findings) == (text, ())


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("-vnc :1", [5901]),
        ("-vnc 1.2.3.4:0,password=on", [5900]),
        ("-vnc :1,to=9", []),
        ("-vnc none", []),
        ("-spice port=1,tls-port=2", [1, 2]),
    ],
)
def test_ports(text: str, ports: list[int]) -> None:
    assert [port.port for port in planned(text).ports] == ports


def test_a_desktop_is_not_there() -> None:
    made = planned("-display gtk,gl=on")
    assert "-display none" in " ".join(made.arguments)
    assert warned(made) == ["-display gtk: not there: a destination has no desktop; its display is none"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-audiodev pa,id=a", "pa plays at this host"),
        ("-tpmdev passthrough,id=t", "it is this host's TPM"),
        ("-usbdevice host:1.2", "host:1.2 is a device of this host"),
        ("-icount shift=1,rr=record,rrfile=x", "a recorded run stays"),
        ("-display vnc=:1", "vnc within -display is not known"),
        ("-run-with chroot=/x", "the paths within it"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    assert why in refused(planned(text))[0]
