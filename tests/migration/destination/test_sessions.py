from __future__ import annotations

import re
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred

from nbdtun.errors import DestinationFailed, MonitorError, NotMigratable, OutcomeUnknown, VersionMismatch, VMUnknown
from nbdtun.migration.control.commands import Abort, Finish, Listen, Outcome, Query, Settle
from nbdtun.migration.destination import register as module
from nbdtun.migration.destination.sessions import Sessions
from nbdtun.migration.ids import JOURNAL
from nbdtun.migration.progress import Phase
from nbdtun.migration.rollback.journal import End
from nbdtun.migration.source.session_client import SourceControl
from tests.failures import nothing_logged
from tests.migration.stage.asking import OTHER, Talk
from tests.migration.stage.left import entry
from tests.migration.stage.stage import Stage
from tests.migration.stage.talk import SESSION
from tests.tunnel.stage.stranger import box


def test_a_whole_session() -> None:
    talk = Talk()
    assert repr(talk.stage.daemon) == "<Sessions of web1, 0 sessions>"
    assert talk.prepare() == f"nbd.{SESSION}"
    assert talk.ask(Listen, bitmaps=[]) == {"target": f"ram.{SESSION}", "bitmaps": [], "connections": None}
    talk.stage.destination.arrived()
    assert talk.ask(Query, vm="web1")["state"] == "listening"
    assert talk.ask(Finish, run=True, settle=0) == {}
    assert talk.stage.destination.state == "running"
    assert talk.ask(Query, vm="web1") == {"state": "finished", "machine": "running", "reason": ""}
    assert talk.ask(Abort) == {"state": "finished"}


def test_a_source_that_asks_for_a_qemu_which_was_ended_at_the_start() -> None:
    """The daemon was killed while the memory came; the next one has ended the QEMU, and so knows what became of the VM."""
    talk = Talk()
    talk.stage.destination.objects[JOURNAL] = entry(End.DESTINATION, runs=False, began=1.0).text()
    talk.stage.destination.migration = {"status": "failed"}
    talk.stage.daemon.start()
    talk.stage.turn(1)
    assert not talk.stage.destination.alive
    assert talk.ask(Settle, vm="web1") == {"outcome": Outcome.GONE, "reason": ""}
    error = talk.ask(Settle, vm="web1", session=OTHER)
    assert "nobody listens there" in str(error)


def test_a_vm_that_it_was_not_told_of() -> None:
    error = Talk().prepare(vm="../web1")
    assert isinstance(error, VMUnknown)
    assert str(error) == "the destination has no VM '../web1'; it has web1; start `nbdtun dest` with --vm ../web1=QMP-SOCKET"


def test_a_vm_whose_socket_is_not_where_it_would_be_found() -> None:
    stage = Stage()
    daemon = Sessions(stage.clock, {}, stage.egress, places=("/run/{vm}.qmp", "/run/{vm}/qmp"))
    told = "the destination has no VM 'web1'; its QEMU there must have the QMP socket /run/{vm}.qmp or /run/{vm}/qmp"
    with pytest.raises(VMUnknown, match=re.escape(told)):
        daemon.check_open("web1")


@pytest_twisted.ensureDeferred
async def test_a_monitor_that_cannot_be_used_is_told_with_its_host() -> None:
    """The source may have a QEMU at the same path."""
    daemon = Sessions(_reactor, {"web1": "/nowhere/web1.qmp"}, Stage().egress)
    with pytest.raises(MonitorError, match=r"^web1 at the destination: /nowhere/web1\.qmp: No such file or directory; is QEMU running"):
        await daemon.monitor("web1").connect()


def test_another_version() -> None:
    assert isinstance(Talk().prepare(lowest=2, highest=3), VersionMismatch)


def test_a_check_without_its_fields_is_not_worth_a_traceback() -> None:
    talk = Talk()
    with nothing_logged():
        talk.client.transport.write(box(_command="Check", _ask="1", vm="web1"))  # type: ignore[union-attr]
        talk.stage.turn(1)
    assert talk.client.lost
    assert talk.prepare(talk.connect()) == f"nbd.{SESSION}"


def test_a_session_that_it_does_not_know() -> None:
    talk = Talk()
    questions: list[tuple[Any, dict[str, Any]]] = [(Listen, {"bitmaps": []}), (Finish, {"run": True, "settle": 0}), (Abort, {})]
    for command, arguments in questions:
        error = talk.ask(command, **arguments)
        assert isinstance(error, DestinationFailed)
        assert "does not know this session" in str(error)
    assert talk.ask(Query, vm="web1") == {"state": "unknown", "machine": "inmigrate", "reason": ""}
    assert talk.ask(Query, vm="web2") == {"state": "unknown", "machine": "unreachable", "reason": ""}


def test_a_sessions_own_reason_goes_before_that_of_a_qemu_which_has_ended() -> None:
    talk = Talk()
    talk.prepare()
    talk.ask(Listen, bitmaps=[])
    Deferred.fromCoroutine(talk.stage.daemon.end(tuple(talk.stage.daemon.register.busy.values()), "the daemon was stopped"))
    talk.stage.turn(1)
    assert not talk.stage.destination.alive  # it had begun to take the memory
    answer = talk.ask(Query, talk.connect(), vm="web1")
    assert answer == {"state": "aborted", "machine": "unreachable", "reason": "the daemon was stopped"}


def test_one_channel_begins_one_session_at_a_time() -> None:
    talk = Talk()
    talk.prepare()
    assert "already has a session" in str(talk.prepare(session=OTHER))
    talk.ask(Abort)
    assert "already exists" in str(talk.prepare())
    assert talk.prepare(session=OTHER) == f"nbd.{OTHER}"


def test_one_vm_has_one_session_while_its_source_answers() -> None:
    talk = Talk()
    talk.prepare()
    error = talk.prepare(talk.connect(), session=OTHER)
    assert isinstance(error, NotMigratable)
    assert "by another session" in str(error)


def test_a_source_that_does_not_answer_is_given_up_for_a_new_one() -> None:
    talk = Talk()
    talk.prepare()
    talk.client.deaf = True
    assert talk.prepare(talk.connect(), 6, session=OTHER) == f"nbd.{OTHER}"
    assert talk.ask(Query, vm="web1")["state"] == "aborted"


def test_the_loss_of_its_channel_undoes_a_session() -> None:
    talk = Talk()
    talk.prepare()
    talk.stage.cut()
    talk.stage.turn(1)
    assert talk.stage.leftovers() == []
    assert talk.stage.destination.alive


def test_the_end_of_the_daemon_undoes_all_sessions() -> None:
    talk = Talk()
    talk.prepare()
    stopping = Deferred.fromCoroutine(talk.stage.daemon.stop())
    talk.stage.turn(module.FAREWELL_SECONDS + 1)
    assert stopping.called
    assert talk.stage.leftovers() == []


def test_the_end_of_the_daemon_is_told_and_the_source_may_hang_up_first() -> None:
    talk = Talk()
    alarms: list[Exception] = []
    talk.client = SourceControl(talk.stage.clock, alarms.append)  # type: ignore[assignment]
    Deferred.fromCoroutine(talk.stage.control(talk.client))
    talk.prepare()
    stopping = Deferred.fromCoroutine(talk.stage.daemon.stop())
    talk.stage.turn(0.5)
    assert not stopping.called
    assert [str(alarm) for alarm in alarms] == [
        "web1: the destination's daemon was stopped; web1 stays at the source; migrate it again when the daemon runs"
    ]
    talk.stage.cut()
    talk.stage.turn(0.1)
    assert stopping.called


def test_sessions_are_remembered_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    talk = Talk()
    for number in range(10):
        talk.prepare(session=f"{number:032x}")
        talk.ask(Abort, session=f"{number:032x}")
    assert len(talk.stage.daemon.register) <= 4
    assert talk.ask(Query, session=f"{9:032x}", vm="web1")["state"] == "aborted"
    assert talk.ask(Query, session=f"{0:032x}", vm="web1")["state"] == "unknown"


def test_a_guest_that_came_to_run_after_all_has_arrived() -> None:
    talk = Talk()
    talk.prepare()
    talk.ask(Listen, bitmaps=[])
    qemu = talk.stage.destination
    qemu.arrived()
    qemu.hangs.add("cont")
    assert isinstance(talk.ask(Finish, run=True, settle=0, seconds=61), OutcomeUnknown)
    qemu.state = "running"
    assert talk.prepare(talk.connect(), session=OTHER) != f"nbd.{OTHER}"
    assert talk.ask(Settle, vm="web1") == {"outcome": "arrived", "reason": ""}
    assert not qemu.objects


def test_trouble_is_told_to_the_source_at_once() -> None:
    stage = Stage()
    migration = stage.start()
    stage.turn(60, until=Phase.MIRROR)
    stage.destination.die()
    error = stage.outcome(migration, 2)
    assert "web1 at the destination: QEMU closed its monitor" in str(error)
    assert stage.running() == ["web1"]


def test_as_many_arrive_as_may() -> None:
    talk = Talk()
    talk.stage.daemon.capacity.most = 0
    assert talk.prepare().code == "too-many-arrivals"
    talk.stage.daemon.capacity.most = 1
    assert isinstance(talk.prepare(), str)
