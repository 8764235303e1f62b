"""How a migration can end for a guest: it runs on at one end or the other, and nothing of ours is left at either."""

from __future__ import annotations

from lab.crossing import Crossing
from lab.disks import MIB
from lab.pair import Pair
from lab.process import wait
from lab.qemu import Qemu

#: QEMU's own, of those parameters that a migration always sets.
DEFAULTS = {"max-bandwidth": 128 * MIB, "downtime-limit": 300}


def arrived(crossing: Crossing) -> None:
    """The guest runs on at the destination and nowhere else, with all that it ever wrote."""
    pair = crossing.pair
    pair.destination.wait_ticks(5)
    pair.source.wait_exit()
    assert pair.faults() == []
    wait(lambda: journals(pair.destination) == [], 10, "the end of the journal")
    assert pair.destination.leftovers() == []
    assert tuned(pair.destination) == []
    assert crossing.leftovers() == []
    assert "Traceback" not in crossing.daemon.log()


def stayed(crossing: Crossing) -> None:
    """The guest runs on at the source as if nothing had been tried."""
    pair = crossing.pair
    undisturbed(pair)
    if pair.destination.running():
        assert pair.destination.leftovers() == []
        assert pair.destination.status() == "inmigrate"
    assert "Traceback" not in crossing.daemon.log()


def undisturbed(pair: Pair) -> None:
    """The source's QEMU is as it was before anything was tried."""
    assert pair.disturbance() == []
    assert journals(pair.source) == []
    assert tuned(pair.source) == []


def journals(vm: Qemu) -> list[str]:
    """The objects in which a migration is remembered in QEMU."""
    return [entry["name"] for entry in vm.qmp("qom-list", path="/objects") if "nbdtun" in entry["name"]]


def tuned(vm: Qemu) -> list[str]:
    """The capabilities and parameters of its migration that are not QEMU's own."""
    on = [entry["capability"] for entry in vm.qmp("query-migrate-capabilities") if entry["state"]]
    parameters = vm.qmp("query-migrate-parameters")
    return on + [name for name, value in DEFAULTS.items() if parameters[name] != value]
