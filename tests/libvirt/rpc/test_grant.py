"""The grant: a call's arguments are within what was agreed on, or one line says what is not."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from nbdtun.errors import NbdtunError
from nbdtun.libvirt.rpc.arguments import migrating, opening
from nbdtun.libvirt.rpc.grant import FLAGS
from nbdtun.libvirt.rpc.xdr import string, uint
from tests.libvirt.rpc import stage
from tests.libvirt.rpc.stage import GRANT, cookie, domain

SHADOW = "<disk type='file'><source file='/etc/shadow'/></disk>"
OTHER = "11111111-2222-3333-4444-555555555555"


def check_prepare(*changes: tuple[str, object], **parts: Any) -> None:
    GRANT.check_prepare(migrating(stage.prepare(*changes, **parts).body, finish=False))


def check_finish(*changes: tuple[str, object], **parts: Any) -> None:
    GRANT.check_finish(migrating(stage.finish(*changes, **parts).body, finish=True))


def test_what_was_agreed_on_passes() -> None:
    GRANT.check_opening(opening(stage.opening().body))
    check_prepare()
    check_prepare(("bandwidth", 7), ("migrate_disks", "vda"), ("migrate_disks", "vdb"), ("parallel.connections", 2), flags=FLAGS)
    check_prepare(crumb=b"")
    check_prepare(xml=domain(uuid=stage.UUID_TEXT.upper()))
    check_finish()
    check_finish(crumb=cookie(f"<feature name='persistent'/>{domain()}<nbd/>"))


def test_an_ordinary_users_driver_is_opened_with_flags_of_its_client() -> None:
    grant = evolve(GRANT, uri="qemu:///session")
    grant.check_opening(opening(stage.opening("qemu:///session", 6).body))
    with pytest.raises(NbdtunError, match="only, and not for qemu:///session with flags 0x7"):
        grant.check_opening(opening(stage.opening("qemu:///session", 7).body))


@pytest.mark.parametrize(("name", "flags"), [("lxc:///", 0), ("qemu:///session", 0), (None, 0), ("qemu:///system", 1)])
def test_another_driver(name: str | None, flags: int) -> None:
    with pytest.raises(NbdtunError, match=r"^this connection is for qemu:///system only, and not for "):
        GRANT.check_opening(opening(stage.opening(name, flags).body))


PREPARED: list[tuple[list[tuple[str, object]], dict[str, Any], str]] = [
    ([], {"flags": 4}, "flags 0x4 of a migration do not go through the tunnel"),
    ([], {"flags": 1 << 10}, "flags 0x400 of"),
    ([], {"flags": 1 << 30}, "flags 0x40000000 of"),
    ([], {"without": "destination_xml"}, "does not say its destination_xml, so that libvirt would choose one of its own"),
    ([], {"without": "migrate_uri"}, "does not say its migrate_uri"),
    ([], {"without": "disks_uri"}, "does not say its disks_uri"),
    ([("migrate_uri", "tcp:0.0.0.0:1")], {}, f"migrate_uri is tcp:0.0.0.0:1, where {stage.MEMORY} was agreed on"),
    ([("disks_uri", "unix:///run/other")], {}, f"disks_uri is unix:///run/other, where {stage.DISKS} was"),
    ([("destination_name", "web2")], {}, "destination_name is web2, where web1 was"),
    ([("destination_name", 7)], {}, "destination_name is 7, where web1 was"),
    ([("destination_xml", 7)], {}, "the domain's XML is not a text"),
    ([("listen_address", "0.0.0.0")], {}, "the migration's listen_address does not go through the tunnel"),
    ([("disks_port", 7)], {}, "the migration's disks_port does not"),
    ([("graphics_uri", "x")], {}, "the migration's graphics_uri does not"),
    ([("persistent_xml", "x")], {}, "the migration's persistent_xml does not"),
    ([("bandwidth", 1), ("bandwidth", 2)], {}, "the migration has two of its bandwidth"),
    ([("destination_xml", domain()), ("destination_xml", domain(SHADOW))], {}, "two of its destination_xml"),
    ([], {"xml": domain(SHADOW)}, "the domain's XML names /etc/shadow, which was not agreed on"),
    ([], {"xml": domain().replace("type='qcow2'", "type='raw'")}, f"names format:raw:{stage.DISK}, which was not agreed on"),
    (
        [],
        {"xml": domain("<serial type='file'><source path='/usr/bin/qemu-system-x86_64'/></serial>")},
        "names use:devices/serial\\(type=file\\)/source@path:/usr/bin/qemu-system-x86_64, which",
    ),
    ([], {"xml": domain("<hostdev/>")}, "has <hostdev>, a device of its host"),
    ([], {"xml": domain(name="web2")}, "the domain's name is web2, where web1 was agreed on"),
    ([], {"xml": domain(name=" web1")}, "the domain's name is web1, where web1 was"),
    ([], {"xml": domain(uuid=OTHER)}, f"the domain's uuid is {OTHER}, where {stage.UUID_TEXT} was"),
    ([], {"xml": domain().replace("<title>", "<name>web2</name><title>")}, "the domain's name is web1, where web1 was"),
    ([], {"xml": domain().replace("<uuid>", "<x>").replace("</uuid>", "</x>")}, "has <x>, which nbdtun does not let through"),
    ([], {"crumb": cookie(name="web2")}, "the domain's name is web2"),
    ([], {"crumb": cookie(uuid=OTHER)}, f"the domain's uuid is {OTHER}"),
    ([], {"crumb": cookie(domain(SHADOW))}, "names /etc/shadow"),
    ([], {"crumb": cookie(f"<nbd>{domain(SHADOW)}</nbd>")}, "names /etc/shadow"),
    ([], {"crumb": cookie("<q:domain xmlns:q='http://q'/>")}, "the migration's cookie is not one of QEMU's driver"),
    ([], {"crumb": b"<domain/>\0"}, "the migration's cookie is not one of QEMU's driver"),
    ([], {"crumb": b"<\0"}, "malformed"),
]


@pytest.mark.parametrize(("changes", "parts", "why"), PREPARED)
def test_what_prepare_may_not_say(changes: list[tuple[str, object]], parts: dict[str, Any], why: str) -> None:
    with pytest.raises(NbdtunError, match=why) as refused:
        check_prepare(*changes, **parts)
    assert refused.value.line.isprintable()


def test_without_disks_there_is_no_socket_for_them() -> None:
    check_prepare(without="disks_uri", flags=3)


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"name": "web2"}, "destination_name is web2, where web1"),
        ({"crumb": cookie(domain("<hostdev/>"))}, "has <hostdev>"),
        ({"crumb": cookie(domain(name="web2"))}, "the domain's name is web2"),
    ],
)
def test_what_finish_may_not_say(parts: dict[str, Any], why: str) -> None:
    with pytest.raises(NbdtunError, match=why):
        check_finish(**parts)


def test_finish_says_of_which_domain() -> None:
    with pytest.raises(NbdtunError, match=r"^the migration's end does not say of which domain$"):
        GRANT.check_finish(migrating(stage.prepare_body() + uint(0), finish=True))


def test_what_is_foreign_is_one_short_line() -> None:
    body = uint(1) + string("x\n" * 39) + uint(7) + string("y") + uint(0) + uint(0)
    with pytest.raises(NbdtunError, match=r"^the migration's x x ") as refused:
        GRANT.check_prepare(migrating(body, finish=False))
    assert refused.value.line.isprintable()
