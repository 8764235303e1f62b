"""Connections to libvirt's own test driver, which is a libvirt within this process, and to none."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import pytest_twisted
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred

from nbdtun.errors import LibvirtError
from nbdtun.libvirt import connection
from nbdtun.libvirt.connection import NO_DOMAIN, Libvirt
from nbdtun.process import Reactor

pytest.importorskip("libvirt")

reactor = cast("Reactor", the_reactor)
TEST = "test:///default"


@asynccontextmanager
async def opened() -> AsyncIterator[Libvirt]:
    libvirt = await Libvirt(reactor, TEST).open()
    try:
        yield libvirt
    finally:
        libvirt.close()


@pytest_twisted.ensureDeferred
async def test_calls_have_a_thread_and_an_order() -> None:
    async with opened() as libvirt:
        threads: list[tuple[int, threading.Thread]] = []

        def work(number: int) -> Callable[[Any], str]:
            def run(virconnect: Any) -> str:
                threads.append((number, threading.current_thread()))
                return str(virconnect.getHostname())

            return run

        first = Deferred.fromCoroutine(libvirt.do(work(1)))
        assert await libvirt.do(work(2)) == await first
        assert [number for number, _ in threads] == [1, 2]
        assert len({thread for _, thread in threads} | {threading.main_thread()}) == 2


@pytest_twisted.ensureDeferred
async def test_a_refusal_has_libvirts_own_words(capfd: pytest.CaptureFixture[str]) -> None:
    async with opened() as libvirt:
        with pytest.raises(LibvirtError, match=r"^Domain not found$") as caught:
            await libvirt.do(lambda virconnect: virconnect.lookupByName("web1"))
        assert caught.value.number == NO_DOMAIN
    assert capfd.readouterr() == ("", "")  # libvirt writes there unless it is told not to


@pytest_twisted.ensureDeferred
async def test_a_late_call_is_given_up_and_blocks_no_other_connection() -> None:
    async with opened() as libvirt, opened() as other:
        hold = threading.Event()
        with pytest.raises(LibvirtError, match=r"^libvirt at test:///default has not answered for 0.05 s$"):
            await libvirt.do(lambda virconnect: hold.wait(), seconds=0.05)
        with pytest.raises(LibvirtError, match="still does not answer an earlier call"):
            await libvirt.do(lambda virconnect: 1)
        assert await other.do(lambda virconnect: 2) == 2
        hold.set()
        for _ in range(100):
            if not libvirt._late:
                break
            await libvirt.apart(lambda virconnect: threading.Event().wait(0.01))
        assert await libvirt.do(lambda virconnect: 3) == 3


@pytest_twisted.ensureDeferred
async def test_a_call_that_blocks_goes_on_beside_others() -> None:
    async with opened() as libvirt:
        hold = threading.Event()
        blocked = libvirt.apart(lambda virconnect: (hold.wait(), virconnect.getHostname())[1])
        name = await libvirt.do(lambda virconnect: virconnect.getHostname())
        assert not blocked.called
        hold.set()
        assert await blocked == name


@pytest_twisted.ensureDeferred
async def test_a_closed_connection_says_so() -> None:
    libvirt = await Libvirt(reactor, TEST).open()
    assert repr(libvirt) == "<Libvirt test:///default open>"
    libvirt.close()
    libvirt.close()
    assert repr(libvirt) == "<Libvirt test:///default closed>"
    with pytest.raises(LibvirtError, match="the connection to libvirt at test:///default is closed"):
        await libvirt.apart(lambda virconnect: None)


@pytest_twisted.ensureDeferred
async def test_no_daemon() -> None:
    with pytest.raises(LibvirtError) as caught:
        await Libvirt(reactor, "qemu+unix:///system?socket=/nonexistent").open()
    assert caught.value.what == (
        "libvirt at qemu+unix:///system?socket=/nonexistent: Failed to connect socket to '/nonexistent': No such file or directory"
    )
    assert caught.value.remedy.startswith("start it: systemctl start libvirtd.socket, or virtqemud.socket")


@pytest.mark.parametrize(
    ("text", "number", "remedy"),
    [
        ("Failed to connect socket to '/run/libvirt/libvirt-sock': Permission denied", 38, connection._ACCESS),
        ("authentication unavailable: no polkit agent available to authenticate action 'org.libvirt.unix.manage'", 94, connection._ACCESS),
        ("Failed to connect socket to '/run/libvirt/virtqemud-sock': Connection refused", 38, connection._START),
        ("no connection driver available for xen:///system", 5, ""),
    ],
)
def test_each_reason_has_its_remedy(text: str, number: int, remedy: str) -> None:
    assert connection._remedy(LibvirtError(text, number=number)) == remedy


def test_without_the_binding_it_is_one_line_and_nbdtun_runs() -> None:
    program = """
import sys; sys.modules["libvirt"] = None
import nbdtun.libvirt.commands
from nbdtun.errors import LibvirtError
from nbdtun.libvirt.connection import binding
try: binding()
except LibvirtError as error: print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("libvirt's binding for Python cannot be loaded: ")
    assert "pip install 'nbdtun[libvirt]'" in done.stdout
    assert len(done.stdout.splitlines()) == 1
