"""The destination of a migration: it receives a VM's disks and memory, and takes it over."""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.process import wait
from lab.qmp import Qmp, QmpError
from tests.peer import messages
from tests.peer.channel import Channel, Over
from tests.peer.control import Conversation
from tests.peer.destination import Destination, unix
from tests.peer.messages import Box, Refused, Release, Value
from tests.peer.sender import Disk, disks
from tests.peer.wire import Lost


class Receiver:
    """Serves the VM behind a monitor; it compares memory and sizes only. One session in its life."""

    def __init__(self, qmp: Qmp, destination: Destination, directory: Path, vm: str = "web1") -> None:
        self.state = "unknown"
        self.asked: list[tuple[str, Box]] = []
        """All that was asked of it, in its order."""
        self.session = ""
        self._monitor, self._guard = qmp, threading.Lock()
        self._destination, self._directory, self._vm = destination, directory, vm
        self._streams: list[Channel] = []
        self._owner: Conversation | None = None
        destination.targets["control"] = lambda: self._converse

    def _qmp(self, command: str, **arguments: Any) -> Any:
        with self._guard:
            return self._monitor(command, **arguments)

    def _converse(self, channel: Channel) -> None:
        threading.Thread(target=self._talk, args=(channel,), daemon=True).start()

    def _talk(self, channel: Channel) -> None:
        talk = Conversation(channel, lambda command, box: self._answer(talk, command, box))
        with suppress(TimeoutError):
            talk.wait_ended(600)
        if talk is self._owner and self.state in ("preparing", "prepared", "listening"):
            self._undo()
        with suppress(Over):
            channel.end()

    def _answer(self, talk: Conversation, command: str, box: Box) -> Mapping[str, Value] | None:
        self.asked.append((command, box))
        commands: dict[str, Callable[[Box], Mapping[str, Value]]] = {
            "Check": self._check,
            "Prepare": self._prepare,
            "Listen": self._listen,
            "Finish": self._finish,
            "Abort": self._abort,
            "Query": lambda box: {"state": self._own(box), "machine": self._qmp("query-status")["status"], "reason": ""},
            "Settle": lambda box: {"outcome": "arrived" if self.state == "finished" else "gone", "reason": ""},
            "Ping": lambda box: {},
        }
        if command not in commands:
            raise Refused("UNHANDLED", f"no command {command}")
        if command == "Prepare":
            self._owner = talk
        return commands[command](box)

    def _own(self, box: Box) -> str:
        return self.state if messages.text(box, "session") == self.session else "unknown"

    def _check(self, box: Box) -> Mapping[str, Value]:
        chosen = Release().choose(box)
        findings = [self._finding(refused) for refused in self._compare(box)[1]]
        return {**chosen, "findings": findings, "time": time.time_ns() // 1000}

    def _disks(self) -> list[Disk]:
        with self._guard:
            return disks(self._monitor)

    def _finding(self, refused: Refused) -> dict[str, Value]:
        return {"level": "failure", "check": "disk", "code": refused.code, "what": refused.description, "remedy": "", "name": ""}

    def _compare(self, box: Box) -> tuple[list[Disk], list[Refused]]:
        """Our disks in the order of theirs, and what is wrong."""
        if (name := messages.text(box, "vm")) != self._vm:
            raise Refused("vm-unknown", f"the destination has no VM {name!r}")
        hardware = json.loads(zlib.decompress(box["hardware"]))
        ours, theirs, wrong = self._disks(), messages.boxes(box["disks"]), []
        if hardware["machine"][1] != self._qmp("query-memory-size-summary")["base-memory"]:
            wrong.append(Refused("not-migratable", "the memories differ"))
        paired = []
        for disk in theirs:
            names = {messages.text(disk, "qdev"), messages.text(disk, "device")} - {""}
            twins = [each for each in ours if each.size == messages.number(disk, "size") and names & {each.qdev, each.device}]
            if len(twins) != 1:
                wrong.append(Refused("disk-mismatch", f"no disk for {messages.text(disk, 'node')}"))
            paired += twins
        return paired, wrong

    def _prepare(self, box: Box) -> Mapping[str, Value]:
        chosen = Release().choose(box)
        if self.state != "unknown":
            raise Refused("not-migratable", "one session only")
        paired, wrong = self._compare(box)
        if wrong:
            raise Refused(wrong[0].code, "; ".join(each.description for each in wrong))
        self.session, self.state = messages.text(box, "session"), "preparing"
        self._qmp("stop")
        on = [{"capability": name, "state": True} for name in ("events", "late-block-activate")]
        self._qmp("migrate-set-capabilities", capabilities=on)
        path = self._directory / "peer-nbd.sock"
        self._qmp("nbd-server-start", addr={"type": "unix", "data": {"path": f"{path}"}})
        for number, disk in enumerate(paired):
            name = f"nbdtun-{self.session[:16]}-{number}"
            self._qmp("block-export-add", type="nbd", id=name, node_name=disk.node, name=name, writable=True)
        self._destination.targets[f"nbd.{self.session}"] = self._kept(path)
        self.state = "prepared"
        return {**chosen, "target": f"nbd.{self.session}", "findings": []}

    def _kept(self, path: Path) -> Callable[[], Callable[[Channel], None]]:
        """A target whose channels must have ended before QEMU's NBD server is stopped."""

        def connect() -> Callable[[Channel], None]:
            begin = unix(path)()

            def begun(channel: Channel) -> None:
                self._streams.append(channel)
                begin(channel)

            return begun

        return connect

    def _listen(self, box: Box) -> Mapping[str, Value]:
        self._wanted(box, "prepared")
        path = self._directory / "peer-ram.sock"
        self._qmp("migrate-incoming", uri=f"unix:{path}")
        self._destination.targets[f"ram.{self.session}"] = unix(path)
        self.state = "listening"
        return {"target": f"ram.{self.session}", "bitmaps": []}

    def _finish(self, box: Box) -> Mapping[str, Value]:
        self._wanted(box, "listening")
        self.state = "finishing"
        run = messages.flag(box, "run")
        messages.number(box, "settle", 0, 600_000)
        wait(lambda: bool(self._qmp("query-migrate").get("status") == "completed"), 60, "the memory")
        end = time.monotonic() + 12
        for channel in self._streams:
            with suppress(TimeoutError):
                channel.wait_over(max(0.1, end - time.monotonic()))
        self._qmp("nbd-server-stop")
        if run:
            self._qmp("cont")
        self.state = "finished"
        return {}

    def _abort(self, box: Box) -> Mapping[str, Value]:
        self._wanted(box, "preparing", "prepared", "listening", "finished", "aborted")
        if self.state not in ("finished", "aborted"):
            self._undo()
        return {"state": self.state}

    def _wanted(self, box: Box, *states: str) -> None:
        if messages.text(box, "session") != self.session:
            raise Refused("destination", "no such session")
        if self.state not in states:
            raise Refused("not-migratable", f"the session is {self.state}")

    def _undo(self) -> None:
        used, self.state = self.state == "listening", "aborting"
        for end in ("nbd", "ram"):
            self._destination.targets.pop(f"{end}.{self.session}", None)
        for channel in self._streams:
            channel.reset("reset", "the session is undone")
        with suppress(QmpError, ConnectionError, Lost):
            self._qmp("quit" if used else "nbd-server-stop")
        self.state = "aborted"
