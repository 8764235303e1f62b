"""The line: TCP crosses it whole, late, at its rate, and in spite of its losses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.line import GIGABIT, Length, unable
from lab.cache import LAB

ECHO = """
import contextlib, socket, subprocess, sys, threading, time
from pathlib import Path
from bench.line import FAR, FAR_SEEN, Length, line
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
data = bytes(range(256)) * 4096
def echo(server):
    peer, _ = server.accept()
    with peer:
        peer.sendall(b"".join(iter(lambda: peer.recv(65536), b"")))
with line(Path(sys.argv[1]), Length(40, losses=int(sys.argv[2]))), socket.create_server((FAR, 0)) as server:
    echoing = threading.Thread(target=echo, args=(server,))
    echoing.start()
    begun = time.monotonic()
    with socket.create_connection((FAR_SEEN, server.getsockname()[1]), 10) as client:
        assert time.monotonic() - begun >= 0.04
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert b"".join(iter(lambda: client.recv(65536), b"")) == data
    echoing.join()
"""


@pytest.mark.skipif(bool(unable()), reason=unable())
@pytest.mark.parametrize("losses", [0, 10_000])
def test_bytes_cross_whole_and_late(tmp_path: Path, losses: int) -> None:
    """In a network of its own, since the line's device has one name."""
    words = ["unshare", "--net", sys.executable, "-c", ECHO, f"{tmp_path}", f"{losses}"]
    subprocess.run(words, check=True, cwd=LAB.parent, timeout=60)


@pytest.mark.parametrize(
    ("length", "text"),
    [(Length(50), "50 ms"), (Length(0.5), "0.5 ms"), (Length(150, 1000, "bbr"), "150 ms, 0.1 % lost, bbr")],
)
def test_a_line_is_called_by_its_length_and_losses(length: Length, text: str) -> None:
    assert f"{length}" == text


def test_a_router_keeps_half_of_what_a_long_line_holds() -> None:
    assert Length(150).queue == GIGABIT * 0.150 / 2
    assert Length(1).queue == 1_000_000
