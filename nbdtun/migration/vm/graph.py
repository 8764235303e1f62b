"""
QEMU's block graph: which nodes are below a disk, and what else uses them.

QEMU facts (7.2 and 10.0): ``x-debug-query-block-graph`` lists nodes, devices and block jobs by their names, with the edges between them. A
job has edges to all nodes that it reads, writes or blocks; ``query-jobs`` and ``query-block-jobs`` do not report that. The command is not
a stable interface. Where it is missing, a disk counts as its root node alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from nbdtun.migration.qmp.monitor import Monitor


@frozen
class Graph:
    """``children`` maps the name of each node and job to the names of the nodes that it uses directly."""

    children: Mapping[str, frozenset[str]]

    def below(self, node: str) -> frozenset[str]:
        """The names of ``node`` and of all nodes below it: formats, files, backing files."""
        found: set[str] = set()
        waiting = [node]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.children.get(name, ())
        return frozenset(found)

    def root_of(self, user: str, roots: Iterable[str]) -> str | None:
        """The first of ``roots`` that the job or node ``user`` uses."""
        used = self.children.get(user, frozenset()) | {user}
        return next((root for root in roots if used & self.below(root)), None)


async def graph(monitor: Monitor) -> Graph:
    """Query QEMU for its graph."""
    if not await monitor.has("x-debug-query-block-graph"):
        return Graph({})
    answer = await monitor.execute("x-debug-query-block-graph")
    names = {node["id"]: node["name"] for node in answer["nodes"]}
    children: dict[str, set[str]] = {name: set() for name in names.values()}
    for edge in answer["edges"]:
        if edge["parent"] in names and edge["child"] in names:
            children[names[edge["parent"]]].add(names[edge["child"]])
    return Graph({name: frozenset(used) for name, used in children.items()})
