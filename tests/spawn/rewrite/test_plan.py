"""A whole plan."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import ConfigError
from nbdtun.spawn.command.line import parse
from nbdtun.spawn.command.options import FLAGS, KEYED, TEXTS
from nbdtun.spawn.rewrite.answers import Answers
from nbdtun.spawn.rewrite.plan import plan
from nbdtun.spawn.values import Role
from nbdtun.spawn.wire import plan_of, to_json
from tests.spawn.rewrite.stage import QMP, answers, disk, line, planned, refused, source, warned


def test_a_whole_line() -> None:
    made = planned("-M q35,accel=tcg -m 1G -S -incoming tcp:0:1 -daemonize -loadvm x -qmp unix:/run/web1.qmp,server=on,wait=off -vga none")
    assert made.arguments == (
        *("-machine", "pc-q35-7.2,accel=tcg", "-m", "1G", "-qmp", "unix:/run/web1.qmp,server=on,wait=off", "-vga", "none"),
        *("-display", "none", "-S", "-incoming", "defer"),
    )
    assert (made.qmp, made.user, made.emulator, made.findings) == (QMP, "qemu", "/usr/bin/qemu-system-x86_64", ())


def test_what_a_plan_makes_is_a_plan_again() -> None:
    """Back by the same command."""
    once = planned("-hda a.qcow2 -qmp unix:/run/web1.qmp,server,nowait -serial file:s.log", disk("a.qcow2"))
    again = plan(source("", disk("/srv/a.qcow2"), options=parse(once.arguments)), Answers())
    assert (again.arguments, again.images, again.findings) == (once.arguments, once.images, ())


def test_a_monitor_is_added_where_there_is_none() -> None:
    made = planned("-qmp tcp:localhost:4444,server", given=answers(maps=("/run=/run/there",)))
    assert made.qmp == "/run/there/web1.qmp"
    assert f"-qmp unix:{made.qmp},server=on,wait=off" in " ".join(made.arguments)
    assert (made.paths[-1].role, made.ports[0].port) == (Role.SOCKET, 4444)


def test_the_type_is_pinned_once() -> None:
    made = planned("-machine q35 -machine smm=on,type=x")
    assert made.arguments[:4] == ("-machine", "pc-q35-7.2", "-machine", "smm=on")


def test_answers_change_the_line() -> None:
    made = planned(
        "-netdev tap,id=n0,ifname=tap1 -vnc :1", given=answers(settings=("netdev.n0.ifname=tap7", "vnc.vnc=:2", "emulator=/opt/qemu"))
    )
    assert line(made) == "-netdev tap,id=n0,ifname=tap7 -vnc :2"
    assert (made.emulator, made.interfaces[0].name, made.ports[0].port) == ("/opt/qemu", "tap7", 5902)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (answers(settings=("netdev.n1.x=y",)), "--set netdev.n1.x: QEMU's command line has no such -netdev"),
        (answers("vdb=/a"), "no disk of that name"),
    ],
)
def test_answers_that_fit_nothing(given: Answers, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        planned("-netdev user,id=n0", given=given)


def test_what_was_plugged_in_and_out() -> None:
    made = planned("-device e1000,id=a -device e1000,id=b", plugged=frozenset({"b", "c"}))
    assert refused(made) == [
        "-device c: it was plugged in since QEMU's start",
        "-device a: it was unplugged since QEMU's start",
    ]


@pytest.mark.parametrize(
    ("text", "user"), [("", "qemu"), ("-runas qemu", "root"), ("-run-with user=qemu", "root"), ("-run-with async-teardown=on", "qemu")]
)
def test_the_user_that_it_begins_as(text: str, user: str) -> None:
    assert planned(text).user == user


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-add-fd fd=3,set=1", "it is a descriptor that another program passed"),
        ("-chroot /x", "the paths within it cannot be followed"),
        ("-preconfig", "what was set up by the monitor"),
        ("-virtfs local,path=/x,mount_tag=t", "it shares files of this host"),
        ("-serial x", "-serial: the character device x is not known to nbdtun"),
        ("-machine q35,dumpdtb=x", "dumpdtb cannot be had there"),
    ],
)
def test_what_cannot_be_had(text: str, why: str) -> None:
    assert why in refused(planned(text))[0]


def test_a_relative_path_of_a_daemon() -> None:
    files = ("/srv/a.img", "/srv/b/c.img", "/mnt/b/c.img")
    made = planned("-pidfile a.img -kernel b/c.img", directory="", files=files)
    assert "-pidfile /srv/a.img" in line(made)
    assert refused(made) == ["-kernel: the path b/c.img is relative, and QEMU's first directory is unknown"]


def test_several_findings_come_at_once() -> None:
    assert len(refused(planned("-preconfig -chroot /x -device vfio-pci,host=1"))) == 3
    assert warned(planned("-serial mon:stdio")) != []


NAMES = st.sampled_from(sorted((TEXTS | KEYED.keys()) - {"set", "readconfig"})) | st.sampled_from(sorted(FLAGS))
VALUES = st.text(st.sampled_from('abc=,./:{}"012 '), max_size=16)


@given(options=st.lists(st.tuples(NAMES, VALUES), max_size=5))
def test_any_line_is_planned_or_refused(options: list[tuple[str, str]]) -> None:
    words = [word for name, value in options for word in ([f"-{name}"] if name in FLAGS else [f"-{name}", value])]
    try:
        made = plan(source("", options=parse(words)), Answers())
    except ConfigError:
        return
    assert made.arguments[-3:] == ("-S", "-incoming", "defer")
    assert plan_of(to_json(made)) == made
    assert parse(made.arguments)
