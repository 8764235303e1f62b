"""docs/metrics has each family that there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nbdtun.metrics import arrivals, host, tunnel
from nbdtun.metrics.departure import Departure
from nbdtun.tls.issue import make
from nbdtun.tls.store import Store
from tests.display.stage import MIRROR
from tests.metrics.stage import read, service
from tests.tunnel.conftest import make_stage, stage
from tests.tunnel.stage.stage import Stage

__all__ = ["make_stage", "stage"]

PAGE = Path(__file__).parent.parent.parent / "docs/metrics.rst"


def family(sample: str) -> str:
    return re.sub("_(bucket|sum|count)$", "", sample.partition("{")[0])


def test_each_is_there_and_no_other(stage: Stage, tmp_path: Path) -> None:
    stage.meet()
    stage.source.runtime.throttle.rate = 5000
    departure = Departure("web1")
    departure.audience.report(MIRROR)
    make(tmp_path, ["localhost"], force=False)
    told: list[Any] = [
        tunnel.of(stage.source),
        arrivals.of(service()),
        departure.progress(),
        host.of(Store.of(f"{tmp_path}"), "server-cert.pem"),
    ]
    known = {family(sample) for families in told for sample in read(families)}
    assert set(re.findall(r"``(nbdtun_[a-z_]+)(?:\{[a-z,]+\})?`` ", PAGE.read_text())) == known
