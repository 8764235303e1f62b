"""The operator's rules for many VMs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import ConfigError
from nbdtun.evacuation.rules import Rules, parse_names, parse_order, parse_pin, parse_priority

VMS = st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=4, unique=True).map(tuple)


def test_groups_that_overlap_are_one() -> None:
    rules = Rules(together=(("a", "b"), ("c", "d"), ("b", "c")))
    assert sorted(map(sorted, rules.groups("abcde"))) == [["a", "b", "c", "d"], ["e"]]


@given(st.lists(VMS, max_size=4).map(tuple))
def test_each_vm_is_in_one_group(together: tuple[tuple[str, ...], ...]) -> None:
    groups = Rules(together=together).groups("abcdefgh")
    assert sorted(vm for group in groups for vm in group) == list("abcdefgh")
    for names in together:
        assert sum(bool(set(names) & set(group)) for group in groups) == 1


def test_a_priority_counts_before_the_order() -> None:
    rules = Rules(order=("c", "b"), priority={"a": 1, "z": -1})
    assert sorted("zxabc", key=rules.rank) == ["a", "c", "b", "x", "z"]


def test_a_vm_is_not_apart_from_itself() -> None:
    assert Rules(apart=(("a", "b"), ("a", "c"), ("b", "c"))).apart_from("a") == {"b", "c"}


def test_they_name_these_vms() -> None:
    rules = Rules((("a", "b"),), (("c", "d"),), {"e": "x"}, ("f",), {"g": 1})
    assert rules.named() == set("abcdeg")


def test_what_operators_write() -> None:
    assert parse_names("web1, db1") == ("web1", "db1")
    assert parse_order("web1") == ("web1",)
    assert parse_pin("web1=tcp:hv2:10810") == ("web1", "tcp:hv2:10810")
    assert parse_priority("web1=-3") == ("web1", -3)


@pytest.mark.parametrize("text", ["", "web1", "web1,web1", ","])
def test_no_group(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_names(text)


@pytest.mark.parametrize("text", ["web1", "web1=", "=hv2", "web1=high", "web1=9999999"])
def test_no_priority(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_priority(text)
