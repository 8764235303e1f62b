"""The options that say how much a daemon takes on; see :mod:`.options` for all others."""

from __future__ import annotations

from nbdtun.config.option import Option

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
