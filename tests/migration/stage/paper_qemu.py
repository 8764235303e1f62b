"""A QEMU on paper with disks, which are in :mod:`.paper_disks`, and memory: it behaves as QEMU 7.2 and 10.0 were seen to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.task import Clock

from tests.migration.stage.paper_disks import PaperDisks


class PaperQemu(PaperDisks):
    """One machine with disks. ``peer`` is who it sends its memory to."""

    def __init__(self, clock: Clock, name: str, *, disks: Mapping[str, int] | None = None, state: str = "running") -> None:
        super().__init__(clock, name, {"vda": 1 << 20} if disks is None else disks, state)
        self.release = (7, 2, 22)
        self.kvm = True
        self.blocks = [128 << 20]
        self.objects: dict[str, str] = {}
        self.capabilities = {
            "events": False,
            "pause-before-switchover": False,
            "late-block-activate": False,
            "auto-converge": False,
            "xbzrle": False,
            "dirty-bitmaps": False,
            "multifd": False,
        }
        self.sent: list[Any] = []
        self.parameters: dict[str, Any] = {"max-bandwidth": 128 << 20, "downtime-limit": 300, "multifd-channels": 2}
        self.migration: dict[str, Any] = {}
        self.blockers: list[str] = []
        self.autostart = True
        self.peer: PaperQemu | None = None
        self.ran_before = False
        self.began: float | None = None
        self.ended: float | None = None
        self.memory_error: str | None = None
        self.dirties = False
        self.passes = 1
        self.plugged: dict[str, str] = {}
        self.processors = 1
        self.announced: list[str] = []
        self.more.add("announce-self")

    # What everybody is asked.

    def query_version(self) -> Any:
        major, minor, micro = self.release
        return {"qemu": {"major": major, "minor": minor, "micro": micro}, "package": ""}

    def query_kvm(self) -> Any:
        return {"enabled": self.kvm, "present": True}

    def query_memdev(self) -> Any:
        return [{"size": size} for size in self.blocks]

    def query_status(self) -> Any:
        return {"status": self.state, "running": self.state == "running"}

    def query_hotpluggable_cpus(self) -> Any:
        return [{"props": {"core-id": 0}, "qom-path": "/machine/unattached/device[0]"}]

    def query_uuid(self) -> Any:
        return {"UUID": "00000000-0000-0000-0000-000000000000"}

    def query_tpm(self) -> Any:
        return []

    def x_query_ramblock(self) -> Any:
        return {"human-readable-text": ""}

    def query_memory_size_summary(self) -> Any:
        return {"base-memory": 1 << 27}

    def object_add(self, qom_type: str, id: str, data: str) -> Any:
        if id in self.objects:
            self.refuse(f"attempt to add duplicate property '{id}' to object (type 'container')")
        self.objects[id] = data

    def object_del(self, id: str) -> Any:
        if self.objects.pop(id, None) is None:
            self.refuse(f"object '{id}' not found")

    def qom_set(self, path: str, property: str, value: str) -> Any:
        self.objects[path.removeprefix("/objects/")] = value

    def qom_get(self, path: str, property: str) -> Any:
        if path.startswith("/objects/"):
            found = self.objects.get(path.removeprefix("/objects/"))
            return self.refuse(f"Device '{path}' not found") if found is None else found
        return "pc-q35-7.2-machine" if path == "/machine" else "virtio-blk-device"

    def qom_list(self, path: str) -> Any:
        named = {**{f"{disk}-dev": "virtio-blk-pci" for disk in self.disks}, **self.plugged} if path == "/machine/peripheral" else {}
        return [{"name": "type", "type": "string"}, *({"name": name, "type": f"child<{kind}>"} for name, kind in named.items())]

    def query_memory_devices(self) -> Any:
        return []

    def query_cpus_fast(self) -> Any:
        return [{"cpu-index": number} for number in range(self.processors)]

    def quit(self) -> Any:
        self.clock.callLater(0, self.die)

    def stop(self) -> Any:
        if self.state == "inmigrate":
            self.autostart = False
        elif self.state == "running":
            self.state = "paused"
            self.tell("STOP")

    def cont(self) -> Any:
        if self.state in ("inmigrate", "finish-migrate"):
            self.refuse("Migration is not finalized yet")
        if self.state != "running":
            self.state = "running"
            self.tell("RESUME")

    def announce_self(self, initial: int, max: int, rounds: int, step: int) -> Any:
        self.announced.append(self.state)

    # Memory.

    def query_migrate_capabilities(self) -> Any:
        return [{"capability": name, "state": state} for name, state in self.capabilities.items()]

    def migrate_set_capabilities(self, capabilities: Any) -> Any:
        self.capabilities |= {entry["capability"]: entry["state"] for entry in capabilities}

    def query_migrate_parameters(self) -> Any:
        return dict(self.parameters)

    def migrate_set_parameters(self, **parameters: Any) -> Any:
        self.parameters |= {key.replace("_", "-"): value for key, value in parameters.items()}

    def query_migrate(self) -> Any:
        time = {"total-time": round(1000 * ((self.ended or self.clock.seconds()) - self.began))} if self.began is not None else {}
        return dict(self.migration) | time | ({"blocked-reasons": self.blockers} if self.blockers else {}) | self._throttle()

    def _throttle(self) -> dict[str, Any]:
        throttled = self.dirties and self.capabilities["auto-converge"] and self.migration.get("status") == "active"
        return {"cpu-throttle-percentage": 20} if throttled else {}

    def migrate_incoming(self, uri: str, **newer: Any) -> Any:
        if newer:
            self.refuse("Parameter 'exit-on-error' is unexpected")
        if self.migration:
            self.refuse("The incoming migration has already been started")
        self._map_bitmaps()
        self._now("setup", **{"socket-address": [{"type": "unix", "path": uri.removeprefix("unix:")}]})

    def _map_bitmaps(self) -> None:
        """Bitmaps are sent, or waited for, by the mapping as it is when the migration begins."""
        self.sent = self.parameters.get("block-bitmap-mapping", []) if self.capabilities.get("dirty-bitmaps") else []

    def migrate(self, uri: str) -> Any:
        self._map_bitmaps()
        self.ran_before = self.state == "running"
        self.began, self.ended = self.clock.seconds(), None
        self._now("setup")
        self.clock.callLater(0.1, self._step, "setup", "active")
        self.clock.callLater(2.5, self._pause)

    def _now(self, status: str, **more: Any) -> None:
        self.migration = {**more, "status": status, "ram": {"transferred": 1 << 20, "remaining": 1 << 10}}
        if self.memory_error and status == "failed":
            self.migration["error-desc"] = self.memory_error
        self.tell("MIGRATION", status=status)

    def _step(self, before: str, after: str) -> bool:
        if not self.alive or self.migration.get("status") != before:
            return False
        self._now(after)
        return True

    def _pause(self) -> None:
        if self.memory_error and self._step("active", "failed"):
            return
        slowed = self.capabilities["auto-converge"] and self.passes > 4
        if self.dirties and self.state == "running" and self.parameters["downtime-limit"] < 1000 and not slowed:
            self.passes += 1
            self.migration["ram"] = {"transferred": self.passes << 20, "remaining": 1 << 19, "dirty-sync-count": self.passes}
            self.clock.callLater(1.0, self._pause)
        elif self.migration.get("status") == "active" and self.alive:
            if self.state == "running":
                self.tell("STOP")
            self.state = "finish-migrate"
            self._now("pre-switchover")

    def migrate_continue(self, state: str) -> Any:
        if self.migration.get("status") != "pre-switchover":
            self.refuse("Migration not in expected state")
        self._now("device")
        self.clock.callLater(0.05, self._complete)

    def _complete(self) -> None:
        if self._step("device", "completed"):
            self.ended = self.clock.seconds()
            self.state = "postmigrate"
            if self.peer is not None and self.peer.alive and self.peer.migration:
                self.peer.clock.callLater(0.02, self.peer.arrived)

    def arrived(self) -> None:
        """The whole of the memory has come."""
        self.state = "running" if self.autostart else "paused"
        self._now("completed")

    def fall_short(self) -> None:
        """The stream of the memory has ended before its end."""
        self.migration["error-desc"] = "load of migration failed"
        self._now("failed")

    def cut_off(self) -> None:
        """The socket that its memory goes to is closed."""
        if self._step("device", "failed") and self.ran_before:
            self.state = "running"
            self.tell("RESUME")

    def migrate_cancel(self) -> Any:
        if self.migration.get("status") in ("setup", "active", "pre-switchover", "device"):
            self._now("cancelling")
            self.clock.callLater(0.02, self._cancelled)

    def _cancelled(self) -> None:
        if self._step("cancelling", "cancelled"):
            if self.state == "finish-migrate":
                self.state = "running" if self.ran_before else "paused"
                if self.ran_before:
                    self.tell("RESUME")
            if self.peer is not None and self.peer.migration:
                self.peer.die()
