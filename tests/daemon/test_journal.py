"""Entries of the journal, as a socket gets them that listens in its place; integration/test_units has the real one."""

from __future__ import annotations

import io
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbdtun.daemon.journal import Journal, journal_of


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as place, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"{place}/socket")
        sock.settimeout(5)
        yield sock


def entry(listening: socket.socket, text: str, **event: Any) -> dict[str, str]:
    """What is read of an entry, by the rules of the protocol."""
    assert Journal(listening.getsockname()).send({"log_namespace": "nbdtun.test", **event}, text, 4)
    data, fields = listening.recv(1 << 16), {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(data[:8], "little")
            value, data = data[8 : 8 + length], data[9 + length :]
        fields[name.decode()] = value.decode()
    return fields


def test_what_an_event_has_stands_beside_its_message(listening: socket.socket) -> None:
    fields = entry(listening, "web1: lost", vm="web1", session="c6963ae0", code="link-lost", phase="", reason="why", peer=None)
    assert fields == {
        "MESSAGE": "web1: lost",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "nbdtun",
        "NBDTUN_SOURCE": "nbdtun.test",
        "NBDTUN_CODE": "link-lost",
        "NBDTUN_VM": "web1",
        "NBDTUN_SESSION": "c6963ae0",
    }


def test_a_traceback_is_one_entry(listening: socket.socket) -> None:
    assert entry(listening, "a bug\nPRIORITY=0\n  more", channel="nbd 7")["MESSAGE"] == "a bug\nPRIORITY=0\n  more"


def test_where_it_cannot_be_written_that_is_told(listening: socket.socket) -> None:
    assert not Journal("/nonexistent/socket").send({}, "lost", 6)
    assert not Journal(listening.getsockname()).send({}, "x" * (1 << 22), 6)  # longer than a datagram


def test_a_stream_that_leads_there_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "stream").open("w") as stream:
        found = os.fstat(stream.fileno())
        for told, there in ((f"{found.st_dev}:{found.st_ino}", True), ("8:1", False), ("", False)):
            monkeypatch.setenv("JOURNAL_STREAM", told)
            assert (journal_of(stream) is not None) is there
    monkeypatch.delenv("JOURNAL_STREAM")
    assert journal_of(stream) is None  # closed
    assert journal_of(io.StringIO()) is None
