"""The scene of a run: how much to measure, the certificates, and fresh directories."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.line import FAR_SEEN
from bench.peers.pair import Pair, Peer, Place
from lab.crossing import certificates
from lab.daemon import free_port


@dataclass(frozen=True)
class Effort:
    """How much to measure."""

    rounds: int = 5
    seconds: float = 2.0
    """Of each load."""
    quick: bool = False
    """A first look: fewer conditions, and a smaller disk."""


@dataclass(frozen=True)
class Scene:
    """What every measure is given."""

    effort: Effort
    peers: tuple[Peer, ...]
    """Those of the comparison that can be measured here."""
    root: Path
    tls: Path
    note: Callable[[str, str], None]
    """Tells of something that could not be measured, and why."""
    failed: Callable[[str, str], None]
    """Tells of something that went wrong, and how."""

    @contextmanager
    def by_itself(self, what: str) -> Iterator[None]:
        """Whatever goes wrong here is told, and costs what is measured here only: the others took minutes each."""
        try:
            yield
        except Exception as error:
            self.failed(what, f"{type(error).__name__}: {error}")

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """A directory of one's own, as long as it is needed."""
        with tempfile.TemporaryDirectory(prefix="d-", dir=self.root, ignore_cleanup_errors=True) as name:
            yield Path(name)

    @contextmanager
    def running(self, peer: Peer, server: Path) -> Iterator[Pair]:
        """A pair that leads to `server`."""
        port = free_port()
        with self.directory() as directory, peer.start(Place(directory, server, self.tls, port)) as pair:
            yield pair


@contextmanager
def scene(effort: Effort, peers: tuple[Peer, ...], note: Callable[[str, str], None], failed: Callable[[str, str], None]) -> Iterator[Scene]:
    """Short paths, because a UNIX socket's ends at 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="nb-", dir="/tmp") as name:
        root = Path(name)
        yield Scene(effort, peers, root, certificates(root / "tls", FAR_SEEN), note, failed)
