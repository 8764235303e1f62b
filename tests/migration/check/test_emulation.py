from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.migration.check.emulation import memory_loss_risk
from tests.migration.stage.paper_qemu import PaperQemu

MIB = 1 << 20


def check(qemu: PaperQemu) -> str:
    said: list[str] = []
    Deferred.fromCoroutine(qemu.connect())
    Deferred.fromCoroutine(memory_loss_risk(qemu)).addCallback(said.append)
    qemu.clock.pump([0.001] * 10)
    return said[0]


@pytest.fixture
def emulating() -> PaperQemu:
    qemu = PaperQemu(Clock(), "web1")
    qemu.more = {"query-kvm"}
    qemu.kvm = False
    return qemu


def test_an_old_one_that_emulates(emulating: PaperQemu) -> None:
    assert check(emulating) == "QEMU 7.2.22 without KVM may lose memory writes that the guest makes during a migration"


def test_kvm_keeps_its_own_notes(emulating: PaperQemu) -> None:
    emulating.kvm = True
    assert check(emulating) == ""


@pytest.mark.parametrize(("release", "forgets"), [((8, 2, 10), True), ((9, 0, 0), False), ((10, 0, 2), False)])
def test_it_was_mended(emulating: PaperQemu, release: tuple[int, int, int], forgets: bool) -> None:
    emulating.release = release
    assert bool(check(emulating)) == forgets


@pytest.mark.parametrize(
    ("blocks", "forgets"),
    [([128 * MIB + 8192], False), ([128 * MIB + 8192, MIB], True), ([256 << 10], True), ([260 << 10], False), ([], False)],
)
def test_blocks_of_other_sizes_are_collected_page_by_page(emulating: PaperQemu, blocks: list[int], forgets: bool) -> None:
    emulating.blocks = blocks
    assert bool(check(emulating)) == forgets


def test_a_qemu_that_cannot_tell(emulating: PaperQemu) -> None:
    emulating.more = set()
    assert check(emulating) == ""
