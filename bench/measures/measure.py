"""A measure: what is asked for by name, yields samples, and has a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.columns import Column
from bench.samples import Sample
from bench.scene import Scene


@dataclass(frozen=True)
class Measure:
    """One of them."""

    name: str
    """Of its samples."""
    title: str
    columns: tuple[Column, ...]
    run: Callable[[Scene, tuple[str, ...]], Iterator[Sample]]
    """Is told which of its parts are wanted."""
    parts: tuple[str, ...] = ()
    """What `--only` calls it, where that is not its name."""

    @property
    def words(self) -> tuple[str, ...]:
        """The words that ask for it."""
        return self.parts or (self.name,)
