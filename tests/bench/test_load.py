"""fio's command line, and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.load import Load, parse, uri


def job(count: int, milliseconds: int, median: int = 133_000, p99: int = 500_000) -> dict[str, Any]:
    percentile = {"50.000000": median, "99.000000": p99}
    return {"write": {"io_bytes": count, "runtime": milliseconds, "clat_ns": {"percentile": percentile}}, "read": {}}


def test_a_load_is_fio_s_command_line() -> None:
    load = Load("read", 1.5, block="4k", depth=1, connections=2, warm_up=0.5)
    command = load.command(uri(Path("/d/in.sock")), Path("/d/fio.json"))
    assert "--uri=nbd+unix:///?socket=/d/in.sock" in command
    assert {"--rw=read", "--bs=4k", "--iodepth=1", "--numjobs=2", "--runtime=1500ms", "--ramp_time=500ms"} < set(command)


def test_one_connection() -> None:
    result = parse({"jobs": [job(2_000_000_000, 2000)]}, "write")
    assert result.mb_s == 1000
    assert (result.median_us, result.p99_us) == (133, 500)
    assert result.least_share == 1


def test_several_connections_share() -> None:
    result = parse({"jobs": [job(100_000_000, 1000), job(300_000_000, 1000), job(200_000_000, 1000)]}, "write")
    assert result.mb_s == 600
    assert result.least_share == 0.5


def test_the_longest_connection_gives_the_time() -> None:
    assert parse({"jobs": [job(100_000_000, 1000), job(100_000_000, 2000)]}, "write").mb_s == 100
