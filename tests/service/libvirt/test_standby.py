"""The standby as a process: it is dismissed, or it takes over what its starter leaves."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lab.daemon import free_port
from nbdtun.config import TunnelSettings
from nbdtun.config.libvirt import DomainSettings
from nbdtun.config.settings import Dialling
from nbdtun.errors import ConfigError, MigrationError
from nbdtun.libvirt.near.pending import STAYED, Pending, pending
from nbdtun.libvirt.near.way import Ward
from nbdtun.libvirt.rpc.keepalive import ANSWER
from nbdtun.libvirt.rpc.messages import Kind, Message
from nbdtun.libvirt.rpc.procedures import KEEPALIVE, PING, VERSION
from nbdtun.migration.settings import MigrationSettings, StepTimeouts
from nbdtun.service.libvirt import standby as module
from nbdtun.service.libvirt.standby import Standby, Will
from nbdtun.service.local.outcomes import state_dir
from nbdtun.tls.throwaway import Identity
from nbdtun.tls.trust import Pinned
from tests.libvirt.rpc.stage import UUID_TEXT, finish

WARD = Ward("0123456789abcdef" * 2, b"secret", "web1", UUID_TEXT)
CALL = Message(KEEPALIVE, VERSION, PING, Kind.MESSAGE).encode()


def will(base: Path) -> Will:
    """Nobody listens at the destination."""
    tunnel = TunnelSettings(run_dir=str(base), resume_window=1.0)
    settings = DomainSettings(connect=f"127.0.0.1:{free_port()}", tunnel=tunnel, migration=MigrationSettings(vm="web1"))
    return Will.of(settings, settings.migration.steps, WARD)


@pytest.fixture
def libvirtd() -> Iterator[tuple[socket.socket, int]]:
    """libvirt's end of its connection, and the descriptor of ours."""
    near, far = socket.socketpair()
    near.settimeout(20)
    with near, far:
        yield near, far.detach()


def process_of(base: Path) -> int:
    """The standby, by its record."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        left = pending(state_dir(str(base)), UUID_TEXT).read()
        if left is not None and left.is_held:
            return left.pid
        time.sleep(0.05)
    raise TimeoutError("no standby")


def test_a_will_can_be_written_down(base: Path) -> None:
    one = will(base)
    assert pickle.loads(pickle.dumps(one)) == one


def test_so_can_certificates_that_only_the_process_had(base: Path) -> None:
    """The code that has led to them is used up."""
    here, there = Identity.make("here"), Identity.make("there")
    tunnel = TunnelSettings(run_dir=str(base), trust=Pinned(partial(here.asking, there.certificate)), tls_name="there")
    one = Will.of(Dialling(tunnel=tunnel, connect="dest.example.org:10810"), StepTimeouts(), WARD)
    again: Will = pickle.loads(pickle.dumps(one))
    assert again.dialling.tunnel.trust is not None
    assert again.dialling.tunnel.trust.context().cert_store_stats()["x509"] == 1
    assert again.dialling.peer_name == "there"


def test_it_is_dismissed(base: Path, libvirtd: tuple[socket.socket, int]) -> None:
    near, ours = libvirtd
    standby = Standby(will(base))
    standby.hold(finish(), ours)
    os.close(ours)
    standby.dismiss()
    standby.dismiss()
    assert near.recv(1) == b""
    with pytest.raises(MigrationError, match="has ended, so that nothing is handed over"):
        standby.hold(finish(), 0)


def test_libvirt_waits_for_it_until_somebody_decides(base: Path, libvirtd: tuple[socket.socket, int]) -> None:
    near, ours = libvirtd
    kept = pending(state_dir(str(base)), UUID_TEXT)
    kept.write(Pending(UUID_TEXT, "web1", WARD.session))
    standby = Standby(will(base))
    standby.hold(finish(), ours)
    os.close(ours)
    standby.leave()
    process = process_of(base)
    near.send(CALL)
    assert near.recv(100) == ANSWER.encode()
    os.kill(process, signal.SIGINT)  # a terminal's
    near.send(CALL)
    assert near.recv(100) == ANSWER.encode()
    os.kill(process, signal.SIGTERM)
    assert near.recv(100) == b""
    end = time.monotonic() + 20
    while (left := kept.read()) is None or not left.ended:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert left.ended == STAYED


def test_one_that_cannot_be_started(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ConfigError, match="web1: the process beside it cannot be started"):
        Standby(will(base))
    monkeypatch.setattr(module, "_LEAVE", "raise SystemExit(1)\n")
    with pytest.raises(ConfigError):
        Standby(will(base))


def test_no_pipe_is_kept_open() -> None:
    """Who reads the errors of a command would wait for their end."""
    program = "from nbdtun.service.libvirt.standby import _errors; import sys; sys.exit(0 if _errors() is not None else 1)"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, stderr=subprocess.PIPE, check=False).returncode == 0
    assert subprocess.run(command, stderr=None, check=False).returncode in (0, 1)
