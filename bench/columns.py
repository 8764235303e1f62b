"""The columns of a measure's table: what a figure is called for people."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A figure, its heading in one or two lines with the unit, and how many digits of it mean something."""

    figure: str
    heading: str
    digits: int = 0

    @property
    def name(self) -> str:
        """The heading in one line."""
        return self.heading.replace("\n", " ")

    def text(self, value: float) -> str:
        return f"{value:.{self.digits}f}"
