from __future__ import annotations

from attrs import evolve

from nbdtun.errors import Stalled, TimedOut
from nbdtun.migration.progress import LinkState, Phase, Progress
from nbdtun.migration.supervision.watchdog import Verdict, Watchdog
from nbdtun.migration.timeouts import DEFAULTS, OnTimeout, Timeouts

MIRROR = Progress(time=0.0, elapsed=0.0, phase=Phase.MIRROR)
HOLDING, RAM = (evolve(MIRROR, phase=phase) for phase in (Phase.HOLDING, Phase.RAM))
SWITCHOVER, FINISH = (evolve(MIRROR, phase=phase) for phase in (Phase.SWITCHOVER, Phase.FINISH))
CUT = evolve(MIRROR, link=LinkState(lost_for=1.0))


def looks(watchdog: Watchdog, progress: Progress, times: range, moved: int | None = None) -> tuple[int, Verdict] | None:
    """The first verdict and its time; bytes move all the time unless ``moved`` is their number."""
    for now in times:
        verdict = watchdog.check(float(now), progress, now if moved is None else moved)
        if verdict is not None:
            return now, verdict
    return None


def test_the_defaults_end_only_what_cannot_last() -> None:
    timeouts = Timeouts()
    assert {phase for phase in Phase if timeouts.limit(phase) is None} >= {Phase.MIRROR, Phase.RAM, Phase.FINISH}
    assert looks(Watchdog("web1", timeouts, 0), MIRROR, range(100_000)) is None
    found = looks(Watchdog("web1", timeouts, 0), SWITCHOVER, range(1000))
    assert found is not None
    assert found[0] == DEFAULTS[Phase.SWITCHOVER]
    assert looks(Watchdog("web1", timeouts, 0), FINISH, range(1000), moved=1) is None


def test_a_phase_has_its_own_clock() -> None:
    watchdog = Watchdog("web1", Timeouts(phases={Phase.MIRROR: 10.0, Phase.RAM: 10.0}), 0)
    assert looks(watchdog, MIRROR, range(9)) is None
    assert looks(watchdog, RAM, range(9, 19)) is None
    found = looks(watchdog, RAM, range(19, 30))
    assert found is not None
    assert found[0] == 19
    assert isinstance(found[1].error, TimedOut)
    assert str(found[1].error).startswith("web1: phase ram took longer than 10 s (--timeout ram=); if the guest changes faster")


def test_the_whole_has_one_too() -> None:
    watchdog = Watchdog("web1", Timeouts(total=10.0), 5)
    assert looks(watchdog, MIRROR, range(5, 12)) is None
    found = looks(watchdog, SWITCHOVER, range(12, 30))
    assert found is not None
    assert found[0] == 15
    assert str(found[1].error) == "web1: still in phase switchover after 10 s (--timeout)"


def test_what_does_not_move_is_a_stall() -> None:
    watchdog = Watchdog("web1", Timeouts(stall=10.0), 0)
    assert looks(watchdog, MIRROR, range(20)) is None
    found = looks(watchdog, MIRROR, range(20, 40), moved=19)
    assert found is not None
    assert found[0] == 29
    assert isinstance(found[1].error, Stalled)
    assert "no byte has moved for 10 s in phase mirror, though the link is up (--stall-timeout)" in str(found[1].error)


def test_while_the_link_is_lost_nothing_is_a_stall() -> None:
    watchdog = Watchdog("web1", Timeouts(stall=10.0), 0)
    assert looks(watchdog, CUT, range(1000), moved=1) is None
    found = looks(watchdog, MIRROR, range(1000, 1100), moved=1)
    assert found is not None
    assert found[0] == 1009


def test_no_limit_and_no_stall() -> None:
    watchdog = Watchdog("web1", Timeouts(phases=dict.fromkeys(DEFAULTS), stall=None), 0)
    assert looks(watchdog, SWITCHOVER, range(10_000), moved=1) is None


def test_force_pauses_once_and_then_only_a_stall_ends_it() -> None:
    watchdog = Watchdog("web1", Timeouts(total=10.0, stall=50.0, on_timeout=OnTimeout.FORCE), 0)
    found = looks(watchdog, MIRROR, range(30))
    assert found is not None
    assert (found[0], found[1].forced, watchdog.forced) == (10, True, True)
    assert looks(watchdog, RAM, range(11, 1000)) is None
    assert looks(watchdog, SWITCHOVER, range(1000, 2000)) is None
    found = looks(watchdog, SWITCHOVER, range(2000, 3000), moved=1)
    assert found is not None
    assert not found[1].forced


def test_a_hold_has_its_own_limit_and_does_not_count_for_the_whole() -> None:
    watchdog = Watchdog("web1", Timeouts(total=10.0), 0)
    assert looks(watchdog, MIRROR, range(8)) is None
    assert looks(watchdog, HOLDING, range(8, 1000), moved=1) is None
    found = looks(watchdog, RAM, range(1000, 1100))
    assert found is not None
    assert found[0] == 1002
    found = looks(Watchdog("web1", Timeouts(phases={Phase.HOLDING: 10.0}), 0), HOLDING, range(100))
    assert found is not None
    assert found[0] == 10


def test_force_waits_for_the_link() -> None:
    """QEMU would stand still until it is back, to pause the guest."""
    watchdog = Watchdog("web1", Timeouts(total=10.0, on_timeout=OnTimeout.FORCE), 0)
    assert looks(watchdog, CUT, range(100)) is None
    found = looks(watchdog, MIRROR, range(100, 200))
    assert found is not None
    assert found[0] == 100


def test_where_a_pause_does_not_help_force_cancels() -> None:
    watchdog = Watchdog("web1", Timeouts(total=10.0, on_timeout=OnTimeout.FORCE), 0)
    found = looks(watchdog, SWITCHOVER, range(30))
    assert found is not None
    assert not found[1].forced
