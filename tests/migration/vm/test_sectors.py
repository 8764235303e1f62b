"""The sectors that an image is written in, as far as QEMU and the host tell."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.migration.vm import sectors as module
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.graph import Graph
from nbdtun.migration.vm.sectors import sectors
from tests.migration.stage.paper import Sheet

DIRECT, BUFFERED = {"direct": True}, {"direct": False}


def sector(*nodes: dict[str, Any]) -> int:
    """Of a chain of nodes, each above the next."""
    named = [{"node-name": f"n{number}", **node} for number, node in enumerate(nodes)]
    graph = Graph({f"n{number}": frozenset({f"n{number + 1}"}) for number in range(len(nodes) - 1)})
    got: list[tuple[int, ...]] = []
    reading = sectors(Sheet(Clock(), {"query-named-block-nodes": named}), [Disk("n0", "", "d0", 4096)], graph)
    Deferred.fromCoroutine(reading).addCallback(got.append)
    return got[0][0]


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "sector_of", lambda file, pid: {"/4k": 4096}.get(file, 1))


@pytest.mark.parametrize("driver", ["file", "host_device"])
def test_an_image_beside_the_cache_has_its_devices_sectors(driver: str) -> None:
    on = {"drv": driver, "file": "/4k"}
    assert sector({"drv": "raw"}, {**on, "cache": DIRECT}) == 4096
    assert sector({"drv": "throttle"}, {"drv": "raw"}, {**on, "cache": DIRECT}) == 4096
    assert sector({**on, "cache": DIRECT}) == 4096  # without a format above it
    assert sector({"drv": "raw"}, {**on, "cache": BUFFERED}) == 1
    assert sector({"drv": "raw"}, on) == 1


def test_a_format_of_its_own_may_end_anywhere() -> None:
    assert sector({"drv": "qcow2"}, {"drv": "file", "file": "/4k", "cache": DIRECT}) == 1


@pytest.mark.parametrize(
    ("file", "size"),
    [('json:{"driver": "blkdebug", "align": 4096}', 4096), ('json:{"align": "x"}', 1), ("json:[1]", 1), ("blkdebug::/image", 1)],
)
def test_blkdebug_may_want_larger_ones(file: str, size: int) -> None:
    assert sector({"drv": "raw"}, {"drv": "blkdebug", "file": file}, {"drv": "file", "file": "/image"}) == size
