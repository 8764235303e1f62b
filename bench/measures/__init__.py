"""The measures, one file each, in the order in which they are made."""

from bench.measures.compare import COMPARE
from bench.measures.measure import Measure

MEASURES: tuple[Measure, ...] = (COMPARE,)

__all__ = ["MEASURES", "Measure"]
