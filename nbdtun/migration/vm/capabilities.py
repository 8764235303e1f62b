"""
Migration capabilities that another client has switched on in a QEMU, at either end, and their effect on our stream.

QEMU facts (7.2 and 10.0; ``qapi/migration.json``, ``migration/``): capabilities are off, and parameters have their defaults, until a client
sets them; then they stay so until QEMU ends. Each end uses its own, and most of those that change the stream's form are not compared. So
one end may send a stream that the other cannot read, or wait for a stream that never comes: for ever, with ``multifd`` at one end alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from nbdtun.errors import NotMigratable
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.journal import End
from nbdtun.migration.vm.memory import switched_on

_SOURCE: Final = frozenset({End.SOURCE})
_BOTH: Final = frozenset(End)

#: Capabilities that may be on; we set some of them ourselves during a migration.
HARMLESS: Mapping[str, str] = {
    "auto-converge": "the source slows the guest down if needed; --converge auto-converge sets it",
    "block": "no effect at the destination",
    "compress": "at the destination it only starts idle threads",
    "dirty-bitmaps": "ours where bitmaps travel; without any, the source's block-bitmap-mapping is emptied meanwhile",
    "events": "ours, at both ends",
    "late-block-activate": "ours, at the destination; no effect at the source",
    "pause-before-switchover": "ours, at the source; no effect at the destination",
    "postcopy-blocktime": "a statistic of post-copy, which is not used",
    "rdma-pin-all": "only for RDMA",
    "release-ram": "only in a post-copy",
    "return-path": "the destination answers over the same connection, which goes both ways; the source tells it to",
    "validate-uuid": "no effect at the destination as long as no UUID is sent",
    "xbzrle": "the destination reads such pages whether or not it is on there",
    "zero-blocks": "only with the capability block",
    "dirty-limit": "no effect at the destination",
    "zero-copy-send": "no effect at the destination, and it needs multifd",
}

#: Capabilities that may not be on, at which ends, and why.
REFUSED: Mapping[str, tuple[frozenset[End], str]] = {
    "background-snapshot": (_BOTH, "the memory would be saved as a snapshot while the guest runs on"),
    "block": (_SOURCE, "QEMU would copy the disks itself, a second time"),
    "compress": (_SOURCE, "the destination cannot read compressed pages"),
    "dirty-limit": (_SOURCE, "it excludes auto-converge, and throttles the guest in another way"),
    "mapped-ram": (_BOTH, "it is for files, not for connections"),
    "multifd": (_BOTH, "one end would wait for ever for connections of the other; --connections sets it at both"),
    "postcopy-preempt": (_BOTH, "it is for post-copy, which is not supported"),
    "postcopy-ram": (_BOTH, "post-copy is not supported"),
    "switchover-ack": (_BOTH, "one end would wait for an answer that the other never sends"),
    "validate-uuid": (_SOURCE, "the destination may refuse the guest after everything has been copied"),
    "x-colo": (_BOTH, "COLO is not supported"),
    "x-ignore-shared": (_BOTH, "shared memory would not be sent"),
    "zero-copy-send": (_SOURCE, "it is for TCP connections, and ours are UNIX sockets"),
}

#: Parameters that must have this value where they exist, and why; all others only tune the capabilities above.
NEEDED: Mapping[str, tuple[Any, str]] = {
    "mode": ("normal", "the guest would be kept for a restart of QEMU instead of being moved"),
    "tls-creds": ("", "QEMU would also encrypt the stream, which the other end does not expect"),
}


def unsuitable(end: End, name: str, capabilities: Mapping[str, bool], parameters: Mapping[str, Any]) -> Iterator[NotMigratable]:
    """The settings at ``end`` that would break the stream; messages call the QEMU ``name``."""
    for capability in sorted(capability for capability, on in capabilities.items() if on):
        ends, why = REFUSED.get(capability, (frozenset[End](), ""))
        if end in ends:
            yield NotMigratable(
                f"{name} has the migration capability {capability} on: {why}",
                "turn it off with migrate-set-capabilities, or restart that QEMU",
            )
    for parameter, (needed, why) in NEEDED.items():
        value = parameters.get(parameter) or needed
        if value != needed:
            yield NotMigratable(
                f"{name} has the migration parameter {parameter} set to {value}: {why}",
                f'set it to "{needed}" with migrate-set-parameters, or restart that QEMU',
            )


def unknown(capabilities: Mapping[str, bool]) -> list[str]:
    """Capabilities that are on and unknown to us: a later QEMU's."""
    return sorted(name for name, on in capabilities.items() if on and name not in HARMLESS and name not in REFUSED)


async def suitable(monitor: Monitor, end: End) -> None:
    """
    Check that nothing is on at ``end`` that would break the stream.

    :raise NotMigratable: something is on.
    """
    parameters = await monitor.execute("query-migrate-parameters")
    for error in unsuitable(end, f"QEMU at the {end.value}", await switched_on(monitor), parameters):
        raise error
