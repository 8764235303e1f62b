"""The process before this one, over real sockets: what it is asked, and when it is asked no more."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from nbdtun.errors import LinkLost
from nbdtun.service.succession import earlier as earlier_module
from nbdtun.tunnel.destination.elsewhere import Passed, Share
from tests.service.succession.stage import WHO, Process, succeeded


@pytest_twisted.ensureDeferred
async def test_it_says_what_it_has(first: Process, tmp_path: Path) -> None:
    second = await succeeded(first, tmp_path / "s")
    earlier = second.keeping.earlier
    assert earlier is not None
    assert await earlier.look(b"i" * 16, "nbd", "me") == Share(True, True, 3, 2)
    assert await earlier.whose("web1", None) == (True, 2)
    assert await earlier.whose(None, "5" * 32) == (False, 2)
    assert await earlier.whose(None, "5" * 32, "1") == (True, 2)
    await second.stop()


@pytest_twisted.ensureDeferred
async def test_it_takes_what_asks_for_it(first: Process, tmp_path: Path) -> None:
    second = await succeeded(first, tmp_path / "s")
    earlier = second.keeping.earlier
    assert earlier is not None
    ours, theirs = socket.socketpair()
    await earlier.take(Passed(ours, None, WHO, b"a box"))
    (passed,) = first.keeping.passed
    assert ours.fileno() == -1
    assert (passed.caller, passed.box, passed.state) == (WHO, b"a box", None)
    passed.sock.send(b"over there")
    assert theirs.recv(100) == b"over there"
    passed.sock.close()
    await earlier.take_control(theirs, b"said", WHO)
    assert first.keeping.controls == [b"said"]
    with pytest.raises(LinkLost, match=r"192\.0\.2\.1:7: it is gone"):
        await earlier.take(Passed(socket.socket(), None, WHO, b"bad"))
    await second.stop()


@pytest_twisted.ensureDeferred
async def test_one_that_hangs_is_not_asked_for_a_while(first: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earlier_module, "LOOK_SECONDS", 0.05)
    second = await succeeded(first, tmp_path / "s")
    earlier, never = second.keeping.earlier, Deferred[Share]()

    async def hang(*_: object) -> Share:
        return await never

    monkeypatch.setattr(first.keeping, "look", hang)
    assert earlier is not None
    with pytest.raises(LinkLost, match=r"the program before this one has not answered Look for 0\.05 s"):
        await earlier.look(b"i" * 16, "nbd", "me")
    with pytest.raises(LinkLost, match="the program before this one does not answer"):
        await earlier.look(b"i" * 16, "nbd", "me")
    never.callback(Share())
    monkeypatch.undo()
    earlier._hangs_until = 0.0
    assert (await earlier.look(b"i" * 16, "nbd", "me")).channel
    await second.stop()
