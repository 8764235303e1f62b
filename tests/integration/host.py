"""A QEMU whose destination is planned and made: both hosts are this one, so the source's directory is mapped to another."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from twisted.internet import reactor

from lab.daemon import free_port
from lab.process import Process, wait
from lab.qemu import Build
from lab.qmp import Qmp
from nbdtun.migration.destination.control import DestinationControl
from nbdtun.migration.destination.sessions import Sessions
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.settings import MigrationSettings, StepTimeouts
from nbdtun.migration.source.migration import Migration
from nbdtun.service import planning
from nbdtun.spawn.far.maker import Maker
from nbdtun.spawn.rewrite.answers import Answers, Mapped, Place, places
from tests.integration.rig import pause
from tests.migration.stage.direct import Tunnel

KIB, MIB = 1 << 10, 1 << 20
PLAIN = "-m 64 -accel tcg -nodefaults -display none -serial file:D/serial.log -pidfile D/qemu.pid -qmp unix:D/lab.qmp,server=on,wait=off"


class Host:
    """A QEMU in a directory of its own, and where its destination is to be."""

    def __init__(self, directory: Path, build: Build) -> None:
        self.here, self.there = directory / "here", directory / "there"
        self.build = build
        self.here.mkdir()
        self.qmp = self.here / "vm.qmp"
        self.maker = Maker(reactor)
        self._made = ""
        self.ended = ExitStack()

    def images(self) -> None:
        """Images with known content, and what else the lines name."""
        for name, fmt, options in (("a.qcow2", "qcow2", ["-o", "cluster_size=32k"]), ("b.raw", "raw", []), ("base.qcow2", "qcow2", [])):
            image("create", "-q", "-f", fmt, *options, self.here / name, "24M")
            write(self.here / name, fmt, 0x11, 1)
        image("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", self.here / "top.qcow2")
        write(self.here / "top.qcow2", "qcow2", 0x22, 5)
        (self.here / "cd.iso").write_bytes(os.urandom(64 * KIB))
        found = [Path(directory, "bios-256k.bin") for directory in ("/usr/share/seabios", "/usr/share/qemu")]
        firmware = next(path for path in found if path.exists())
        (self.here / "code.fd").write_bytes(firmware.read_bytes())
        (self.here / "vars.fd").write_bytes(b"v" * 128 * KIB)

    def start(self, line: str, *, plain: str = PLAIN, wait_for: bool = True) -> Process:
        """Start the source with a command line."""
        text = f"{plain} {line}".replace("PORT", f"{free_port()}")
        words = [word.replace("D/", f"{self.here}/") for word in text.split()]
        command = [*self.build.command(), *words, "-qmp", f"unix:{self.qmp},server=on,wait=off"]
        process = self.ended.enter_context(Process(command, self.here.parent / "source.log", self.build.env()))
        if wait_for:
            made = [self.qmp, *(self.here / name for name in ("qemu.pid", "serial.log"))]
            wait(lambda: all(path.exists() for path in made), 20, "the source's monitor", process)
        return process

    def answers(self, *disks: str, **more: Any) -> Answers:
        settings: tuple[str, ...] = (*more.pop("settings", ()), *([f"emulator={self.wrapped()}"] if self.build.prefix else []))
        return Answers((Mapped(f"{self.here}", f"{self.there}"),), places(map(Place.parse, disks)), settings, **more)

    def wrapped(self) -> Path:
        """A program that starts a QEMU whose libraries are not where the system looks for them."""
        path = self.here.parent / "emulator"
        path.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={self.build.env()["LD_LIBRARY_PATH"]} exec {self.build.binary} "$@"\n')
        path.chmod(0o755)
        return path

    async def plan(self, **more: Any) -> planning.Planned:
        drawn = await planning.draw(reactor, "web1", f"{self.qmp}", self.answers(**more))
        return await planning.examine(drawn, self.maker)

    async def make(self, *disks: str, **more: Any) -> Qmp:
        """Make the destination; its monitor."""
        drawn = await planning.draw(reactor, "web1", f"{self.qmp}", self.answers(*disks, **more))
        self._made = await planning.make(drawn, self.maker)
        return Qmp(self.there / "lab.qmp")

    async def move(self) -> None:
        """Migrate to the destination that was made, by the migration's own objects."""
        tunnel = Tunnel(reactor, self.here.parent)
        steps = StepTimeouts(settle=3, undo=10)
        sessions = Sessions(reactor, {"web1": self._made}, tunnel.egress, steps)
        tunnel.serve = lambda: DestinationControl(sessions)
        await tunnel.start()
        monitor = Monitor(reactor, f"{self.qmp}", "web1")
        await monitor.connect()
        try:
            await Migration(reactor, monitor, tunnel, MigrationSettings(vm="web1", steps=steps, settle=0.2), lambda progress: None).run()
        finally:
            await monitor.close()
            await sessions.stop()
            await tunnel.stop()
            tunnel.cut_control()
            await pause(0.05)

    def faults(self, planned: planning.Planned) -> list[str]:
        """The disks whose copy is not like the original, once both QEMUs have ended."""
        found = []
        for made in planned.plan.images:
            if made.path.endswith(".fd"):
                continue
            before = Path(made.origin)
            done = subprocess.run(["qemu-img", "compare", before, made.path], capture_output=True, text=True)
            found += [f"{made.node}: {done.stdout}{done.stderr}"] if done.returncode else []
        return found


def image(*words: str | Path) -> None:
    subprocess.run(["qemu-img", *words], check=True, capture_output=True)


def write(path: Path, fmt: str, pattern: int, megabytes: int) -> None:
    subprocess.run(["qemu-io", "-f", fmt, "-c", f"write -P {pattern} {megabytes}M 1M", path], check=True, capture_output=True)


def files(directory: Path) -> list[str]:
    return sorted(f"{path.relative_to(directory)}" for path in directory.rglob("*"))
