"""The rooms of the product: which may import which, what no room does, and how large a file may be."""

from __future__ import annotations

from collections.abc import Mapping

#: Rooms from the ground up: each may import those of earlier rows, and itself.
LAYERS = (
    ("errors", "process", "deferreds", "states", "lazy", "typed"),
    ("logs", "units", "amp", "ownership", "login"),
    ("tls", "dialogue", "rate", "validators", "versions", "kept"),
    ("tunnel.settings", "tunnel.protocol"),
    ("tunnel.wires",),
    ("tunnel.opening", "tunnel.runtime"),
    ("tunnel.channels",),
    ("tunnel.source", "tunnel.destination"),
    (
        "migration.progress",
        "migration.ids",
        "migration.bond",
        "migration.capacity",
        "migration.finding",
        "migration.tally",
        "migration.qmp",
    ),
    ("migration.timeouts", "migration.carrier", "migration.rollback", "migration.catalogue"),
    ("migration.settings",),
    ("migration.vm",),
    ("migration.control", "migration.supervision"),
    ("migration.check",),
    ("migration.source", "migration.destination"),
    ("migration.waits",),
    ("libvirt.rpc",),
    ("libvirt.rpc.proxy",),
    ("spawn",),
    ("libvirt",),
    ("evacuation",),
    ("evacuation.journal",),
    ("config", "display"),
    ("reach",),
    ("service.local",),
    ("service.tunnel", "service.control"),
    ("service.planning",),
    ("service.checks", "service.workers"),
    ("service.libvirt",),
    ("service.checking",),
    ("service.evacuation", "service.succession"),
    ("service",),
    ("metrics",),
    ("daemon",),
    ("cli",),
    ("__main__",),
)

#: Rooms that never import each other.
APART = (
    ("tunnel", "migration"),
    ("tunnel.source", "tunnel.destination"),
    ("migration.source", "migration.destination"),
    ("reach", "tunnel"),
    ("reach", "migration"),
    ("spawn", "tunnel"),
    ("spawn", "reach"),
    ("libvirt", "tunnel"),
    ("libvirt", "reach"),
    ("libvirt.rpc", "migration"),
    ("evacuation", "tunnel"),
    ("evacuation", "spawn"),
    ("evacuation", "libvirt"),
)

#: Rooms that never import another one, though it is below them.
NEVER = (("migration.source", "migration.check.preflight"), ("display", "service"))

#: What a room does not import: rules do no I/O.
BANNED: Mapping[str, frozenset[str]] = {
    "tls.records": frozenset({"socket", "select", "ssl", "time", "asyncio", "threading", "twisted", "txaio"}),
    "tunnel.protocol": frozenset({"socket", "select", "ssl", "time", "asyncio", "threading", "twisted", "txaio"}),
    "libvirt.rpc": frozenset({"socket", "select", "ssl", "time", "asyncio", "threading", "twisted", "txaio", "libvirt"}),
    "libvirt.rpc.proxy": frozenset({"libvirt"}),
    "evacuation": frozenset({"socket", "select", "ssl", "time", "os", "asyncio", "threading", "subprocess", "sqlite3", "twisted", "txaio"}),
    "evacuation.journal": frozenset({"twisted", "threading", "subprocess"}),
}

#: What only one room imports.
ONLY: Mapping[str, str] = {"asyncio": "migration.qmp", "qemu": "migration.qmp", "libvirt": "libvirt.connection"}

MAX_FILES, MAX_LINES, MAX_FUNCTION = 16, 350, 40

#: Where a newcomer finds what is asked for: the file, and the name in it.
QUESTIONS: Mapping[str, tuple[str, str]] = {
    "the reconnect back-off": ("tunnel/source/dialer.py", "_persist"),
    "the resume window's timer": ("tunnel/channels/outage.py", "Outage"),
    "the round-trip measurement": ("tunnel/channels/rtt.py", "RoundTrip"),
    "a channel's part of the bytes in flight": ("tunnel/protocol/inflight.py", "InFlight"),
    "the epoll loop": ("tunnel/wires/selector.py", "Selector"),
    "socket options": ("tunnel/wires/tuning.py", "make_prompt"),
    "reassembly of records": ("tunnel/protocol/records.py", "RecordReader"),
    "encryption of records": ("tls/records/protection.py", "Sealer"),
    "the layout of a frame's header": ("tunnel/protocol/frames.py", "HEADER"),
    "back-pressure": ("tunnel/channels/splice.py", "Splice"),
    "which certificates are admitted": ("tunnel/destination/allowlist.py", "AllowList"),
    "fair eviction of connections": ("tunnel/destination/fair_table.py", "FairTable"),
    "answers for channels that are over": ("tunnel/destination/tombstones.py", "Tombstones"),
    "limits against a flooded log": ("tunnel/runtime/log_limits.py", "LineLimit"),
    "texts of TLS errors": ("tls/failures.py", "explain"),
    "which disks are copied": ("migration/vm/disks.py", "choose"),
    "the mirror job": ("migration/vm/mirror.py", "Mirror"),
    "the NBD server at the destination": ("migration/vm/exports.py", "Exports"),
    "shapes of QMP's answers": ("migration/qmp/schema.py", "ANSWERS"),
    "time limits of phases": ("migration/timeouts.py", "Timeouts"),
    "stall detection": ("migration/supervision/watchdog.py", "Watchdog"),
    "the poll of QEMU": ("migration/supervision/sampler.py", "Sampler"),
    "crash recovery at the source": ("migration/source/recovery.py", "Recovery"),
    "crash recovery at the destination": ("migration/destination/recovery.py", "clean_up"),
    "the rate and the time left": ("migration/supervision/meter.py", "Meter"),
    "which calls of libvirt's pass": ("libvirt/rpc/gate.py", "Gate"),
    "what of its host a domain names": ("libvirt/rpc/places.py", "places"),
    "libvirt's keepalive while the link is away": ("libvirt/rpc/keepalive.py", "Keepalive"),
    "which VM of many is next": ("evacuation/schedule.py", "due"),
    "where a VM is tried again": ("evacuation/retries.py", "after_failure"),
    "the undo stack": ("migration/rollback/undo.py", "UndoStack"),
}
