"""A source that is killed where ssh or a code has led it; `libvirt_matrix` has the kills where a daemon listens."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from lab.cache import CACHE
from lab.daemon import free_port
from lab.disks import MIB
from lab.libvirt import SPARE
from lab.libvirt_way import PATIENT, Way
from lab.process import wait
from lab.sshd import Sshd

SOON = 50
"""Seconds in which the far end has heard of it: by itself it would wait for the resume window, a minute."""


@pytest.mark.slow
@pytest.mark.parametrize("by", ["ssh", "code"])
def test_the_far_end_hears_of_it(ways: Callable[..., Way], by: str) -> None:
    way = ways()
    here, there = way.ends
    with ExitStack() as stack:
        if by == "ssh":
            sshd = stack.enter_context(Sshd(way.directory, host=there))
            attempt = way.migrate("--bandwidth", "4M", to=["--to", sshd.to], env=sshd.environment)
        else:
            address = f"127.0.0.1:{free_port()}"
            words = ["web1", "--libvirt", "--listen", address, "--admit", f"{SPARE}", "--admit", f"{CACHE}"]
            receiver = stack.enter_context(way.command(there, "receive", *words))
            wait(lambda: "the code is " in receiver.log(), PATIENT, "the code", receiver)
            code = receiver.log().partition("the code is ")[2].partition(",")[0]
            attempt = way.migrate("--bandwidth", "4M", "--code", code, to=["--to", address])
        stack.enter_context(attempt)
        attempt.wait_copied(4 * MIB, PATIENT)
        attempt.signal(signal.SIGKILL)
        attempt.wait_exit(PATIENT)
        wait(lambda: there.virsh("list", "--all", "--name") == "" and not way.left(there), SOON, "a clean destination")
        way.domain.wait_ticks(here, 3, PATIENT)
    with way.migrate() as again:
        assert again.wait_exit(PATIENT) == 0, again.log()
    way.arrived(there)
