"""A source's commands: for the VMs that it may migrate to, and for its own session only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from nbdtun.errors import DestinationFailed, NbdtunError, NotAllowed, VMUnknown
from nbdtun.migration.bond import Party
from nbdtun.migration.check.command import Check
from nbdtun.migration.control.channel import Control
from nbdtun.migration.control.commands import MIGRATION, Abort, Finish, Listen, Prepare, Query, Settle
from nbdtun.migration.destination.control import DestinationControl
from nbdtun.migration.progress import Phase
from tests.migration.stage.machines import HARDWARE
from tests.migration.stage.stage import Stage

OWNER = Party("dns:src1", frozenset({"dns:src1"}), secure=True)
SECRET, WRONG = b"s" * 32, b"t" * 32


class Bound(Stage):
    """A stage with TLS, as far as its parties see."""

    party = OWNER

    def new_secret(self) -> bytes:
        return SECRET


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Bound:
    stage = Bound()
    monkeypatch.setattr("tests.migration.stage.stage.DestinationControl", lambda daemon: DestinationControl(daemon, stage.party))
    return stage


def ask(stage: Bound, party: Party, command: Any, **arguments: Any) -> Any:
    """The answer that ``party`` gets on a control channel of its own, or the error."""
    got: list[Any] = []
    stage.party = party

    async def asking() -> None:
        control = await Control(stage.clock).open(stage, 10)
        got.append(await control.ask(command, seconds=10, **arguments))

    Deferred.fromCoroutine(asking()).addErrback(lambda failure: got.append(failure.value))
    stage.flush()
    return got[0]


def test_another_sources_session_does_not_exist(stage: Bound) -> None:
    """Not for one that has read its id in a log."""
    running = stage.start()
    stage.turn(30, until=Phase.MIRROR)
    ident = stage.migration.session
    assert ask(stage, OWNER, Query, session=ident, secret=SECRET, vm="web1")["state"] == "prepared"
    for party, secret in ((OWNER, WRONG), (OWNER, None), (Party("dns:x", frozenset({"dns:x"}), secure=True), SECRET)):
        assert ask(stage, party, Query, session=ident, secret=secret, vm="web1")["state"] == "unknown"
        commands: tuple[tuple[Any, dict[str, Any]], ...] = ((Listen, {"bitmaps": []}), (Finish, {"run": True, "settle": 0}), (Abort, {}))
        for command, more in commands:
            error = ask(stage, party, command, session=ident, secret=secret, **more)
            assert isinstance(error, DestinationFailed)
            assert "does not know this session" in str(error)
        error = ask(stage, party, Settle, session=ident, secret=secret, vm="web1")
        assert isinstance(error, NbdtunError)
        assert "already being migrated" in str(error)
    assert stage.daemon.register.busy["web1"].session.state.value == "prepared"
    stage.party = OWNER
    running.addErrback(lambda _: None).cancel()
    stage.turn(30)


def test_a_vm_that_is_not_allowed_is_refused(stage: Bound) -> None:
    stranger = Party("dns:src1", frozenset({"dns:src1"}), {"web2"}.__contains__, secure=True)
    for command in (Query, Settle):
        error = ask(stage, stranger, command, session="0" * 32, secret=SECRET, vm="web1")
        assert isinstance(error, NotAllowed)
        assert "admits dns:src1 to this VM" in str(error)


def test_a_source_that_is_admitted_no_more_begins_nothing_over_its_channel(stage: Bound) -> None:
    former = Party("dns:src1", frozenset({"dns:src1"}), secure=True, still=lambda vm: False)
    wanted = {**MIGRATION.offer(), "vm": "web1", "hardware": HARDWARE, "disks": [], "bitmaps": [], "allowed": []}
    of_session = {"session": "0" * 32, "secret": SECRET}
    for command, about in ((Check, wanted), (Prepare, {**of_session, **wanted}), (Settle, {**of_session, "vm": "web1"})):
        error = ask(stage, former, command, **about)
        assert isinstance(error, NotAllowed)
    assert not stage.daemon.register.busy


@pytest.mark.parametrize(
    ("rights", "told"),
    [(lambda vm: True, "it has db1, web1; "), ({"web1", "web9"}.__contains__, "it has web1; "), ({"web9"}.__contains__, "")],
    ids=["all", "some", "none"],
)
def test_a_source_is_told_of_the_vms_that_it_may_migrate_to(stage: Bound, rights: Callable[[str], bool], told: str) -> None:
    stage.daemon._vms = {"db1": "/run/db1.qmp", "web1": "/run/web1.qmp"}
    party = Party("dns:src1", frozenset({"dns:src1"}), rights, secure=True)
    wanted = {**MIGRATION.offer(), "vm": "web9", "hardware": HARDWARE, "disks": [], "bitmaps": [], "allowed": []}
    answers = [
        ask(stage, party, Prepare, session="0" * 32, secret=SECRET, **wanted),
        ask(stage, party, Settle, session="0" * 32, secret=SECRET, vm="web9"),
    ]
    (finding,) = ask(stage, party, Check, **wanted)["findings"]
    answers.append(VMUnknown(finding["what"], finding["remedy"]))
    for error in answers:
        assert isinstance(error, VMUnknown)
        assert str(error) == f"the destination has no VM 'web9'; {told}start `nbdtun dest` with --vm web9=QMP-SOCKET"
