"""How a migration can end for a guest: it runs on at one end or the other, and nothing of ours is left at either."""

from __future__ import annotations

from lab.crossing import Crossing


def arrived(crossing: Crossing) -> None:
    """The guest runs on at the destination and nowhere else, with all that it ever wrote."""
    pair = crossing.pair
    pair.destination.wait_ticks(5)
    assert not pair.source.running(), pair.source.status()
    assert pair.faults() == []
    assert pair.destination.leftovers() == []
    assert crossing.leftovers() == []
    assert "Traceback" not in crossing.daemon.log()


def stayed(crossing: Crossing) -> None:
    """The guest runs on at the source as if nothing had been tried."""
    pair = crossing.pair
    assert pair.disturbance() == []
    if pair.destination.running():
        assert pair.destination.leftovers() == []
        assert pair.destination.status() == "inmigrate"
    assert "Traceback" not in crossing.daemon.log()
