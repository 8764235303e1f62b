"""A machine that is paused, one that waits for it, and what both commands say of the two."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lab.crossing import VM
from lab.daemon import BIN, Twistd, free_port
from lab.disks import MIB
from lab.guest import Guest
from lab.qemu import Build, Qemu
from tests.integration.checked import failures, report_of


class Two:
    """A machine that is paused, and one that waits for it, with a daemon; each with words of its own."""

    def __init__(self, directory: Path, guest: Guest, ended: ExitStack, builds: tuple[Build, Build]) -> None:
        self.directory, self._guest, self._ended, self._builds = directory, guest, ended, builds

    def start(self, here: Sequence[str] = (), there: Sequence[str] = (), cpus: tuple[str, str] = ("Nehalem", "Nehalem")) -> None:
        start = self._ended.enter_context
        self.source = start(Qemu("src", self.directory, self._guest, [], build=self._builds[0], paused=True, cpu=cpus[0], extra=here))
        self.destination = start(
            Qemu("dst", self.directory, self._guest, [], build=self._builds[1], incoming=True, cpu=cpus[1], extra=there)
        )
        port = free_port()
        options = ["--listen", f"tcp:{port}:interface=127.0.0.1", "--vm", f"{VM}={self.destination.qmp_path}"]
        start(Twistd(self.directory, "nbdtun-dest", *options, "--run-dir", f"{self.directory}/far")).wait_port(port)
        self._words = [VM, "--qmp", f"{self.source.qmp_path}", "--to", f"tcp:127.0.0.1:{port}"]
        self._words += ["--run-dir", f"{self.directory}/near", "--settle", "200ms"]

    def check(self, *more: str) -> dict[str, Any]:
        return report_of([*self._words, "--no-measure", *more])[1]

    def migrate(self, *more: str) -> tuple[int, str]:
        command = [f"{BIN}/nbdtun", "migrate", *self._words, "--progress", "none", *more]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stderr.strip()

    def refused(self, *more: str) -> list[str]:
        """What is told of failures: the same by both, and nothing has been begun."""
        told = [line.partition(": ")[2] for line in failures(self.check(*more))]
        status, said = self.migrate(*more)
        assert (status, said.rpartition(" [")[0]) == (1, f"nbdtun: {'; '.join(told)}; {VM} was not migrated")
        assert (self.source.status(), self.destination.status()) == ("prelaunch", "inmigrate")
        assert self.source.leftovers() == self.destination.leftovers() == []
        return told

    def moved(self, *more: str) -> list[str]:
        """What is warned of: by both the same, and it arrives."""
        report = self.check(*more)
        assert failures(report) == []
        told = [line.partition(": ")[2] for line in failures(report, "warning")]
        status, said = self.migrate(*more)
        assert status == 0, said
        assert [line.partition(f"{VM}: ")[2] for line in said.splitlines()] == told
        self.source.wait_exit()
        assert self.destination.status() in ("paused", "prelaunch")
        return told


def disk(directory: Path, name: str, letter: str, *options: str) -> list[str]:
    """A nameless disk, full of one letter, or with nothing in it."""
    image = directory / f"{name}.raw"
    image.write_bytes(letter.encode() * MIB)
    node = image.name.removesuffix(".raw").rpartition("-")[2]
    blockdev = f"driver=raw,node-name={node},file.driver=file,file.filename={image}"
    return ["-blockdev", blockdev, "-device", ",".join([*options, f"drive={node}"])]
