"""Plans as JSON: what is written is read again, and nothing else is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import ProtocolViolation
from nbdtun.migration.finding import Finding, Level
from nbdtun.spawn.values import Found
from nbdtun.spawn.wire import found_of, plan_of, to_json
from tests.spawn.stage import PLAN

FOUND = Found("/usr/bin/qemu", "7.2.0", ("/data",), (Finding(Level.FAILURE, "plan", "what", "remedy", "config"),))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


def test_a_plan_arrives_as_it_was() -> None:
    assert plan_of(json.loads(json.dumps(to_json(PLAN)))) == PLAN


def test_what_was_found_arrives_as_it_was() -> None:
    assert found_of(json.loads(json.dumps(to_json(FOUND)))) == FOUND


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"vm": 1}, "plan.vm is wrong"),
        ({"vm": "a\0b"}, "plan.vm is wrong"),
        ({"vm": None}, "plan.vm is wrong"),
        ({"more": 1}, "plan does not have the fields"),
        ({"arguments": ["-S", 7]}, r"plan.arguments\[1\] is wrong"),
        ({"arguments": ["x"] * 5000}, "plan.arguments is wrong"),
        ({"overwrite": 1}, "plan.overwrite is wrong"),
        ({"images": [{}]}, r"plan.images\[0\] does not have the fields"),
        ({"paths": [{**to_json(PLAN)["paths"][0], "role": "x"}]}, "'x' is not a valid Role"),
        ({"machine": []}, "plan.machine does not have"),
        ({"ports": [{**to_json(PLAN)["ports"][0], "port": 1 << 64}]}, r"ports\[0\].port is wrong"),
    ],
)
def test_others_are_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ProtocolViolation, match=why):
        plan_of({**to_json(PLAN), **changes})


@given(told=JSON)
def test_anything_else_is_refused(told: Any) -> None:
    with pytest.raises(ProtocolViolation):
        plan_of(told)


@given(name=st.sampled_from(sorted(to_json(PLAN))), told=JSON)
def test_any_field_may_be_wrong(name: str, told: Any) -> None:
    try:
        plan = plan_of({**to_json(PLAN), name: told})
    except ProtocolViolation:
        return
    assert to_json(plan)[name] == told
