from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from nbdtun.migration.rollback.presence import Presence


@pytest.fixture(autouse=True)
def kill(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """All who are at work on paper are dead from now on, as far as others can tell; also when a test ends."""
    held: list[Presence] = []
    hold = Presence.acquire

    def watched(presence: Presence) -> bool:
        held.append(presence)
        return hold(presence)

    def dead() -> None:
        for presence in held:
            presence.release()

    monkeypatch.setattr(Presence, "acquire", watched)
    yield dead
    dead()
