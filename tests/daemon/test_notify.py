"""What a service manager hears: each datagram as it arrives at its socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from twisted.internet.task import Clock

from nbdtun.daemon.notify import LOOK, Manager


class Ear:
    """The socket of a service manager."""

    def __init__(self, name: str) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._sock.bind(name.replace("@", "\0"))
        self.environment = {"NOTIFY_SOCKET": name}

    def heard(self) -> list[str]:
        """What has come since the last time."""
        said = []
        while True:
            try:
                said.append(self._sock.recv(4096).decode())
            except BlockingIOError:
                return said

    def close(self) -> None:
        self._sock.close()


@pytest.fixture(params=["path", "abstract"])
def ear(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ear]:
    ear = Ear(f"{tmp_path}/notify" if request.param == "path" else f"@nbdtun-test-{os.getpid()}")
    yield ear
    ear.close()


def test_ready_and_what_it_does_only_where_that_changes(ear: Ear) -> None:
    clock, words = Clock(), ["nothing under way"]
    manager = Manager.of(ear.environment)
    manager.ready(clock, lambda: words[-1])
    assert ear.heard() == ["READY=1\nSTATUS=nothing under way"]
    clock.pump([LOOK, LOOK])
    assert ear.heard() == []
    words.append("2 VMs arriving, 1.1 GiB/s")
    clock.advance(LOOK)
    assert ear.heard() == ["STATUS=2 VMs arriving, 1.1 GiB/s"]
    manager.close()
    manager.close()
    assert not clock.getDelayedCalls()


def test_a_watchdog_hears_of_it_three_times_in_its_interval(ear: Ear) -> None:
    clock = Clock()
    manager = Manager.of({**ear.environment, "WATCHDOG_USEC": "6000000", "WATCHDOG_PID": f"{os.getpid()}"})
    manager.ready(clock, lambda: "serves")
    clock.pump([2, 2, 2])
    assert ear.heard()[1:] == ["WATCHDOG=1"] * 3


@pytest.mark.parametrize("foreign", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}])
def test_the_watchdog_of_another_process_hears_nothing(ear: Ear, foreign: dict[str, str]) -> None:
    clock = Clock()
    manager = Manager.of({**ear.environment, "WATCHDOG_USEC": "6000000", **foreign})
    manager.ready(clock, lambda: "serves")
    clock.pump([2] * 9)
    assert ear.heard() == ["READY=1\nSTATUS=serves"]


def test_a_service_that_stops_asks_for_time_until_it_is_gone(ear: Ear) -> None:
    clock = Clock()
    manager = Manager.of(ear.environment)
    manager.ready(clock, lambda: "serves")
    manager.stopping(lambda: "waits for the memory of web1")
    manager.stopping()
    clock.advance(LOOK)
    assert ear.heard()[1:] == [
        "STOPPING=1\nEXTEND_TIMEOUT_USEC=60000000\nSTATUS=waits for the memory of web1",
        "EXTEND_TIMEOUT_USEC=60000000",
    ]


def test_what_it_does_is_one_line(ear: Ear) -> None:
    """A name of a peer's choosing cannot speak to the service manager."""
    Manager.of(ear.environment).ready(Clock(), lambda: "a\nMAINPID=1")
    (said,) = ear.heard()
    assert said.count("\n") == 1


def test_words_that_fail_end_no_service(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, log = Clock(), Mock()
    monkeypatch.setattr(Manager, "log", log)
    manager = Manager.of({**ear.environment, "WATCHDOG_USEC": "6000000"})
    words = iter(["serves"])
    manager.ready(clock, words.__next__)
    clock.advance(2)
    assert ear.heard()[1:] == ["WATCHDOG=1"]
    assert log.failure.called


def test_programs_that_it_starts_cannot_speak_for_it(ear: Ear) -> None:
    environment = {**ear.environment, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
    Manager.of(environment)
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"NOTIFY_SOCKET": "/none"}])
def test_without_a_manager_that_listens_nothing_happens(environment: dict[str, str]) -> None:
    clock = Clock()
    manager = Manager.of(environment)
    manager.ready(clock, lambda: "serves")
    manager.stopping()
    manager.close()


def test_another_process_is_the_main_one_and_knows_the_same_manager(ear: Ear) -> None:
    manager = Manager.of({**ear.environment, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": f"{os.getpid()}"})
    manager.main(4822)
    assert ear.heard() == ["MAINPID=4822"]
    assert manager.environment == {**ear.environment, "WATCHDOG_USEC": "30000000"}
    assert Manager.of({}).environment == {}


def test_one_that_is_not_heard_at_first_says_it_again(ear: Ear) -> None:
    clock, manager = Clock(), Manager.of(ear.environment)
    manager.repeat()
    manager.ready(clock, lambda: "nothing under way")
    clock.advance(LOOK)
    assert ear.heard() == ["READY=1\nSTATUS=nothing under way", "STATUS=nothing under way"]
    manager.close()
