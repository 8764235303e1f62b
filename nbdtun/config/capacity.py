"""The options that say how much a daemon takes on; see :mod:`.options` for all others."""

from __future__ import annotations

import os

from nbdtun.config.option import Option
from nbdtun.errors import ConfigError
from nbdtun.units import parse_count

_COUNT = "nbdtun.units:parse_count"
MAX_CHANNELS = Option("max-channels", "Maximum number of channels.", "COUNT", _COUNT, "1024", live=True)
LIMITS = (
    MAX_CHANNELS,
    Option(
        "max-channels-per-peer", "The same for one source: one certificate, or one address without TLS.", "COUNT", _COUNT, "512", live=True
    ),
    Option(
        "max-handshakes",
        "Connections that may wait to open a channel; beyond that the oldest are closed.",
        "COUNT",
        _COUNT,
        "256",
        live=True,
    ),
    Option(
        "max-handshakes-per-address",
        "The same for one address (IPv6: one /64) that has not shown a certificate yet.",
        "COUNT",
        _COUNT,
        "128",
        live=True,
    ),
)
LOCAL_LIMITS = (
    MAX_CHANNELS,
    Option(
        "max-channels-per-user", "The same for one local user; all clients of TCP ports count as one.", "COUNT", _COUNT, "512", live=True
    ),
)
MAX_ARRIVALS = Option(
    "max-arrivals", "VMs that may arrive at a time; the source of another is told to wait.", "COUNT", _COUNT, "100", live=True
)
#: The most workers that there can be, and that there are without being asked for.
MOST_WORKERS, USUAL_WORKERS = 64, 4


def parse_workers(text: str) -> int:
    """
    A number of workers.

    :raise ConfigError: it is none, or more than there can be.
    """
    if (count := parse_count(text)) > MOST_WORKERS:
        raise ConfigError(f"{count} is more than the {MOST_WORKERS} workers that there can be")
    return count


def usable_cores() -> int:
    """How many cores this process may run on (sched_getaffinity(2))."""
    return len(os.sched_getaffinity(0))


def workers(given: int | None, cores: int, hindrance: tuple[str, str] | None) -> int:
    """
    How many workers a process has that may run on so many cores, if so many were ``given``, or none. A ``hindrance`` to more than one is
    a reason, and a remedy.

    :raise ConfigError: more were given than there can be.
    """
    if given is None:
        return 1 if cores <= 2 or hindrance else max(1, min(USUAL_WORKERS, cores // 2))
    if given > 1 and hindrance:
        raise ConfigError(f"--workers {given}: {hindrance[0]}", hindrance[1])
    return given


#: Why a migration whose links go through ssh has none.
_THROUGH_SSH = ("one process makes the links through ssh", "leave out one of the two")


def migrations_workers(given: int | None, cores: int, *, through_ssh: bool) -> int:
    """
    The same for a migration, which then starts no more than it has use for.

    :raise ConfigError: more were given than there can be.
    """
    return workers(given, cores, _THROUGH_SSH if through_ssh else None)


WORKERS = Option(
    "workers",
    "Processes that carry the channels, on a core each. With 1, the process itself does so.",
    "COUNT",
    "nbdtun.config.capacity:parse_workers",
    unset="1 on up to two cores, else half as many as cores, at most 4; a migration has no more than it fills",
)
