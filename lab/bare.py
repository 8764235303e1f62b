"""A live migration by QMP alone, without the product: the baseline.

It shows that the lab works, and is what the benchmark measures against. A relay
may stand between `listen` and `dial`; by default they are the same socket.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lab.process import wait
from lab.qemu import Drive, Qemu


@dataclass(frozen=True)
class Moved:
    """How long a migration took."""

    mirror: float
    """Seconds until all disks were ready."""
    total: float
    downtime_ms: int


class Way(Protocol):
    """One kind of stream: where QEMU listens, and where QEMU dials."""

    @property
    def server(self) -> dict[str, Any]:
        """Where QEMU's NBD server listens, as QMP has it."""

    @property
    def client(self) -> dict[str, Any]:
        """Where QEMU's NBD client dials."""

    @property
    def incoming(self) -> str:
        """Where memory is awaited."""

    @property
    def outgoing(self) -> str:
        """Where it is sent to."""


@dataclass(frozen=True)
class UnixWay:
    """By UNIX sockets."""

    listen: Path
    dial: Path

    @property
    def server(self) -> dict[str, Any]:
        return {"type": "unix", "data": {"path": f"{self.listen}"}}

    @property
    def client(self) -> dict[str, Any]:
        return {"type": "unix", "path": f"{self.dial}"}

    @property
    def incoming(self) -> str:
        return f"unix:{self.listen}"

    @property
    def outgoing(self) -> str:
        return f"unix:{self.dial}"


@dataclass(frozen=True)
class TcpWay:
    """By a TCP port, whose host may have another address at each end."""

    listen: str
    dial: str
    port: int

    @property
    def server(self) -> dict[str, Any]:
        return {"type": "inet", "data": {"host": self.listen, "port": f"{self.port}"}}

    @property
    def client(self) -> dict[str, Any]:
        return {"type": "inet", "host": self.dial, "port": f"{self.port}"}

    @property
    def incoming(self) -> str:
        return f"tcp:{self.listen}:{self.port}"

    @property
    def outgoing(self) -> str:
        return f"tcp:{self.dial}:{self.port}"


def ways(directory: Path) -> tuple[UnixWay, UnixWay]:
    """The direct ways for NBD and RAM: the sockets of the destination's QEMU itself."""
    nbd, ram = directory / "nbd.sock", directory / "ram.sock"
    return UnixWay(nbd, nbd), UnixWay(ram, ram)


def migrate(source: Qemu, destination: Qemu, nbd: Way, ram: Way, *, blocking: bool = False, limit_ms: int = 300) -> Moved:
    """Move all writable disks and the memory, in libvirt's order; the source stays paused.

    `blocking` writes wait for the copy; `limit_ms` is the downtime that QEMU aims for.
    """
    drives = [drive for drive in source.drives if not drive.read_only]
    begun = time.monotonic()
    _prepare(destination, drives, nbd, ram)
    for drive in drives:
        _mirror(source, drive, nbd, blocking)
    for drive in drives:
        source.qmp.wait_event("BLOCK_JOB_READY", 300, device=f"mirror-{drive.name}")
    ready = time.monotonic()
    _send_memory(source, ram, limit_ms)
    _end_mirrors(source, drives)
    source.qmp("migrate-continue", state="pre-switchover")
    wait(lambda: _migration(source) == "completed", 60, "the source's completion", source)
    wait(lambda: _migration(destination) == "completed", 60, "the memory's arrival", destination)
    destination.qmp("nbd-server-stop")
    destination.qmp("cont")
    downtime: int = source.qmp("query-migrate")["downtime"]
    return Moved(ready - begun, time.monotonic() - begun, downtime)


def _prepare(destination: Qemu, drives: list[Drive], nbd: Way, ram: Way) -> None:
    qmp = destination.qmp
    qmp("nbd-server-start", addr=nbd.server)
    for drive in drives:
        node = _node(destination, drive)
        qmp("block-export-add", type="nbd", id=drive.name, node_name=node, name=drive.name, writable=True)
    _capabilities(destination, "events", "late-block-activate")
    qmp("migrate-incoming", uri=ram.incoming)


def _mirror(source: Qemu, drive: Drive, nbd: Way, blocking: bool) -> None:
    name = f"nbd-{drive.name}"
    common = {"detect-zeroes": "unmap", "discard": "unmap"}
    source.qmp("blockdev-add", driver="nbd", node_name=name, server=nbd.client, export=drive.name, **common)
    source.qmp(
        "blockdev-mirror",
        job_id=f"mirror-{drive.name}",
        device=_node(source, drive),
        target=name,
        sync="full",
        copy_mode="write-blocking" if blocking else "background",
    )


def _send_memory(source: Qemu, ram: Way, limit_ms: int) -> None:
    _capabilities(source, "events", "pause-before-switchover")
    source.qmp("migrate-set-parameters", max_bandwidth=1 << 34, downtime_limit=limit_ms)
    source.qmp("migrate", uri=ram.outgoing)
    wait(lambda: _migration(source) == "pre-switchover", 300, "pre-switchover", source)


def _end_mirrors(source: Qemu, drives: list[Drive]) -> None:
    for drive in drives:
        source.qmp("block-job-cancel", device=f"mirror-{drive.name}")
    for drive in drives:
        event = source.qmp.wait_event("BLOCK_JOB_COMPLETED", device=f"mirror-{drive.name}")
        if "error" in event["data"]:
            raise RuntimeError(f"mirror of {drive.name}: {event['data']['error']}")
        source.qmp("blockdev-del", node_name=f"nbd-{drive.name}")


def _node(vm: Qemu, drive: Drive) -> str:
    """The name of a drive's node; QEMU makes it up where `-drive` made the node."""
    for block in vm.qmp("query-block"):
        node: str = block.get("inserted", {}).get("node-name", "")
        if drive.name in (node, block["device"]):
            return node
    raise LookupError(f"{vm.name} has no drive {drive.name}")


def _capabilities(vm: Qemu, *names: str) -> None:
    wanted = [{"capability": name, "state": True} for name in names]
    vm.qmp("migrate-set-capabilities", capabilities=wanted)


def _migration(vm: Qemu) -> str:
    status: str = vm.qmp("query-migrate").get("status", "none")
    if status == "failed":
        raise RuntimeError(f"{vm.name}: {vm.qmp('query-migrate').get('error-desc', 'failed')}")
    return status
