"""Two hosts of libvirt for each test, with a daemon and a cable each."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab import libvirt
from lab.guest import Guest
from lab.libvirt_way import Way, two_hosts


@pytest.fixture(scope="module", autouse=True)
def _libvirt() -> None:
    if reason := libvirt.unable():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def bridge() -> Iterator[str]:
    """A bridge, which both hosts have, since they share the network."""
    name = f"nbt{os.getpid()}"[:15]
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    yield name
    subprocess.run(["ip", "link", "del", name], check=True)


@pytest.fixture
def ways(directory: Path, tls: Path, guest: Guest, bridge: str) -> Iterator[Callable[..., Way]]:
    with ExitStack() as stack:
        yield lambda *options, **named: stack.enter_context(two_hosts(directory, tls, guest, bridge, *options, **named))
