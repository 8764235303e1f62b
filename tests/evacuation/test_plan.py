"""A plan as lines, JSON and TOML, and a file that an operator has edited."""

from __future__ import annotations

import json

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import ConfigError
from nbdtun.evacuation.plan import Plan, in_order, lines, read, toml
from nbdtun.evacuation.rules import Rules
from nbdtun.evacuation.terms import Terms
from nbdtun.evacuation.values import Move

GIB = 1 << 30
TERMS = Terms(
    qmp="/run/qemu/{vm}.qmp",
    to=("hv2", "ssh://hv3"),
    words=("--tls-dir", "/etc/pki"),
    bandwidth=100 << 20,
    rules=Rules(together=(("web1", "db1"),), apart=(("web1", "web2"),)),
)
WEB1 = Move("web1", "/run/qemu/web1.qmp", "hv2", ("hv2",), GIB, 9 * GIB, 60, 350, warnings=("its cache is unsafe",))
WEB2 = Move("web2", "/run/qemu/web2.qmp", refused="a backup is running", code="not-migratable", disks=GIB)
PLAN = Plan(TERMS, (WEB1, WEB2))
HEAD = '[evacuation]\nqmp = "/run/{vm}.qmp"\nto = ["hv2"]\n'


def test_for_people() -> None:
    assert list(lines(PLAN)) == [
        "web1  to hv2; 9 GiB of disks, 1 GiB of memory, about 1 min, downtime about 350 ms",
        "      warning: its cache is unsafe",
        "web2  stays: a backup is running [not-migratable]; 1 GiB of disks, 0 B of memory",
        "1 of 2 VMs can be moved, 10 GiB, at least 1 min 42 s at 100 MiB/s",
    ]


def test_for_programs() -> None:
    told = json.loads(json.dumps(PLAN.as_json()))
    assert told["fit"] is False
    assert [vm["refused"] for vm in told["vms"]] == [None, "a backup is running"]


def test_what_is_printed_can_be_given_back() -> None:
    edited = read("\n".join(toml(PLAN)), "evening.toml")
    assert edited.moves == (("web1", "hv2"),)
    pinned = Rules(TERMS.rules.together, TERMS.rules.apart, {"web1": "hv2"}, ("web1",))
    assert edited.terms == evolve(TERMS, rules=pinned)


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), max_size=3), st.integers(0, 1 << 60))
def test_any_option_comes_back_as_it_was(words: list[str], bandwidth: int) -> None:
    terms = evolve(TERMS, words=tuple(words), bandwidth=bandwidth, window="22:00-05:00", hooks="/etc/nbdtun/hooks", rules=Rules())
    assert read("\n".join(toml(Plan(terms, ()))), "plan").terms == terms


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no toml", "is no plan"),
        ("", "evacuation"),
        ("evacuation = 1", "evacuation"),
        (f"{HEAD}[[vm]]\nname = 'web1'\n", "needs a name and a destination"),
        (f"{HEAD}[[vm]]\nname = 'web1'\nto = 'hv9'\n", "hv9"),
        (f"{HEAD}[[vm]]\nname = 'a'\nto = 'hv2'\n[[vm]]\nname = 'a'\nto = 'hv2'\n", "twice"),
        (f"{HEAD}copyin = 3\n", "copyin"),
        (f"{HEAD}copying = 'two'\n", "copying"),
        (f"{HEAD}bandwidth = -1\n", "bandwidth"),
        (f"{HEAD}at-end = 'never'\n", "at-end"),
        (f"{HEAD}[rules]\nkeep-together = ['web1']\n", "keep-together"),
        (f"{HEAD}[rules]\nkeep = 1\n", "keep"),
        (f"{HEAD}[other]\n", "other"),
        (f"{HEAD}vm = 3\n", "vm"),
        (f"vm = 3\n{HEAD}", r"\[\[vm\]\]"),
    ],
)
def test_mistakes_are_named(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read(text, "evening.toml")


def test_the_order_is_the_operators_then_the_size() -> None:
    moves = [Move("a", "", memory=3), Move("b", "", memory=1), Move("c", "", memory=2)]
    assert [move.vm for move in in_order(moves, Rules(order=("c",)))] == ["c", "b", "a"]
