"""A source's rights: to the VMs that it may migrate to, and to no other."""

from __future__ import annotations

import pytest

from nbdtun.errors import NotAllowed
from nbdtun.migration.carrier import Party


def test_without_rules_every_vm_is_allowed() -> None:
    Party().check("web1")


def test_a_vm_that_is_not_allowed_is_named_with_the_source() -> None:
    party = Party("dns:src1.example", frozenset({"dns:src1.example"}), {"web1"}.__contains__)
    party.check("web1")
    with pytest.raises(NotAllowed, match=r"^web2: no --allow at the destination admits dns:src1.example to this VM$"):
        party.check("web2")
