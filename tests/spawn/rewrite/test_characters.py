"""Character devices and what they need."""

from __future__ import annotations

import pytest

from nbdtun.spawn.values import Role
from tests.spawn.rewrite.stage import answers, line, planned, refused, warned

MAPPED = answers(maps=("/srv=/data",))


@pytest.mark.parametrize(
    ("text", "far", "role"),
    [
        ("-chardev socket,id=c,path=a,server", "-chardev socket,id=c,path=/data/a,server,wait=off", Role.SOCKET),
        ("-chardev socket,id=c,path=a", "-chardev socket,id=c,path=/data/a", Role.SERVED),
        ("-monitor unix:a,server,nowait", "-monitor unix:/data/a,server,wait=off", Role.SOCKET),
        ("-serial file:a", "-serial file:/data/a", Role.LOG),
        ("-chardev file,id=c,path=a,append=on", "-chardev file,id=c,path=/data/a,append=on", Role.APPENDED),
        ("-chardev null,id=c,logfile=a", "-chardev null,id=c,logfile=/data/a", Role.LOG),
    ],
)
def test_paths(text: str, far: str, role: Role) -> None:
    made = planned(text, given=MAPPED)
    assert (line(made), refused(made)) == (far, [])
    assert made.paths[0].role is role


@pytest.mark.parametrize(
    "text",
    [
        "-serial none",
        "-serial vc:80x24",
        "-serial chardev:x",
        "-chardev spicevmc,id=s,name=vdagent",
        "-chardev socket,id=c,path=x,abstract=on",
    ],
)
def test_those_that_need_nothing(text: str) -> None:
    made = planned(text)
    assert (line(made), refused(made)) == (text, [])


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("-serial tcp::4444,server", 4444),
        ("-chardev socket,id=c,host=h,port=4444,server=on", 4444),
        ("-gdb tcp::4444", 4444),
        ("-s", 1234),
    ],
)
def test_ports(text: str, port: int) -> None:
    assert [each.port for each in planned(text).ports] == [port]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-serial /dev/ttyS0", "/dev/ttyS0 is a device of this host"),
        ("-chardev serial,id=c,path=/dev/ttyS0", "/dev/ttyS0 is a device of this host"),
        ("-chardev pipe,id=c,path=/x", "another program of this host"),
        ("-chardev socket,id=c,fd=7", "fd=7 is a descriptor"),
        ("-chardev new,id=c", "'new' is not known to nbdtun"),
        ("-chardev socket,id=c,path=/dev/fd/3", "/dev/fd/3 is a descriptor"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    assert why in refused(planned(text))[0]


def test_nobody_sits_there() -> None:
    assert warned(planned("-serial mon:stdio")) == ["-serial: nobody sits at the destination's standard input; its output goes to a log"]
