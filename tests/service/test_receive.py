"""A receiver, in this process: what its near ends ask of it, and when it ends."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from nbdtun.errors import NotMigratable, ReachError, TLSError
from nbdtun.migration.destination.life import State
from nbdtun.ownership.reach import reach
from nbdtun.process import adopt, quiet_factory
from nbdtun.reach.commands import Keep, Look, Make, Remove
from nbdtun.reach.greeting import Calling, far_proof, link
from nbdtun.reach.relay import door_path
from nbdtun.service import receive as module
from nbdtun.service.control.client import reports
from nbdtun.service.local.outcomes import Outcomes
from nbdtun.spawn.far.earlier import Earlier
from nbdtun.tls.throwaway import Identity
from tests.service.receiving import SESSION, Scene, dialer, ends


@pytest_twisted.async_yield_fixture
async def scene(base: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(module, "LOOK", 0.02)
    one = Scene(base)
    await one.begin()
    yield one
    if not one.over.called:
        one.receiver._over.callback(None)
    await one.over
    assert not door_path(base, "web1").parent.exists()
    assert [path.name for path in base.iterdir() if path.name.startswith("nbdtun-")] == []


@pytest_twisted.ensureDeferred
async def test_it_listens_for_the_source_that_asked_and_for_no_other(scene: Scene) -> None:
    answer = await scene.near.receive()
    await dialer(scene.near, answer).probe()
    with pytest.raises(TLSError):
        await dialer(scene.near, answer, Identity.make()).probe()
    assert answer["waits"] is False


@pytest_twisted.ensureDeferred
async def test_it_has_a_status(scene: Scene) -> None:
    await scene.near.receive()
    while not (found := await reports(reactor, scene.base)):  # its socket is there soon
        await deferLater(reactor, 0.02)
    (report,) = found
    assert report["name"] == "nbdtun-receive"
    assert [vm["name"] for vm in report["vms"]] == ["web1"]


@pytest_twisted.ensureDeferred
async def test_it_ends_when_its_work_is_done(scene: Scene) -> None:
    await scene.near.receive()
    await scene.near.leave()
    await scene.over
    assert scene.receiver.done
    assert scene.maker.asked == ["remove"]


@pytest_twisted.ensureDeferred
async def test_one_that_has_just_come_keeps_it(scene: Scene) -> None:
    await scene.near.receive()
    next_one = await scene.join()
    await scene.near.leave()
    await deferLater(reactor, 0.1)
    await next_one.receive()
    await next_one.leave()
    await scene.over


@pytest_twisted.ensureDeferred
async def test_it_ends_when_nobody_comes_back(scene: Scene) -> None:
    await scene.near.receive(resume_window=100)
    scene.near.talk.hang_up()
    await scene.over
    assert not scene.receiver.done


@pytest_twisted.ensureDeferred
async def test_it_waits_for_who_does_come_back(scene: Scene) -> None:
    await scene.near.receive(resume_window=30_000)
    scene.near.talk.hang_up()
    back = await scene.join()
    back.identity = scene.near.identity
    await back.leave()
    await scene.over
    assert scene.receiver.done


@pytest_twisted.ensureDeferred
async def test_another_near_end_disturbs_nobody(scene: Scene) -> None:
    first = await scene.near.receive()
    checking = await scene.join()
    second = await checking.receive()
    assert second["port"] == first["port"]
    await dialer(checking, second).probe()
    await checking.leave(settled=False)
    with pytest.raises(TLSError):
        await dialer(checking, second).probe()
    await dialer(scene.near, first).probe()
    assert not scene.over.called


@pytest_twisted.ensureDeferred
async def test_after_the_last_source_has_left_its_certificate_opens_nothing(scene: Scene) -> None:
    """The receiver is there as long as a near end is connected, such as one that is about to ask."""
    answer = await scene.near.receive()
    await dialer(scene.near, answer).probe()
    waiting = await scene.join()
    await scene.near.leave()
    with pytest.raises(TLSError):
        await dialer(scene.near, answer).probe()
    again = await waiting.receive()
    await dialer(waiting, again).probe()
    with pytest.raises(TLSError):
        await dialer(scene.near, again).probe()


@pytest_twisted.ensureDeferred
async def test_a_port_of_the_range(scene: Scene) -> None:
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ReachError, match=rf"no port of {port}-{port} is free there; give another --port-range"):
            await scene.near.receive(ports=f"{port}-{port}")
    assert (await scene.near.receive(ports=f"{port}-{port}"))["port"] == port


@pytest_twisted.ensureDeferred
async def test_a_certificate_that_is_none(scene: Scene) -> None:
    with pytest.raises(TLSError):
        await scene.near.receive(certificate=b"nonsense")
    await scene.near.receive()


@pytest_twisted.ensureDeferred
async def test_the_destination_is_made(scene: Scene) -> None:
    await scene.near.receive()
    ask = scene.near.talk.ask
    assert await ask(Look, seconds=5, wanted={"a": 1}) == {"found": {"free": 7}}
    with pytest.raises(NotMigratable, match="no such machine"):
        await ask(Make, seconds=5, plan={"bad": True})
    assert await ask(Make, seconds=5, plan={"b": 2}) == {"qmp": "/run/made.qmp"}
    assert scene.receiver._vms == {"web1": "/run/made.qmp"}
    await ask(Keep, seconds=5)
    await ask(Remove, seconds=5)
    assert scene.maker.asked == [{"a": 1}, {"b": 2}, "keep", "remove"]


@pytest_twisted.ensureDeferred
async def test_without_a_maker_there_is_a_remedy(scene: Scene) -> None:
    scene.receiver._maker = None
    with pytest.raises(ReachError, match="nothing is made there, as `nbdtun receive` says; leave --incoming and --libvirt out there"):
        await scene.near.talk.ask(Make, seconds=5, plan={})


@pytest.mark.parametrize(
    ("state", "then"), [(State.ABORTED, "remove"), (State.FINISHING, "keep"), (State.FINISHED, "keep"), (State.UNCERTAIN, "keep")]
)
@pytest_twisted.ensureDeferred
async def test_what_a_guest_has_run_on_is_never_removed(scene: Scene, state: State, then: str) -> None:
    await scene.near.receive()
    ends(scene, state)
    await scene.near.talk.ask(Remove, seconds=5)
    assert set(scene.maker.asked) == {then}
    await scene.near.leave()
    await scene.over
    assert set(scene.maker.asked) == {then}


@pytest_twisted.ensureDeferred
async def test_a_later_session_that_fails_does_not_remove_what_a_guest_has(scene: Scene) -> None:
    await scene.near.receive()
    ends(scene, State.FINISHED)
    await deferLater(reactor, 0.1)
    ends(scene, State.ABORTED, "b" * 32)
    await scene.near.leave()
    await scene.over
    assert scene.maker.asked == ["keep", "remove"]  # of what was made since


@pytest.mark.parametrize("state", [State.FINISHED, State.UNCERTAIN])
@pytest_twisted.ensureDeferred
async def test_a_second_attempt_that_fails_forgets_no_outcome(scene: Scene, state: State) -> None:
    await scene.near.receive()
    ends(scene, state)
    await deferLater(reactor, 0.1)
    await scene.near.leave(settled=False)
    await scene.over
    assert Outcomes(scene.base / "state").recall("web1", SESSION) is state


@pytest_twisted.ensureDeferred
async def test_an_attempt_that_never_ran_leaves_no_outcome(scene: Scene) -> None:
    await scene.near.receive()
    ends(scene, State.ABORTED)
    await deferLater(reactor, 0.1)
    await scene.near.leave(settled=False)
    await scene.over
    assert not (scene.base / "state").exists()


@pytest_twisted.ensureDeferred
async def test_an_outcome_is_kept_until_its_source_knows_it(scene: Scene) -> None:
    await scene.near.receive()
    ends(scene, State.FINISHED)
    await deferLater(reactor, 0.1)
    outcomes = Outcomes(scene.base / "state")
    assert outcomes.recall("web1", SESSION) is State.FINISHED
    assert scene.receiver._destination is not None
    assert scene.receiver._destination.sessions.recall("web1", SESSION) is State.FINISHED
    await scene.near.leave()
    await scene.over
    assert outcomes.recall("web1", SESSION) is None


@pytest_twisted.ensureDeferred
async def test_a_link_through_ssh_needs_no_tls(scene: Scene) -> None:
    answer = await scene.near.receive()
    assert scene.receiver.secrets() == [answer["secret"]]
    calling = Calling(link(answer["secret"]))
    sock = reach(f"{door_path(scene.base, 'web1')}")
    with sock, contextlib.suppress(BlockingIOError):
        adopt(reactor, sock, quiet_factory(lambda: calling))
    (await calling.met).check(far_proof(answer["secret"]))
    destination = scene.receiver._destination
    assert destination is not None
    assert len(destination.tunnel.admission) == 1
    transport: Any = calling.transport
    transport.abortConnection()


@pytest_twisted.ensureDeferred
async def test_what_was_made_for_a_killed_one_is_asked_and_not_moved_to(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look() -> tuple[str, str]:
        return "/there/vm.qmp", SESSION

    scene.receiver._earlier = cast("Earlier", SimpleNamespace(look=look))
    monkeypatch.setattr(module, "is_served", lambda path: path == "/there/vm.qmp")
    for _ in range(2):
        assert (await scene.near.receive())["waits"] is False
    assert scene.receiver._vms == {"web1": "/there/vm.qmp"}
    assert Outcomes(scene.base / "state").recall("web1", SESSION) is State.ABORTED
    await scene.near.talk.ask(Make, seconds=5, plan={})
    assert scene.receiver._vms == {"web1": "/run/made.qmp"}
    assert (await scene.near.receive(qmp="/there/vm.qmp"))["waits"] is True


@pytest_twisted.ensureDeferred
async def test_what_a_killed_one_has_made_is_removed_on_request(scene: Scene) -> None:
    async def clear() -> None:
        scene.maker.asked.append("clear")

    scene.receiver._earlier = cast("Earlier", SimpleNamespace(clear=clear))
    await scene.near.talk.ask(Remove, seconds=5)
    assert scene.maker.asked == ["remove", "clear"]


@pytest_twisted.ensureDeferred
async def test_the_qemu_of_an_outcome_is_asked_and_not_moved_to(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest runs there; both ends were killed before the source knew."""
    settled: list[str] = []

    async def look() -> tuple[str, str]:
        return "", ""

    async def settle() -> None:
        settled.append("settled")

    scene.receiver._earlier = cast("Earlier", SimpleNamespace(look=look, settle=settle))
    Outcomes(scene.base / "state").note("web1", SESSION, State.FINISHED, "/there/vm.qmp")
    monkeypatch.setattr(module, "is_served", lambda path: path == "/there/vm.qmp")
    assert (await scene.near.receive())["waits"] is False
    assert scene.receiver._vms == {"web1": "/there/vm.qmp"}
    await scene.near.leave()
    await scene.over
    assert (settled, Outcomes(scene.base / "state").monitor("web1")) == (["settled"], "")


@pytest_twisted.ensureDeferred
async def test_a_socket_that_it_may_not_open(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_forbidden", lambda path: path == "/run/q")
    with pytest.raises(ReachError, match=r"/run/q: .* may not open QEMU's socket there; run the far end as root: by ssh, with --remote"):
        await scene.near.receive(qmp="/run/q")
    await scene.near.receive()
    await scene.near.leave()
