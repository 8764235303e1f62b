from __future__ import annotations

import sys

import pytest

from nbdtun.daemon import dest_tap, source_tap
from tests.daemon.stage import FakeServices


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> FakeServices:
    """Stands in the place of the real services, which need files and ports."""
    fake = FakeServices()
    monkeypatch.setitem(sys.modules, "nbdtun.service", fake)
    monkeypatch.setattr("nbdtun.service", fake, raising=False)
    for tap in (source_tap, dest_tap):
        monkeypatch.setattr(tap, "settle_in", lambda reactor: None)  # the tests' own keeps its clock
        monkeypatch.setattr(tap, "make_room", lambda wanted: wanted)  # and its limit of open files
    return fake
