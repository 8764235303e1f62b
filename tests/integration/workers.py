"""A tunnel whose daemons have workers, and what they say of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lab.ends import Ends
from lab.programs import Programs


class Staffed(Ends):
    """Both daemons of a tunnel, with workers."""

    def report(self, kind: str) -> dict[str, Any]:
        """What `nbdtun status` says of a daemon, by its kind."""
        told = Programs(self.directory / "run").command("status", "--json")
        return next(each for each in map(json.loads, told.stdout.splitlines()) if each["name"] == kind)

    def pids(self, kind: str) -> list[int]:
        """The processes of its workers, of those that have ended too."""
        return [each["pid"] for each in self.report(kind)["workers"]]


Make = Callable[..., Staffed]


def staffed(directory: Path, tls: Path) -> Iterator[Make]:
    """Makes such ends, with three workers each: `make("--bandwidth", "10MiB", workers=4)`."""
    with ExitStack() as ended:

        def make(*options: str, workers: int = 3, tls_dir: Path = tls, **more: Any) -> Staffed:
            return Staffed(directory, ended, "--tls-dir", f"{tls_dir}", "--workers", f"{workers}", *options, **more)

        yield make


def spread(report: dict[str, Any]) -> list[int]:
    """How many channels each worker has that lives."""
    return sorted(len(each["channels"]) for each in report["workers"] if each["ended"] is None)
