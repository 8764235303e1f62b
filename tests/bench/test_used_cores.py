"""The cores that a tunnel has used, of the looks at it while it was under load."""

from __future__ import annotations

import pytest

from bench.measures.cores import between


def test_what_counts_is_between_the_warm_up_and_the_end() -> None:
    """Half a core at first, a quarter after two seconds; the last look may be later than the load's end."""
    used = [(10.0, 3.0), (11.0, 3.5), (12.0, 4.0), (13.0, 4.25), (14.0, 4.5), (15.0, 4.5)]
    assert between(used, 2.0) == pytest.approx(0.25)
