"""The line: when a piece that enters it arrives, and that bytes cross it whole."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from bench.ends.line import AHEAD, SLACK, Way
from bench.line import line


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_piece_arrives_when_it_has_left_at_the_line_s_rate_and_crossed_it() -> None:
    clock = Clock()
    way = Way(0.05, 1000, clock)
    assert way.enter(100) == pytest.approx((100.15, 100.1 - AHEAD))
    assert way.enter(100)[0] == pytest.approx(100.25)  # behind the first
    clock.now = 200
    assert way.enter(100)[0] == pytest.approx(200.15)  # an idle line saves nothing up


def test_what_is_under_way_is_bounded_by_rate_and_length() -> None:
    assert Way(0.05, 125_000_000).most == pytest.approx(125_000_000 * (0.05 + AHEAD) + SLACK)


def test_bytes_cross_whole_and_late_and_the_end_behind_them(tmp_path: Path) -> None:
    data = bytes(range(256)) * 4096
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo() -> None:
            peer, _ = server.accept()
            with peer:
                received = b"".join(iter(lambda: peer.recv(65536), b""))
                peer.sendall(received)

        echoing = threading.Thread(target=echo)
        echoing.start()
        with line(tmp_path, server.getsockname()[1], 40) as port, socket.create_connection(("127.0.0.1", port), 10) as client:
            begun = time.monotonic()
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            assert b"".join(iter(lambda: client.recv(65536), b"")) == data
            assert time.monotonic() - begun >= 0.04
        echoing.join()
