"""The disks of a QEMU on paper: its nodes and their bitmaps, mirror jobs, and the NBD server with its exports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.task import Clock

from tests.migration.stage.paper import Paper


class PaperDisks(Paper):
    """What a machine in this ``state`` answers about its ``disks``, which are names and bytes."""

    def __init__(self, clock: Clock, name: str, disks: Mapping[str, int], state: str) -> None:
        super().__init__(clock, name)
        self.state = state
        self.disks = dict(disks)
        self.nodes = dict(self.disks)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.exports: set[str] = set()
        self.serving = False
        self.bitmaps: list[dict[str, Any]] = []
        self.driver = "raw"
        self.cache = ""
        self.job_error: str | None = None
        self.modes: dict[str, str] = {}
        self.reach = 0
        self.writes = False
        self.stuck = False
        self.yankable: list[dict[str, str]] = []

    def query_block(self) -> Any:
        cache = {"cache": {"writeback": self.cache == "writeback"}} if self.cache else {}
        inserted = {
            disk: {"node-name": disk, "ro": False, "drv": "raw", "image": {"virtual-size": size}, **cache}
            for disk, size in self.disks.items()
        }
        return [{"device": "", "qdev": f"{disk}-dev", "inserted": inserted[disk]} for disk in self.disks]

    def query_named_block_nodes(self, flat: bool) -> Any:
        return [{"node-name": node, "drv": self.driver, "dirty-bitmaps": self._bitmaps_of(node)} for node in self.nodes]

    def _bitmaps_of(self, node: str) -> list[dict[str, Any]]:
        plain = {"persistent": False, "busy": False, "recording": True, "granularity": 1 << 16}
        return [{**plain, **{key: bitmap[key] for key in bitmap if key != "node"}} for bitmap in self.bitmaps if bitmap["node"] == node]

    def block_dirty_bitmap_add(self, node: str, name: str, granularity: int, disabled: bool) -> Any:
        self.bitmaps.append({"node": node, "name": name, "granularity": granularity, "recording": not disabled})

    def block_dirty_bitmap_merge(self, node: str, target: str, bitmaps: list[Any]) -> Any:
        next(one for one in self.bitmaps if (one["node"], one["name"]) == (node, target))["of"] = bitmaps[0]["name"]

    def block_dirty_bitmap_remove(self, node: str, name: str) -> Any:
        self.bitmaps = [one for one in self.bitmaps if (one["node"], one["name"]) != (node, name)]

    def blockdev_add(self, driver: str, node_name: str, **_: Any) -> Any:
        if node_name in self.nodes:
            self.refuse(f"Duplicate nodes with node-name='{node_name}'")
        self.nodes[node_name] = 0

    def blockdev_del(self, node_name: str) -> Any:
        if node_name not in self.nodes:
            self.refuse(f"Failed to find node with node-name='{node_name}'")
        if node_name in self.jobs:
            self.refuse(f"Node {node_name} is in use")
        del self.nodes[node_name]

    def query_yank(self) -> Any:
        return self.yankable

    def yank(self, instances: Any) -> Any:
        if instances[0]["node-name"] not in self.nodes:
            self.refuse("There is no such instance")

    def blockdev_mirror(self, job_id: str, device: str, target: str, sync: str, speed: int, copy_mode: str = "background") -> Any:
        self.jobs[job_id] = {"device": job_id, "id": job_id, "len": self.disks[device], "offset": 0, "ready": False, "speed": speed}
        self.modes[job_id] = copy_mode
        self.clock.callLater(1.5, self._ready, job_id)

    def block_job_set_speed(self, device: str, speed: int) -> Any:
        if device not in self.jobs:
            self.refuse(f"Block job '{device}' not found")
        self.jobs[device]["speed"] = speed

    def block_job_change(self, id: str, type: str, copy_mode: str) -> Any:
        self.modes[id] = copy_mode

    def query_blockstats(self, query_nodes: bool) -> Any:
        return [{"node-name": node, "stats": {"wr_highest_offset": self.reach}} for node in self.nodes]

    def _ready(self, job: str) -> None:
        """What the guest writes keeps a disk from being ready, for as long as it is not slowed down or paused."""
        if job in self.jobs and self.writes and self.state == "running" and self.modes[job] == "background":
            self.jobs[job] |= {key: self.jobs[job][key] + 1000 for key in ("len", "offset")}
            self.clock.callLater(1.0, self._ready, job)
        elif job in self.jobs and not self.stuck and self.alive:
            self.jobs[job] |= {"offset": self.jobs[job]["len"], "ready": True}
            self.heard("BLOCK_JOB_READY", {"device": job})
            if self.job_error:
                self.end_job(job, error=self.job_error)

    def query_jobs(self) -> Any:
        return list(self.jobs.values())

    query_block_jobs = query_jobs

    def block_job_cancel(self, device: str, force: bool) -> Any:
        if device not in self.jobs:
            self.refuse(f"Block job '{device}' not found")
        soft = self.jobs[device]["ready"] and not force
        self.clock.callLater(0.01, self.end_job, device, "BLOCK_JOB_COMPLETED" if soft else "BLOCK_JOB_CANCELLED")

    def end_job(self, job: str, event: str = "BLOCK_JOB_COMPLETED", **data: Any) -> None:
        if self.jobs.pop(job, None) is not None and self.alive:
            self.heard(event, {"device": job, **data})
            self.heard("JOB_STATUS_CHANGE", {"id": job, "status": "null"})

    def nbd_server_start(self, addr: Any) -> Any:
        if self.serving:
            self.refuse("NBD server already running")
        self.serving = True

    def nbd_server_stop(self) -> Any:
        if not self.serving:
            self.refuse("NBD server not running")
        self.serving = False
        self.exports.clear()

    def block_export_add(self, type: str, id: str, name: str, node_name: str, writable: bool) -> Any:
        self.exports.add(id)

    def block_export_del(self, id: str, mode: str) -> Any:
        self.exports.remove(id)

    def query_block_exports(self) -> Any:
        return [{"id": ident} for ident in sorted(self.exports)]
