"""Somebody at the source asks a migration's connection to the destination's libvirt for anything else, through a real daemon."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.disks import MIB
from lab.libvirt_way import PATIENT, Way

SLOW = 3 * MIB
"""Bytes a second that let the disk last."""


@pytest.mark.slow
def test_nothing_but_the_migration_passes(ways: Callable[..., Way]) -> None:
    """It is refused with a line at both ends, changes nothing there, and does not disturb the migration."""
    way = ways(persistent=True)
    here, there = way.ends
    daemon, cable = way.daemons[there.name], way.cables[there.name]
    xml = f"{here.spare / 'web1.xml'}"
    cable.slow(SLOW)
    with way.migrate() as attempt:
        attempt.wait_copied(4 * MIB, PATIENT)
        (entrance,) = here.path("/run/nbdtun").glob("libvirt/*/libvirt.sock")
        uri = f"qemu+unix:///system?socket={entrance}"
        for words in (["list"], ["define", xml], ["create", xml], ["vol-delete", "/etc/shadow"], ["pool-list"], ["nodeinfo"]):
            with pytest.raises(RuntimeError, match="nbdtun: this connection is for the migration of web1 only"):
                here.virsh(*words, uri=uri)
        with pytest.raises(RuntimeError):  # virsh has a line of its own for all that goes wrong when it looks for a domain
            here.virsh("destroy", "web1", uri=uri)
        assert there.virsh("list", "--all", "--name") == "web1"
        cable.slow(100 * MIB)
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    way.arrived(there)
    assert daemon.log().count("libvirt's procedure") >= 7
