"""A tunnel of real daemons: `twistd nbdtun-source` and `twistd nbdtun-dest`, with a cable between them if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Self

from lab.cable import Cable
from lab.daemon import Twistd, free_port


class Tunnel:
    """Forwards `entrance` to the UNIX socket `target`; a context manager that ends both daemons."""

    def __init__(
        self,
        directory: Path,
        target: Path,
        tls: Path | None = None,
        *,
        cable: bool = False,
        options: Sequence[str] = (),
        source_options: Sequence[str] = (),
        destination_options: Sequence[str] = (),
        targets: Sequence[str] = (),
        daemon: type[Twistd] = Twistd,
    ) -> None:
        self.directory, self._kind = directory, daemon
        self.entrance = directory / "in.sock"
        self.run_dir = directory / "run"
        """Where both daemons have their control sockets."""
        self._options = [*options, "--run-dir", f"{self.run_dir}", *(["--tls-dir", f"{tls}"] if tls else [])]
        self._targets = [f"nbd=unix:{target}", *targets]
        self._source_options = [*self._options, *source_options]
        self._destination_options = [*self._options, *destination_options]
        self.port = free_port()
        self._ended = ExitStack()
        self.cable = self._ended.enter_context(Cable(directory, self.port)) if cable else None
        self.start_destination()
        self.start_source()

    @property
    def uri(self) -> str:
        """The entrance, as NBD clients name it."""
        return f"nbd+unix:///?socket={self.entrance}"

    def start_destination(self) -> None:
        """Start the destination's daemon (again)."""
        targets = [word for target in self._targets for word in ("--target", target)]
        self.destination = self._start(
            "nbdtun-dest", "--listen", f"tcp:{self.port}:interface=127.0.0.1", *targets, *self._destination_options
        )
        self.destination.wait_port(self.port)

    def start_source(self) -> None:
        """Start the source's daemon (again)."""
        port = self.cable.port if self.cable else self.port
        arguments = ["--connect", f"tcp:127.0.0.1:{port}", "--forward", f"nbd=unix:{self.entrance}"]
        self.source = self._start("nbdtun-source", *arguments, *self._source_options)
        self.source.wait_socket(self.entrance)
        for option, value in pairwise(self._source_options):
            if option == "--forward":
                self.source.wait_socket(Path(value.partition("=unix:")[2].partition(":")[0]))

    def _start(self, plugin: str, *arguments: str) -> Twistd:
        return self._ended.enter_context(self._kind(self.directory, plugin, *arguments))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.close()
