from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import CommandFailed, MemoryFailed, MonitorError, NotMigratable, ResumeRefused
from nbdtun.migration.rollback.undo import UndoStack
from nbdtun.migration.vm.memory import (
    CLEANING_SECONDS,
    MAPPING,
    Incoming,
    Migrated,
    Outgoing,
    Tuning,
    gather,
    require_incoming,
    spread,
    spreadable,
    stop,
)
from tests.migration.stage.paper import Sheet
from tests.migration.stage.paper_qemu import PaperQemu
from tests.migration.stage.stage import PaperIngress

RAM = PaperIngress(None, "ram", "ram")  # type: ignore[arg-type]


def qemu(**options: Any) -> PaperQemu:
    one = PaperQemu(Clock(), "web1", **options)
    Deferred.fromCoroutine(one.connect())
    return one


def do(one: PaperQemu, work: Any, seconds: float = 0.05) -> Any:
    got: list[Any] = []
    Deferred.fromCoroutine(work).addCallbacks(got.append, lambda failure: got.append(failure.value))
    for _ in range(round(seconds / 0.005)):
        one.clock.advance(0.005)
    return got[0] if got else "waits"


def test_an_answer_may_lack_anything() -> None:
    assert Migrated.of({}) == Migrated("none", 0, 0, 0, 0, "", "")
    answer = {
        "status": "active",
        "ram": {"transferred": 5, "remaining": 6},
        "error-desc": "e",
        "socket-address": [{"path": "/p"}],
        "total-time": 1500,
    }
    assert Migrated.of(answer) == Migrated("active", 5, 6, error="e", address="/p", seconds=1.5)
    assert Migrated.of({"socket-address": [{"host": "h", "port": "1"}]}).address == "a socket"


def test_what_was_set_is_put_back() -> None:
    one = qemu()
    one.capabilities["xbzrle"] = True
    undo, tuning = UndoStack(one.clock, 1), Tuning(one)
    do(one, tuning.set(undo, ("events", "xbzrle"), {"max-bandwidth": 1, "no-such": 2}))
    assert one.capabilities["events"]
    assert one.parameters["max-bandwidth"] == 1
    assert do(one, undo.unwind()) == []
    assert (one.capabilities["events"], one.capabilities["xbzrle"]) == (False, True)
    assert one.parameters["max-bandwidth"] == 128 << 20
    asked = len(one.asked)
    do(one, tuning.restore())
    assert len(one.asked) == asked


def test_what_comes_after_that_changes_nothing() -> None:
    """Of an operator, or for the guest to converge: the roll-back may be quicker."""
    one = qemu()
    undo, tuning = UndoStack(one.clock, 1), Tuning(one)
    do(one, tuning.set(undo, (), {"max-bandwidth": 1}))
    do(one, tuning.change({"max-bandwidth": 2}))
    assert one.parameters["max-bandwidth"] == 2
    do(one, undo.unwind())
    do(one, tuning.change({"max-bandwidth": 3}))
    assert one.parameters["max-bandwidth"] == 128 << 20


def test_a_second_setting_is_put_back_with_the_first() -> None:
    """``block-bitmap-mapping`` is told of only once it is set, and can only be emptied then."""
    one = qemu()
    remembered: list[tuple[dict[str, bool], dict[str, Any]]] = []

    async def remember(capabilities: Mapping[str, bool], parameters: Mapping[str, Any]) -> None:
        remembered.append((dict(capabilities), dict(parameters)))

    undo, tuning = UndoStack(one.clock, 1), Tuning(one, remember)
    do(one, tuning.set(undo, ("events",), {"max-bandwidth": 1}))
    do(one, tuning.set(undo, ("dirty-bitmaps", "events"), {"max-bandwidth": 2, MAPPING: [{"alias": "a"}]}))
    assert remembered[-1] == ({"events": False, "dirty-bitmaps": False}, {"max-bandwidth": 128 << 20, MAPPING: []})
    assert one.parameters[MAPPING] == [{"alias": "a"}]
    assert do(one, undo.unwind()) == []
    assert not any(one.capabilities.values())
    assert (one.parameters["max-bandwidth"], one.parameters[MAPPING]) == (128 << 20, [])


def test_the_memory_goes_out() -> None:
    one = qemu()
    outgoing = Outgoing(one)
    assert do(one, outgoing.start(RAM)) is None
    assert do(one, outgoing.paused(), 3) is None
    assert do(one, outgoing.proceed(5), 1) is None
    assert one.migration["status"] == "completed"
    assert do(one, outgoing.cancel()) is None
    assert "migrate_cancel" not in one.asked


@pytest.mark.parametrize("seconds", [0.02, 1.0, 3.0])
def test_it_is_cancelled(seconds: float) -> None:
    one = qemu()
    outgoing = Outgoing(one)
    do(one, outgoing.start(RAM), seconds)
    assert do(one, outgoing.cancel(), 0.2) is None
    assert one.migration["status"] == "cancelled"
    assert one.state == "running"


def test_it_is_stopped_before_its_connections_are_closed() -> None:
    one = qemu()
    do(one, stop(one))
    assert "migrate_cancel" not in one.asked
    do(one, Outgoing(one).start(RAM), 1)
    do(one, stop(one), 0.2)
    assert one.migration["status"] == "cancelled"


def test_what_sends_its_last_state_is_not_stopped() -> None:
    one = qemu()
    do(one, Outgoing(one).start(RAM), 3)
    one.migrate_continue("pre-switchover")
    do(one, stop(one))
    assert "migrate_cancel" not in one.asked


def test_a_migration_that_sends_its_last_state_is_not_disturbed() -> None:
    one = qemu()
    outgoing = Outgoing(one)
    do(one, outgoing.start(RAM), 3)
    one.migrate_continue("pre-switchover")
    assert do(one, outgoing.cancel(), 0.3) is None
    assert one.migration["status"] == "completed"
    assert "migrate_cancel" not in one.asked


def test_unless_it_does_not_end() -> None:
    one = qemu()
    outgoing = Outgoing(one)
    do(one, outgoing.start(RAM), 3)
    one._complete = lambda: None  # type: ignore[method-assign]
    one.migrate_continue("pre-switchover")
    do(one, outgoing.cancel(), 21)
    assert one.migration["status"] == "cancelled"


def test_cancelling_what_has_not_begun_is_nothing() -> None:
    one = qemu()
    assert do(one, Outgoing(one).cancel()) is None
    assert one.asked == ["query-migrate"]


def test_a_failure_has_qemus_reason() -> None:
    one = qemu()
    one.memory_error = "Connection reset by peer"
    outgoing = Outgoing(one)
    do(one, outgoing.start(RAM))
    error = do(one, outgoing.paused(), 3)
    assert isinstance(error, MemoryFailed)
    assert str(error) == "web1: the memory migration ended (failed): Connection reset by peer"


def test_a_failure_has_the_tunnels_reason_too() -> None:
    one = qemu()
    one.memory_error = "Connection reset by peer"
    outgoing, ram = Outgoing(one), PaperIngress(None, "ram", "ram")  # type: ignore[arg-type]
    do(one, outgoing.start(ram))
    ram.trouble = ResumeRefused("was its daemon started again?")
    error = do(one, outgoing.paused(), 3)
    assert str(error) == "web1: the memory migration ended (failed): Connection reset by peer; in the tunnel: was its daemon started again?"


def test_devices_that_take_too_long() -> None:
    one = qemu()
    outgoing = Outgoing(one)
    do(one, outgoing.start(RAM))
    do(one, outgoing.paused(), 3)
    one._complete = lambda: None  # type: ignore[method-assign]
    assert isinstance(do(one, outgoing.proceed(5), 6), MonitorError)


def test_what_waits_for_its_memory() -> None:
    one = qemu(state="inmigrate")
    assert do(one, require_incoming(one)) is None
    assert "stop" not in one.asked  # a look changes nothing
    assert do(one, Incoming(one).hold()) is None
    assert not one.autostart  # it does not run by itself, whatever it was started with


@pytest.mark.parametrize(
    ("state", "migration", "reason"),
    [
        ("running", {}, "QEMU is running, not waiting for a migration; start it with -S -incoming defer"),
        ("inmigrate", {"socket-address": [{"path": "/x"}]}, "QEMU has already started an incoming migration"),
        ("inmigrate", {"status": "failed"}, "QEMU has already started an incoming migration"),
    ],
)
def test_what_does_not(state: str, migration: dict[str, Any], reason: str) -> None:
    one = qemu(state=state)
    one.migration = migration
    error = do(one, require_incoming(one))
    assert isinstance(error, NotMigratable)
    assert reason in str(error)


@pytest_twisted.ensureDeferred
async def test_newer_qemus_are_made_to_tell_why() -> None:
    sheet = Sheet(Clock(), {})
    await Incoming(sheet).listen("/run/ram.sock")
    assert sheet.arguments["migrate-incoming"] == [{"uri": "unix:/run/ram.sock", "exit-on-error": False}]


@pytest_twisted.ensureDeferred
async def test_older_ones_refuse_that_and_are_asked_again() -> None:
    def answer(uri: str, exit_on_error: bool | None = None) -> Any:
        return CommandFailed("web1: Parameter 'exit-on-error' is unexpected") if exit_on_error is not None else {}

    sheet = Sheet(Clock(), {"migrate-incoming": answer})
    await Incoming(sheet).listen("/run/ram.sock")
    assert sheet.arguments["migrate-incoming"][1:] == [{"uri": "unix:/run/ram.sock"}]


@pytest_twisted.ensureDeferred
async def test_one_that_cannot_listen_is_not_asked_again() -> None:
    sheet = Sheet(Clock(), {"migrate-incoming": CommandFailed("web1: The incoming migration has already been started")})
    with pytest.raises(CommandFailed, match="already been started"):
        await Incoming(sheet).listen("/run/ram.sock")
    assert sheet.asked == ["migrate-incoming"]


def test_it_has_arrived_before_or_arrives() -> None:
    one = qemu(state="inmigrate")
    one.migrate_incoming("unix:/run/ram.sock")
    one.clock.callLater(0.5, one.arrived)
    assert do(one, Incoming(one).completed(), 1) is None
    assert do(one, Incoming(one).completed()) is None


def test_it_never_arrives() -> None:
    one = qemu(state="inmigrate")
    one.migrate_incoming("unix:/run/ram.sock")
    one.migration = {"status": "failed", "error-desc": "load of migration failed"}
    assert str(do(one, Incoming(one).completed())) == "web1: load of migration failed"


def test_a_guest_that_cannot_run() -> None:
    one = qemu(state="paused")
    one.fails["cont"] = CommandFailed("no lock")
    assert str(do(one, Incoming(one).run())) == "no lock"
    one.state = "running"
    assert do(one, Incoming(one).run()) is None


def test_several_connections_are_set_and_put_back() -> None:
    one = qemu()
    undo, tuning = UndoStack(one.clock, 1), Tuning(one)
    do(one, spread(tuning, undo, 0))
    assert not one.capabilities["multifd"]
    do(one, spread(tuning, undo, 5))
    assert (one.capabilities["multifd"], one.parameters["multifd-channels"]) == (True, 5)
    do(one, gather(one))
    assert not one.capabilities["multifd"]
    assert do(one, undo.unwind()) == []
    assert (one.capabilities["multifd"], one.parameters["multifd-channels"]) == (False, 2)
    assert do(one, spreadable(one)) is True
    del one.capabilities["multifd"]
    assert do(one, spreadable(one)) is False


def test_a_cancellation_waits_until_qemu_has_cleaned_up() -> None:
    """A `migrate` before that would be refused, and leave QEMU 7.2 in `setup` for ever."""
    one = qemu()
    one.migration, one.yankable = {"status": "failed"}, [{"type": "block-node"}, {"type": "migration"}]
    cancelled = Deferred.fromCoroutine(Outgoing(one).cancel())
    one.clock.pump([CLEANING_SECONDS] * 10)
    assert not cancelled.called
    del one.yankable[1]
    one.clock.pump([CLEANING_SECONDS] * 2)
    assert cancelled.called
    assert "migrate_cancel" not in one.asked
