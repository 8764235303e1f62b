"""A service that cannot start ends twistd with one line; one that has done its work, with a status."""

from __future__ import annotations

import pytest
from twisted.application.service import Service
from twisted.internet.testing import MemoryReactor

from nbdtun.daemon import Daemon, leave
from nbdtun.errors import ConfigError, MirrorFailed, NbdtunError, OutcomeUnknown


class Failing(Service):
    """A service with a port that is taken."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def privilegedStartService(self) -> None:
        raise self._error


def test_it_holds_its_services() -> None:
    one, other = Service(), Service()
    daemon = Daemon("nbdtun-dest", one, other)
    daemon.privilegedStartService()
    daemon.startService()
    assert one.running
    assert other.running


def test_our_errors_are_one_line() -> None:
    with pytest.raises(SystemExit, match="nbdtun-dest: tcp:1: Permission denied"):
        Daemon("nbdtun-dest", Failing(ConfigError("tcp:1: Permission denied"))).privilegedStartService()


def test_bugs_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        Daemon("nbdtun-dest", Failing(ZeroDivisionError())).privilegedStartService()


@pytest.mark.parametrize(
    ("error", "status"), [(None, None), (MirrorFailed("vda: no space left"), 1), (OutcomeUnknown("ask the destination"), 3)]
)
def test_a_daemon_whose_work_is_done_leaves(monkeypatch: pytest.MonkeyPatch, error: NbdtunError | None, status: int | None) -> None:
    last: list[int] = []
    monkeypatch.setattr("atexit.register", lambda end, number: last.append(number))
    reactor = MemoryReactor()
    leave(reactor, error)
    assert not reactor.hasStopped  # it has not begun
    reactor.run()
    assert reactor.hasStopped
    assert last == ([] if status is None else [status])
