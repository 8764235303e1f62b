"""
Each module ``nbdtun/x/y.py`` has a twin of tests, ``tests/x/test_y.py``; these have none, and why.

Packages' own ``__init__`` and ``__main__`` need none.
"""

from __future__ import annotations

from typing import Final

WITHOUT_TWIN: Final = {
    "nbdtun.libvirt.rpc.procedures": "a table: test_gate has each of it, and integration/test_libvirt_rpc a migration",
    "nbdtun.evacuation.life": "a table of states: test_states has it whole, evacuation/test_schedule each of its ways",
    "nbdtun.libvirt.near.way": "an interface without code",
    "nbdtun.migration.destination.life": "a table of states: test_states has it whole, destination/test_session each of its ways",
    "nbdtun.migration.qmp.life": "a table of states: test_states has it whole, qmp/test_monitor each of its ways",
    "nbdtun.migration.source.life": "a table of states: test_states has it whole, source/test_migration and test_settling each of its ways",
    "nbdtun.migration.supervision.supervision": "three values in one, which have twins each; test_sampler makes it",
    "nbdtun.reach.maker": "an interface without code",
    "nbdtun.service.control.subject": "an interface without code",
    "nbdtun.service.control.audience": "values without rules of their own",
    "nbdtun.service.checking": "tells the two kinds of VMs apart: integration/test_check and libvirt_moves have one each",
    **dict.fromkeys(
        (f"nbdtun.service.evacuation.{name}" for name in ("listing", "planning", "control", "run")),
        "joins what has twins, and asks real QEMUs and processes: integration/test_evacuate has the whole",
    ),
    "nbdtun.service.succession.later": "one end of a dialogue: succession/test_earlier and test_succession have both, over real sockets",
    "nbdtun.service.succession.household": "joins what has twins: integration/test_succession has it with real daemons and QEMUs",
    "nbdtun.service.succession.place": "declarations, of what succession/test_succession has",
    "nbdtun.service.workers.commands": "declarations: workers/test_crew has each of them over real sockets",
    "nbdtun.service.workers.worker": "one end of a dialogue: workers/test_crew has both, over real sockets",
    "nbdtun.daemon.worker": "a process of its own: integration/test_workers starts it",
    "nbdtun.service.libvirt.calls": "joins libvirtd's connection to a channel: integration/libvirt_moves has it with real libvirtds",
    "nbdtun.service.libvirt.checks": "asks two libvirts: integration/libvirt_moves has real ones",
    "nbdtun.daemon.standby": "a process of its own: service/libvirt/test_standby starts it",
    "nbdtun.service.libvirt.takeover": "joins what has twins: integration/libvirt_moves has it with real libvirtds, test_standby without",
    "nbdtun.service.libvirt.migration": "joins what has twins: integration/libvirt_moves has the whole",
    "nbdtun.spawn.near.survey": "asks QEMU and reads its process: integration/test_spawn has it with real QEMUs",
    "nbdtun.spawn.rewrite.source": "values without rules of their own",
    "nbdtun.tunnel.channels.carried": "an interface without code",
    "nbdtun.tunnel.channels.here": "half of a channel: channels/test_channel has the whole",
    "nbdtun.tunnel.channels.life": "a table of states: test_states has it whole, channels/test_channel each of its ways",
    "nbdtun.tunnel.channels.link_user": "an interface without code",
    "nbdtun.tunnel.settings": "values without rules of their own",
}
