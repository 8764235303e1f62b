"""The way over for a pair: the destination's daemon, a cable if wanted, and the runs of `nbdtun migrate` on it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from lab.cable import Cable
from lab.daemon import BIN, Twistd, free_port
from lab.pair import Pair
from lab.process import Process, wait

VM = "web1"
"""The name that the destination knows the VM by."""

PHASES = ("prepare", "mirror", "ready", "ram", "switchover", "finish", "settle")


def certificates(directory: Path, *others: str) -> Path:
    """Make everybody's certificates, for the loopback and `others`, by the command that an operator would use."""
    hosts = [word for host in ("127.0.0.1", *others) for word in ("--host", host)]
    subprocess.run([f"{BIN}/nbdtun", "certs", directory, *hosts], check=True, stdout=subprocess.DEVNULL)
    return directory


class Attempt(Process):
    """`nbdtun migrate --progress json` as it runs: what it has reported, and what it complains of."""

    def __init__(self, directory: Path, *arguments: str, number: int = 1, env: Mapping[str, str] | None = None) -> None:
        self._output = directory / f"migrate-{number}.json"
        command = [f"{BIN}/nbdtun", "migrate", *arguments, "--progress", "json"]
        super().__init__(command, directory / f"migrate-{number}.log", env, output=self._output)

    def reports(self) -> list[dict[str, Any]]:
        """All objects that it has printed so far."""
        lines = self._output.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    @property
    def last(self) -> dict[str, Any]:
        """The latest of them."""
        return self.reports()[-1]

    def phases(self) -> list[str]:
        """The phases that it has been in, in their order."""
        names = [report["phase"] for report in self.reports()]
        return [name for number, name in enumerate(names) if name not in names[:number]]

    def wait_phase(self, phase: str, timeout: float = 120) -> None:
        """Wait until it has come to a phase."""
        wait(lambda: phase in self.phases(), timeout, f"phase {phase}", self)

    def wait_copied(self, count: int, timeout: float = 120) -> None:
        """Wait until so many bytes of the disks are done."""

        def copied() -> bool:
            return any(sum(disk["done"] for disk in report["disks"]) >= count for report in self.reports())

        wait(copied, timeout, f"{count} copied bytes", self)

    def complaints(self) -> list[str]:
        """The lines on its stderr, without the codes which end those that are errors."""
        return [re.sub(r" \[[a-z-]+\]$", "", line) for line in self.log().splitlines()]


class Crossing:
    """Serves the VM of a pair at the destination; a context manager that ends the daemon and every attempt."""

    def __init__(
        self,
        pair: Pair,
        tls: Path | None = None,
        *,
        cable: bool = False,
        qmp: tuple[Path, Path] | None = None,
        options: Sequence[str] = (),
        daemon_options: Sequence[str] = (),
        daemon: type[Twistd] = Twistd,
        settle: str = "200ms",
        listen: str = "127.0.0.1",
        dial: str = "127.0.0.1",
    ) -> None:
        """`options` are those of both ends; `qmp` are other monitors of the pair than its own; `settle` is short, for speed.

        `listen` is the destination's address, which the source may know by another one (`dial`).
        """
        self.pair = pair
        self.directory = pair.directory
        self.qmp = qmp or (pair.source.qmp_path, pair.destination.qmp_path)
        self.run_dir, self.far_run_dir = self.directory / "run", self.directory / "far"
        """Where each end makes its sockets: they would be different hosts."""
        self.port = free_port()
        self._options = [*options, *(["--tls-dir", f"{tls}"] if tls else [])]
        self._settle = ["--settle", settle]
        self._daemon_options, self._kind = list(daemon_options), daemon
        self._listen, self._dial = listen, dial
        self._attempts = 0
        self._ended = ExitStack()
        self._cable = self._ended.enter_context(Cable(self.directory, self.port)) if cable else None
        try:
            self.start_daemon()
        except BaseException:
            self._ended.close()
            raise

    @property
    def cable(self) -> Cable:
        """The cable, where there is one."""
        assert self._cable is not None
        return self._cable

    @property
    def to(self) -> str:
        """Where the source finds the destination."""
        return f"tcp:{self._dial}:{self._cable.port if self._cable else self.port}"

    def start_daemon(self) -> None:
        """Start the destination's daemon (again)."""
        self.daemon = self._ended.enter_context(self._kind(self.directory, "nbdtun-dest", *self.daemon_arguments()))
        self.daemon.wait_port(self.port)

    def daemon_arguments(self, *more: str) -> list[str]:
        """What follows `nbdtun dest`, or `twistd nbdtun-dest`."""
        vm = ["--listen", f"tcp:{self.port}:interface={self._listen}", "--vm", f"{VM}={self.qmp[1]}"]
        return [*vm, *self._options, "--run-dir", f"{self.far_run_dir}", *self._daemon_options, *more]

    def arguments(self, *more: str) -> list[str]:
        """What follows `nbdtun migrate`."""
        return [VM, "--qmp", f"{self.qmp[0]}", "--to", self.to, *self._options, "--run-dir", f"{self.run_dir}", *self._settle, *more]

    def service_arguments(self, *more: str) -> list[str]:
        """What follows `twistd nbdtun-source` for the same as a service."""
        migration = ["--connect", self.to, "--migrate", VM, "--qmp", f"{self.qmp[0]}"]
        return [*migration, *self._options, "--run-dir", f"{self.run_dir}", *self._settle, *more]

    def migrate(self, *more: str) -> Attempt:
        """Begin a migration."""
        self._attempts += 1
        return self._ended.enter_context(Attempt(self.directory, *self.arguments(*more), number=self._attempts))

    def serve(self, *more: str) -> Twistd:
        """Begin a migration as a service does it: `twistd nbdtun-source --migrate`."""
        return self._ended.enter_context(Twistd(self.directory, "nbdtun-source", *self.service_arguments(*more)))

    def command(self, *words: str, far: bool = False) -> subprocess.CompletedProcess[str]:
        """Run `nbdtun` as from another terminal, to its end: `command("status")`; `far`: of the destination's host."""
        run = [f"{BIN}/nbdtun", *words, "--run-dir", f"{self.far_run_dir if far else self.run_dir}"]
        return subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    def leftovers(self) -> list[str]:
        """End the daemon; what is left of it and of the attempts."""
        self.daemon.terminate()
        return sorted(f"{path.relative_to(self.directory)}" for end in (self.run_dir, self.far_run_dir) for path in end.rglob("*"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.close()
