"""What `nbdtun status` prints of a migration, and of a daemon with all that it serves."""

from __future__ import annotations

from typing import Any

import pytest

from nbdtun import __version__
from nbdtun.display.reports import lines_of, sentence
from tests.cli.stage import REPORT, SENTENCE

GIB = 1 << 30
DAEMON: dict[str, Any] = {
    "kind": "daemon",
    "name": "nbdtun-dest",
    "pid": 7,
    "bandwidth": None,
    "listen": "tcp:10810",
    "state": "serving",
    "waits_for": [],
    "certificate_expires": 0,
    "channels": 0,
    "links": 0,
}
SESSION: dict[str, Any] = {
    "vm": "web1",
    "session": "c6963ae0",
    "phase": "copying disks",
    "source": "192.0.2.7:51000",
    "certificate": "cn:client",
    "disks": {"received": 12 * GIB, "total": 100 * GIB},
    "memory": {"received": 0},
}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, ""),
        ({"bandwidth": None, "downtime": 0.3}, "; no bandwidth limit, downtime 300 ms"),
        ({"bandwidth": 1 << 30, "downtime": 2.0}, "; at most 1 GiB/s, downtime 2.0 s"),
        ({"log": "/run/nbdtun/web1.log"}, "; its terminal was closed, messages go to /run/nbdtun/web1.log"),
    ],
)
def test_a_migration_is_a_sentence(more: dict[str, Any], words: str) -> None:
    assert lines_of({**REPORT, **more}) == [SENTENCE + words]


def test_one_that_does_not_answer() -> None:
    assert lines_of({"name": "web1", "error": "web1: its process has not answered"}) == ["web1: its process has not answered"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "listens on tcp:10810; no bandwidth limit; no channels"),
        ({"bandwidth": 1 << 20, "channels": 1, "links": 1}, "listens on tcp:10810; at most 1 MiB/s; 1 channel"),
        ({"channels": 5, "links": 3}, "listens on tcp:10810; no bandwidth limit; 5 channels, 2 without a link"),
        (
            {"channels": 5, "links": 3, "link_lost_for": 12.3},
            "listens on tcp:10810; no bandwidth limit; 5 channels, 2 without a link for 12 s",
        ),
        ({"uptime": 100_000.0}, "listens on tcp:10810; up 1 d 4 h; no bandwidth limit; no channels"),
        (
            {"certificate_expires": 1.8e9},
            "listens on tcp:10810; no bandwidth limit; no channels; certificate valid until 2027-01-15 08:00 UTC",
        ),
        (
            {"state": "draining", "waits_for": ["the memory of web1"]},
            "listens on tcp:10810, shutting down, waits for the memory of web1; no bandwidth limit; no channels",
        ),
        ({"state": "draining"}, "listens on tcp:10810, shutting down, waits for nothing any more; no bandwidth limit; no channels"),
    ],
)
def test_a_daemon_is_one_too(more: dict[str, Any], words: str) -> None:
    assert sentence({**DAEMON, **more}) == f"nbdtun-dest (pid 7): {words}"


def test_a_daemon_that_says_little() -> None:
    assert sentence({"name": "nbdtun-dest", "pid": 7, "bandwidth": 1 << 20}) == "nbdtun-dest (pid 7): at most 1 MiB/s"


def test_what_arrives_and_what_may() -> None:
    vms = [
        {"name": "web1", "qmp": "/run/web1.qmp", "qemu": "receiving"},
        {"name": "db1", "qmp": "/run/db1.qmp", "qemu": "inmigrate"},
        {"name": "db2", "qmp": "/run/db2.qmp", "qemu": "running"},
        {"name": "db3", "qmp": "/run/db3.qmp", "qemu": None},
    ]
    targets = [{"name": "nbd", "channels": 2}]
    assert lines_of({**DAEMON, "sessions": [SESSION], "vms": vms, "targets": targets})[1:] == [
        "  web1 arrives from 192.0.2.7:51000 (cn:client): copying disks; 12 GiB received for disks of 100 GiB (12 %)",
        "  db1: QEMU waits for it (/run/db1.qmp)",
        "  db2: QEMU is running (/run/db2.qmp)",
        "  db3: QEMU does not answer (/run/db3.qmp)",
        "  target nbd: 2 channels",
    ]


def test_workers_and_what_they_have() -> None:
    workers = [
        {"pid": 11, "ended": None, "channels": ["nbd 0011aabb"]},
        {"pid": 12, "ended": None, "channels": []},
        {"pid": 9, "ended": "killed by SIGKILL", "channels": ["nbd 77889900", "ram 00112233"]},
        {"pid": 8, "ended": "status 1", "channels": []},
    ]
    assert lines_of({**DAEMON, "workers": workers})[1:] == [
        "  worker 11: 1 channel",
        "  worker 12: no channels",
        "  worker 9 has ended (killed by SIGKILL), and with it nbd 77889900, ram 00112233",
        "  worker 8 has ended (status 1)",
    ]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"phase": "copying memory", "memory": {"received": 1 << 20}},
            "copying memory; 12 GiB received for disks of 100 GiB (12 %); 1 MiB of memory",
        ),
        ({"disks": {"received": 0, "total": None}, "phase": "preparing"}, "preparing"),
        ({"disks": {"received": 200 * GIB, "total": 100 * GIB}}, "copying disks; 200 GiB received for disks of 100 GiB (100 %)"),
    ],
)
def test_how_far_a_session_is(more: dict[str, Any], words: str) -> None:
    (line,) = lines_of({**DAEMON, "sessions": [{**SESSION, **more}]})[1:]
    assert line == f"  web1 arrives from 192.0.2.7:51000 (cn:client): {words}"


def test_a_source_that_is_not_there_just_now_or_has_no_certificate() -> None:
    (line,) = lines_of({**DAEMON, "sessions": [{**SESSION, "certificate": None}]})[1:]
    assert line.startswith("  web1 arrives from 192.0.2.7:51000: ")
    (line,) = lines_of({**DAEMON, "sessions": [{**SESSION, "source": None, "certificate": None}]})[1:]
    assert line.startswith("  web1 arrives from a source without a link: ")


def test_what_a_source_forwards() -> None:
    forwards = [{"target": "nbd", "listen": "unix:/run/in.sock", "channels": 0}]
    source = {key: value for key, value in DAEMON.items() if key != "listen"} | {"connect": "tcp:dest:10810", "forwards": forwards}
    assert lines_of(source) == [
        "nbdtun-dest (pid 7): forwards to tcp:dest:10810; no bandwidth limit; no channels",
        "  unix:/run/in.sock to target nbd: no channels",
    ]


def test_until_when_it_is_trusted_and_who_has_channels() -> None:
    certificates = {"server-cert.pem": 1.8e9, "ca-cert.pem": 1.9e9, "x-later": {"how": "many"}}
    more = {"certificate_expires": 1.8e9, "certificates": certificates, "sources": [{"source": "cn:client", "channels": 1}]}
    assert lines_of({**DAEMON, **more, "libvirt": "qemu:///system", "sessions": []}) == [
        "nbdtun-dest (pid 7): listens on tcp:10810; no bandwidth limit; no channels",
        "  valid: server-cert.pem until 2027-01-15 08:00 UTC, ca-cert.pem until 2030-03-17 17:46 UTC",
        "  VMs of libvirt's at qemu:///system",
        "  source cn:client: 1 channel",
    ]


def test_what_was_too_much() -> None:
    assert lines_of({**DAEMON, "vms": [], "left_out": ["vms"]})[1:] == ["  left out, because they are too many: vms"]


@pytest.mark.parametrize(
    "odd", [{"progress": {}}, {"progress": [7]}, {"bandwidth": "much"}, {"bandwidth": 7, "downtime": []}, {"state": "serving"}], ids=str
)
def test_one_of_another_release_is_no_reason_to_fail(odd: dict[str, Any]) -> None:
    (line,) = lines_of({"name": "web1", "pid": 7, **odd})
    assert line.startswith("web1 (pid 7): it reports what cannot be read: ")


def test_one_of_a_later_release_says_so() -> None:
    (line,) = lines_of({"name": "web1", "pid": 7, "release": "9.1", "progress": {"phase": "teleport"}})
    assert line.endswith(f"; it is nbdtun 9.1, and this command {__version__}")


def test_its_words_are_one_line() -> None:
    hostile = {"name": "web1\x1b[2J\nnbdtun: all is well", "error": "no\x07\nmore"}
    assert lines_of(hostile) == ["no? more"]
    assert lines_of({"name": hostile["name"], "pid": 7}) == ["web1?[2J nbdtun: all is well (pid 7):"]
