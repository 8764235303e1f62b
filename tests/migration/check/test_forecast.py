"""What can be said of any forecast, and the corners of the arithmetic."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.migration.check.forecast import MESSAGES, SWITCHING, Forecast, Load, Path, forecast

GIB = 1 << 30
rates = st.floats(1.0, 1e12)
sizes = st.integers(0, 1 << 50)
loads = st.builds(Load, sizes, sizes, st.floats(0, 1e11), st.floats(0, 1e11))
paths = st.builds(Path, rates, st.floats(0, 10), st.none() | rates, st.floats(0.001, 100))


@given(loads, paths)
def test_times_are_times(load: Load, path: Path) -> None:
    expected = forecast(load, path)
    for seconds in (expected.disks, expected.memory, expected.downtime, expected.total):
        assert seconds is None or (seconds >= 0 and math.isfinite(seconds))
    assert (expected.total is None) == (None in (expected.disks, expected.memory, expected.downtime))


@given(loads, paths)
def test_the_downtime_is_what_was_asked_for_and_what_switching_takes(load: Load, path: Path) -> None:
    downtime = forecast(load, path).downtime
    assert downtime is None or downtime <= path.downtime * (1 + 1e-9) + MESSAGES * path.round_trip + SWITCHING


@given(loads, paths)
def test_nothing_is_quicker_than_its_bytes(load: Load, path: Path) -> None:
    expected = forecast(load, path)
    if expected.disks is not None:
        assert expected.disks >= load.disks / path.for_disks() * (1 - 1e-9)
    if expected.memory is not None and load.memory:
        assert expected.memory + path.downtime >= load.memory / path.for_memory(load.writes) * (1 - 1e-9)


@given(loads, paths, st.floats(1, 1000))
def test_a_quicker_network_never_harms(load: Load, path: Path, times: float) -> None:
    slow = forecast(load, path)
    quick = forecast(load, Path(path.rate * times, path.round_trip, path.limit, path.downtime))
    if slow.disks is not None:
        assert quick.disks is not None
        assert quick.disks <= slow.disks * (1 + 1e-9)
    if slow.total is not None:
        assert quick.total is not None


@given(loads, paths)
def test_it_converges_when_the_guest_stands_still(load: Load, path: Path) -> None:
    assert forecast(Load(load.disks, load.memory), path).total is not None


@given(st.integers(1, 1 << 50), paths, st.floats(1, 100))
def test_a_guest_that_writes_faster_than_the_link_is_never_caught_up_with(disks: int, path: Path, times: float) -> None:
    assert forecast(Load(disks, 0, path.for_disks() * times), path) == Forecast(None, None, None)


def test_figures() -> None:
    # 10 GiB at 100 MiB/s; then 1 GiB, of which a half is changed while it is sent: 10.24 s, 5.12 s, ... until not more than 0.3 s are left.
    rate = GIB / 10.24
    expected = forecast(Load(10 * GIB, GIB, 0.0, rate / 2), Path(rate, 0.01))
    assert expected.disks == pytest.approx(102.4)
    assert expected.downtime == pytest.approx(10.24 / 2**6 + 3 * 0.01 + 0.1)
    assert expected.memory == pytest.approx(10.24 * (2 - 2**-5))


@pytest.mark.parametrize(
    ("load", "path", "expected"),
    [
        (Load(0, 0), Path(100.0), Forecast(0.0, 0.0, 0.1)),
        (Load(0, 20, 0.0, 1e9), Path(100.0), Forecast(0.0, 0.0, 0.2 + SWITCHING)),  # all of it fits into the downtime
        (Load(0, 1000, 0.0, 100.0), Path(100.0), Forecast(0.0, None, None)),
        (Load(0, 1000, 50.0, 49.0), Path(150.0, limit=50.0), Forecast(None, None, None)),  # the limit holds for the disks
        (Load(100, 0, 0.0, 0.0), Path(200.0, limit=50.0), Forecast(2.0, 0.0, 0.1)),
        (Load(0, 1000, 0.0, 0.0), Path(1000.0, 0.5), Forecast(0.0, 1.0, 1.6)),
    ],
)
def test_corners(load: Load, path: Path, expected: Forecast) -> None:
    assert forecast(load, path) == expected


def test_json() -> None:
    assert Forecast(1.23456, 2.0, 0.1).as_json() == {"disks": 1.235, "memory": 2.0, "downtime": 0.1, "total": 3.335}
    assert Forecast(1.0, None, None).as_json() == {"disks": 1.0, "memory": None, "downtime": None, "total": None}
