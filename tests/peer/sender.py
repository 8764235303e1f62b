"""The source of a migration: it copies a VM's disks and memory to a destination, and hands it over. It undoes nothing."""

from __future__ import annotations

import json
import os
import socket
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.process import wait
from lab.qmp import Qmp
from tests.peer import messages
from tests.peer.channel import Channel, Over
from tests.peer.control import Conversation
from tests.peer.messages import Box, Refused, Value
from tests.peer.source import Source
from tests.peer.wire import Lost

RECONNECT = 60


@dataclass(frozen=True)
class Disk:
    """A disk, as `Prepare` names it: what this end does not know is empty."""

    node: str
    device: str
    qdev: str
    size: int

    def fields(self) -> dict[str, Value]:
        """Its box in a list."""
        unknown: dict[str, Value] = dict.fromkeys(("format", "place", "serial", "image", "cache"), "")
        known: dict[str, Value] = {"node": self.node, "device": self.device, "qdev": self.qdev, "size": self.size}
        return unknown | known


class Entrance:
    """A UNIX socket whose connections become channels."""

    def __init__(self, path: Path, dial: Callable[[], Channel]) -> None:
        self.path = path
        self.channels: list[Channel] = []
        self._dial = dial
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{path}")
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def wait_complete(self, timeout: float = 60) -> None:
        """Wait until each of its channels is complete."""
        for channel in self.channels:
            if (over := channel.wait_over(timeout)).code != "complete":
                raise over

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                local, _ = self._listener.accept()
                threading.Thread(target=self._join, args=(local,), daemon=True).start()

    def _join(self, local: socket.socket) -> None:
        try:
            channel = self._dial()
        except (Lost, Refused, Over):
            local.close()
            return
        self.channels.append(channel)
        channel.splice(local)


class Sender:
    """One migration of the VM behind a monitor, in steps that a test may stop between."""

    def __init__(self, qmp: Qmp, source: Source, directory: Path, vm: str = "web1") -> None:
        self.session = os.urandom(16).hex()
        self.troubles: list[Box] = []
        self._qmp, self._source, self._directory, self._vm = qmp, source, directory, vm
        self._entrances: list[Entrance] = []
        self._runs = qmp("query-status")["running"]

    def move(self) -> str:
        """All steps; the outcome."""
        self.prepare()
        self.mirror()
        self.listen()
        self.send_memory()
        self.switch_over()
        self.finish()
        outcome = self.settle()
        self.end()
        return outcome

    def prepare(self, **changed: Value) -> Box:
        """Step 1."""
        self._qmp("query-status")
        self.control = Conversation(self._source.open("control", urgent=True), self._answer)
        self.disks = disks(self._qmp)
        fields = self.prepare_fields() | changed
        self.prepared = self.control.ask("Prepare", session=self.session, **self.secrets(), **fields)
        return self.prepared

    def prepare_fields(self) -> dict[str, Value]:
        """What `Prepare` asks, and `Check` too."""
        hardware = {"machine": [f"{self._machine()}", self._qmp("query-memory-size-summary")["base-memory"]]}
        offer: dict[str, Value] = {"lowest": 1, "highest": 1, "features": ""}
        listed: dict[str, Value] = {"disks": [disk.fields() for disk in self.disks], "bitmaps": [], "allowed": []}
        return {**offer, "vm": self._vm, "hardware": zlib.compress(json.dumps(hardware).encode()), **listed}

    def mirror(self) -> None:
        """Step 2."""
        entrance = self._entrance("nbd.sock", messages.text(self.prepared, "target"), urgent=False)
        for number, disk in enumerate(self.disks):
            server = {"type": "unix", "path": f"{entrance.path}"}
            export = f"nbdtun-{self.session[:16]}-{number}"
            extra = {"reconnect-delay": RECONNECT, "discard": "unmap", "detect-zeroes": "unmap"}
            self._qmp("blockdev-add", driver="nbd", node_name=f"far-{number}", server=server, export=export, **extra)
            self._qmp("blockdev-mirror", job_id=f"copy-{number}", device=disk.node, target=f"far-{number}", sync="full")
        for number, _ in enumerate(self.disks):
            self._qmp.wait_event("BLOCK_JOB_READY", 120, device=f"copy-{number}")

    def listen(self) -> None:
        """Step 3."""
        on = [{"capability": name, "state": True} for name in ("events", "pause-before-switchover")]
        self._qmp("migrate-set-capabilities", capabilities=on)
        self._qmp("migrate-set-parameters", max_bandwidth=1 << 30, downtime_limit=300)
        self.listened = self.control.ask("Listen", session=self.session, **self.secrets(), bitmaps=[])

    def send_memory(self) -> None:
        """Step 4."""
        self._memory = self._entrance("ram.sock", messages.text(self.listened, "target"), urgent=True)
        self._qmp("migrate", uri=f"unix:{self._memory.path}")
        self._wait_migration("pre-switchover")

    def switch_over(self) -> None:
        """Steps 5 and 6."""
        for number, _ in enumerate(self.disks):
            self._qmp("block-job-cancel", device=f"copy-{number}")
        for number, _ in enumerate(self.disks):
            event = self._qmp.wait_event("BLOCK_JOB_COMPLETED", 60, device=f"copy-{number}")
            assert "error" not in event["data"], event
            self._qmp("blockdev-del", node_name=f"far-{number}")
        self._entrances[0].wait_complete()
        self._qmp("migrate-continue", state="pre-switchover")
        self._wait_migration("completed")
        self._memory.wait_complete()

    def finish(self) -> None:
        """Step 7."""
        self.control.ask("Finish", session=self.session, **self.secrets(), run=self._runs, settle=200)

    def settle(self) -> str:
        """Step 8."""
        answer = self.control.ask("Settle", vm=self._vm, session=self.session, **self.secrets())
        return messages.text(answer, "outcome")

    def end(self) -> None:
        """Step 9, but for QEMU's own end."""
        self.control.end()
        for entrance in self._entrances:
            entrance.close()

    def _entrance(self, name: str, target: str, urgent: bool) -> Entrance:
        secret = self._source.secret
        made = Entrance(self._directory / name, lambda: self._source.open(target, urgent=urgent, session=secret))
        self._entrances.append(made)
        return made

    def secrets(self) -> dict[str, Value]:
        """What shows that it is ours."""
        return {"secret": self._source.secret} if self._source.secret else {}

    def _machine(self) -> str:
        kind: str = self._qmp("qom-get", path="/machine", property="type")
        return kind

    def _answer(self, command: str, box: Box) -> dict[str, Value] | None:
        if command == "Trouble":
            self.troubles.append(box)
            return None
        if command == "Ping":
            return {}
        raise Refused("UNHANDLED", f"no command {command}")

    def _wait_migration(self, wanted: str) -> None:
        def reached() -> bool:
            told = self._qmp("query-migrate")
            if told.get("status") == "failed" or self.troubles:
                raise RuntimeError(f"{told} {self.troubles}")
            return bool(told.get("status") == wanted)

        wait(reached, 120, wanted)


def disks(qmp: Qmp) -> list[Disk]:
    """The writable disks of a QEMU."""
    found = []
    for block in qmp("query-block"):
        image = block.get("inserted", {})
        if image and not image["ro"]:
            size = image["image"]["virtual-size"]
            found.append(Disk(image["node-name"], block["device"], block.get("qdev", ""), size))
    return found
