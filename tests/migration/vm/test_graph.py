from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.migration.vm.graph import Graph, graph
from tests.migration.stage.paper import Sheet

NAMES = {1: "filter", 2: "vda", 3: "file", 4: "base", 5: "nightly", 6: "other"}
EDGES = [(1, 2), (2, 3), (2, 4), (5, 4), (9, 1), (1, 9)]
ANSWER = {
    "nodes": [{"id": number, "name": name} for number, name in NAMES.items()],
    "edges": [{"parent": parent, "child": child} for parent, child in EDGES],
}


def read(**answers: Any) -> Graph:
    qemu = Sheet(Clock(), answers)
    qemu.more = set(answers)
    got: list[Graph] = []
    Deferred.fromCoroutine(graph(qemu)).addCallback(got.append)
    return got[0]


@pytest.fixture
def seen() -> Graph:
    return read(**{"x-debug-query-block-graph": ANSWER})


def test_what_a_disk_stands_upon(seen: Graph) -> None:
    assert seen.below("filter") == {"filter", "vda", "file", "base"}
    assert seen.below("other") == {"other"}


def test_whose_a_job_or_an_export_is(seen: Graph) -> None:
    assert seen.root_of("nightly", ["other", "filter"]) == "filter"
    assert seen.root_of("base", ["other", "filter"]) == "filter"
    assert seen.root_of("nightly", ["other"]) is None
    assert seen.root_of("gone", ["filter"]) is None


def test_without_a_graph_a_disk_is_its_root() -> None:
    seen = read()
    assert seen.below("vda") == {"vda"}
    assert seen.root_of("vda", ["vda"]) == "vda"


def test_a_graph_may_have_a_ring() -> None:
    ring = Graph({"a": frozenset({"b"}), "b": frozenset({"a"})})
    assert ring.below("a") == {"a", "b"}
