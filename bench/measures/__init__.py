"""The measures, one file each, in the order in which they are made."""

from bench.measures.bandwidth import BANDWIDTH
from bench.measures.compare import COMPARE
from bench.measures.cores import CORES
from bench.measures.distance import DISTANCE
from bench.measures.guest import GUEST
from bench.measures.idle import IDLE
from bench.measures.measure import Measure
from bench.measures.metrics import METRICS
from bench.measures.migration import MIGRATION
from bench.measures.moment import MOMENT
from bench.measures.rationed import RATIONED
from bench.measures.scaling import SCALING
from bench.measures.sockets import SOCKETS
from bench.measures.trips import TRIPS

MEASURES: tuple[Measure, ...] = (
    *(COMPARE, SCALING, CORES, IDLE, METRICS, DISTANCE),
    *(MIGRATION, RATIONED, SOCKETS, MOMENT, TRIPS, GUEST, BANDWIDTH),
)

__all__ = ["MEASURES", "Measure"]
