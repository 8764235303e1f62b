from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from nbdtun.migration.presence import Presence


@pytest.fixture(autouse=True)
def kill(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """All who are at work on paper are dead from now on, as far as others can tell; also when a test ends."""
    held: list[Presence] = []
    hold = Presence.hold

    def watched(presence: Presence) -> bool:
        """A name is the whole machine's, and so is the one session of all these tests, which two workers run at a time."""
        held.append(presence)
        name = presence.name
        if name != "nbdtun-test-presence":
            presence.name = f"{name} {os.getpid()}"
        try:
            return hold(presence)
        finally:
            presence.name = name

    def dead() -> None:
        for presence in held:
            presence.leave()

    monkeypatch.setattr(Presence, "hold", watched)
    yield dead
    dead()
