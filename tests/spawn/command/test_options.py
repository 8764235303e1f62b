"""The table of QEMU's options, against itself; test_spawn asks real QEMUs."""

from __future__ import annotations

from nbdtun.spawn.command.options import FLAGS, JSON, KEYED, SYNONYMS, TEXTS
from nbdtun.spawn.rewrite.others import KEPT, LEFT_OUT, REFUSED
from nbdtun.spawn.rewrite.plan import RULES

#: Carried out when the line is parsed.
PARSED = {"set", "readconfig", "blockdev"}


def test_an_option_is_of_one_kind() -> None:
    assert not FLAGS & TEXTS
    assert not (FLAGS | TEXTS) & KEYED.keys()
    assert KEYED.keys() >= JSON
    assert set(SYNONYMS.values()) <= FLAGS | KEYED.keys()


def test_each_option_has_one_rule() -> None:
    for name in FLAGS | TEXTS | KEYED.keys():
        rules = [name in table for table in (KEPT, LEFT_OUT, REFUSED, RULES, PARSED)]
        assert rules.count(True) == 1, name
