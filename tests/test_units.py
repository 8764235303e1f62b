"""Sizes and durations: what operators write is read, what is printed can be read again."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nbdtun.errors import ConfigError
from nbdtun.units import (
    choice_remedy,
    duration_text,
    listed,
    milliseconds_text,
    moment_text,
    parse_count,
    parse_duration,
    parse_rate,
    parse_size,
    rate_text,
    size_text,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096B", 4096),
        ("512B", 512),
        ("64k", 65536),
        ("64K", 65536),
        ("64KiB", 65536),
        ("64 kib", 65536),
        ("64kB", 64000),
        ("500MiB", 500 * 2**20),
        ("500M", 500 * 2**20),
        ("500MB", 500_000_000),
        ("1GiB", 2**30),
        ("10G", 10 * 2**30),
        ("1.5T", 3 * 2**39),
        (" 1 TiB ", 2**40),
        ("0.1k", 102),
        ("7EiB", 7 * 2**60),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "k",
        "-1",
        "1x",
        "1 2",
        "1Gi",
        "1MMiB",
        "0x10",
        "1e6",
        "1,5G",
        "inf",
        "8EiB",
        "1G\n1",
        "٣G1",
        "1/s",
        "1bb",
        "4096",
        "64kb",
        "4b",
        "10Mbit",
    ],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


def test_rates_may_say_that_they_are_rates() -> None:
    assert parse_rate("500MiB") == parse_rate("500MiB/s") == 500 * 2**20


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("0", 0),
        ("100Mbit/s", 12_500_000),
        ("100Mbit", 12_500_000),
        ("100mbps", 12_500_000),
        ("10Gbit/s", 1_250_000_000),
        ("10Gbps", 1_250_000_000),
        ("1 Gbit/s", 125_000_000),
        ("8Kibit/s", 1024),
        ("100MB/s", 100_000_000),
        ("10 bit/s", 1),
    ],
)
def test_rates_in_bits_and_bytes(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    ("parse", "text", "told"),
    [
        (parse_rate, "100", "'100' has no unit; write 100MiB or 100Mbit/s"),
        (parse_rate, "100Mb", "'100Mb' could be bits or bytes; write 100MiB or 100Mbit/s"),
        (parse_rate, "64kb/s", "'64kb/s' could be bits or bytes; write 64KiB or 64kbit/s"),
        (parse_rate, "10GBps", "'10GBps' could be bits or bytes; write 10GiB or 10Gbit/s"),
        (parse_rate, "100Mi", "'100Mi' is not a rate such as 500MiB or 100Mbit/s; did you mean 100MiB?"),
        (parse_size, "64", "'64' has no unit; write 64MiB, 64KiB or 64B"),
        (parse_size, "64kb", "'64kb' could be bits or bytes; write 64KiB"),
        (parse_size, "16Mbytes", "'16Mbytes' is not a size such as 64KiB, 500MiB or 10G; did you mean 16MiB?"),
        (parse_duration, "300", "'300' has no unit; write 300s or 300ms"),
        (parse_duration, "5 minuts", "'5 minuts' is not a duration such as 300ms, 2s or 5min; did you mean 5minutes?"),
    ],
)
def test_a_number_without_a_clear_unit_is_refused_with_the_ways_to_write_it(parse: Callable[[str], float], text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value) == told


@given(st.text(st.sampled_from("0123456789.kKmMgGtTiIbBpPsSehnrd /"), min_size=1, max_size=10))
@example("100")
@example("1.5Gi")
@example("5 minuts")
def test_every_suggestion_can_be_used(text: str) -> None:
    for parse in (parse_rate, parse_size, parse_duration):
        try:
            parse(text)
        except ConfigError as error:
            for suggestion in re.findall(r"[0-9][^,?]*?(?=,| or |\?|$)", error.remedy):
                assert parse(suggestion) >= 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("300ms", 0.3),
        ("300msec", 0.3),
        ("300 ms", 0.3),
        ("250us", 0.00025),
        ("2s", 2.0),
        ("5min", 300.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("2d", 172800.0),
        ("1 min 30 s", 90.0),
        ("1h5min", 3900.0),
        ("10 Seconds", 10.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "-1s", "1 30", "1min30", "1x", "1e3", "inf", "nan", "1:30", "15", "0.5", "1s!", "1 s,", "99999999999"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_duration(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (16 * 2**20, "16 MiB"),
        (2**30 - 1, "1 GiB"),
        (10 * 2**30, "10 GiB"),
        (987 * 2**30, "987 GiB"),
    ],
)
def test_size_text(size: int, text: str) -> None:
    assert size_text(size) == text
    assert rate_text(size) == text + "/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.03, "30 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (4.24, "4.2 s"),
        (9.96, "10 s"),
        (42, "42 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3599.6, "1 h"),
        (7500, "2 h 5 min"),
        (86399, "1 d"),
        (100000, "1 d 4 h"),
    ],
)
def test_duration_text(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@given(st.integers(0, 7 * 2**60))
def test_a_printed_size_can_be_read_again(size: int) -> None:
    assert math.isclose(parse_size(size_text(size)), size, rel_tol=0.006)


@given(st.integers(0, 999), st.sampled_from(["B", "k", "M", "G", "T", "P"]))
def test_round_sizes_survive_exactly(number: int, prefix: str) -> None:
    size = parse_size(f"{number}{prefix}")
    assert parse_size(size_text(size)) == size


@given(st.floats(0.001, 10**8))
def test_a_printed_duration_can_be_read_again(seconds: float) -> None:
    assert math.isclose(parse_duration(duration_text(seconds)), seconds, rel_tol=0.06, abs_tol=0.0006)


@given(st.text(max_size=12))
def test_nothing_else_is_raised(text: str) -> None:
    for parse in (parse_size, parse_duration, parse_rate):
        try:
            assert parse(text) >= 0
        except ConfigError as error:
            assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize(("text", "count"), [("1", 1), (" 1024 ", 1024), ("1000000", 10**6)])
def test_counts(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1k", "1000001", "9" * 5000, "٣"])
def test_no_counts(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a number from 1 to 1000000"):
        parse_count(text)


@pytest.mark.parametrize(("seconds", "text"), [(0.00034, "0.34 ms"), (0.0021, "2.1 ms"), (0.05, "50 ms"), (2.0, "2.0 s")])
def test_short_times(seconds: float, text: str) -> None:
    assert milliseconds_text(seconds) == text


@pytest.mark.parametrize(
    ("given", "remedy"),
    [("autoconverge", "did you mean auto-converge?"), ("Downtime", "did you mean downtime?"), ("x", "use one of auto-converge, downtime")],
)
def test_the_nearest_choice(given: str, remedy: str) -> None:
    assert choice_remedy(given, ["auto-converge", "downtime"]) == remedy


@pytest.mark.parametrize(
    ("number", "most", "line"),
    [(0, 4, ""), (4, 4, "0, 1, 2, 3"), (5, 4, "0, 1, 2, 3 and 1 more"), (16, 16, ", ".join(map(str, range(16))))],
)
def test_a_line_has_an_end(number: int, most: int, line: str) -> None:
    assert listed(map(str, range(number)), most) == line


def test_a_moment_has_its_date_where_it_needs_one() -> None:
    now = datetime(2026, 12, 23, 22, 30).timestamp()
    assert moment_text(datetime(2026, 12, 24, 2, 0).timestamp(), now) == "02:00"
    assert moment_text(datetime(2026, 12, 24, 2, 0, 7).timestamp(), now) == "02:00:07"
    assert moment_text(datetime(2026, 12, 25, 2, 0).timestamp(), now) == "2026-12-25 02:00"
    assert moment_text(datetime(2026, 12, 23, 22, 0).timestamp(), now) == "2026-12-23 22:00"
