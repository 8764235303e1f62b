"""A service that cannot start ends twistd with one line."""

from __future__ import annotations

import pytest
from twisted.application.service import Service

from nbdtun.daemon import Daemon
from nbdtun.errors import ConfigError


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
