"""A firewall that rejects what goes over the network, in a network of the test's own: it is no end of the destination's daemon."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.disks import MIB
from lab.libvirt_way import PATIENT, Way

CLONE_NEWNET = 0x40000000
AWAY = 25
"""Seconds: longer than a silent link lasts, and connections of a daemon that has ended are refused."""
LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def network() -> Iterator[None]:
    """Of this process and all that it starts."""
    if shutil.which("iptables") is None:
        pytest.skip("iptables is not installed")
    with Path("/proc/thread-self/ns/net").open() as before:
        if LIBC.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            assert LIBC.setns(before.fileno(), CLONE_NEWNET) == 0


@pytest.fixture
def bridge(network: None) -> str:
    """None: sysfs would not show it."""
    return ""


@contextmanager
def rejected(port: int, how: str) -> Iterator[None]:
    """Whatever goes to the port is rejected, also over connections that are there."""
    rule = ["INPUT", "-p", "tcp", "--dport", f"{port}", "-j", "REJECT", "--reject-with", how]
    subprocess.run(["iptables", "-I", *rule], check=True)
    yield
    subprocess.run(["iptables", "-D", *rule], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["icmp-port-unreachable", "tcp-reset"])
def test_it_is_waited_for(ways: Callable[..., Way], how: str) -> None:
    way = ways()
    there = way.ends[1]
    cable = way.cables[there.name]
    cable.slow(3 * MIB)
    with way.migrate() as attempt:
        attempt.wait_copied(4 * MIB, PATIENT)
        with rejected(cable.port, how):
            time.sleep(AWAY)
            assert attempt.running(), attempt.log()
        cable.slow(100 * MIB)
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
        assert attempt.last["link"]["outages"] == 1
    way.arrived(there)
