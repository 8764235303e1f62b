"""What a VM's checks say about its destinations."""

from __future__ import annotations

from nbdtun.service.evacuation.fitness import Fitness

REFUSED = {"hv2": ("not-migratable", "no"), "hv3": ("unreachable", "hv3 does not answer"), "hv4": ("tls", "revoked")}


def test_a_reason_that_may_pass() -> None:
    found = Fitness(("hv5",), REFUSED, {"hv5": ("slow",), "hv3": ()})
    assert found.perhaps == ("hv3",)
    assert found.hopeful.fits == ("hv5", "hv3")
    assert found.hopeful.warnings == {"hv5": ("slow",), "hv3": ("hv3 does not answer",)}


def test_no_hope() -> None:
    assert Fitness((), {"hv2": ("monitor", "no QEMU waits there")}).hopeful.fits == ()
    assert Fitness((), {"hv2": REFUSED["hv2"]}).hopeful.fits == ()
