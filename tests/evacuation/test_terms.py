"""How a host is evacuated: values that are checked when they are made."""

from __future__ import annotations

from typing import Any

import pytest

from nbdtun.errors import ConfigError
from nbdtun.evacuation.rules import Rules
from nbdtun.evacuation.terms import AtEnd, Terms
from nbdtun.evacuation.window import Window
from nbdtun.typed import as_json, of_json

QMP = "/run/qemu/{vm}.qmp"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"qmp": ""}, "--libvirt"),
        ({"libvirt": "qemu:///system"}, "--libvirt"),
        ({"qmp": "{vm}.qmp"}, "an absolute path"),
        ({"to": ("hv2", "hv2")}, "twice"),
        ({"copying": 0}, "copying"),
        ({"retries": -1}, "retries"),
        ({"window": "22:00"}, "22:00"),
        ({"rules": Rules(pins={"web1": "hv9"})}, "hv9"),
    ],
)
def test_what_cannot_be(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says.replace("{", r"\{")):
        Terms(**{"qmp": QMP, "to": ("hv2",), **wrong})


def test_what_is_enough_for_a_look_is_not_enough_to_move() -> None:
    for terms, says in (
        (Terms(qmp="/run/web1.qmp", to=("hv2",)), "for the VM's name"),
        (Terms(qmp=QMP, to=()), "no destination"),
    ):
        with pytest.raises(ConfigError, match=says):
            terms.check_whole()
    Terms(qmp=QMP, to=()).check_many()
    Terms(libvirt="qemu:///system", to=("hv2",)).check_whole()


def test_the_journal_keeps_them() -> None:
    rules = Rules((("a", "b"),), (), {"a": "hv2"}, ("a",), {"a": 3})
    terms = Terms(qmp=QMP, to=("hv2", "hv3"), words=("--tls-dir", "/etc/pki"), window="22:00-05:00", at_end=AtEnd.ROLL_BACK, rules=rules)
    assert of_json(Terms, as_json(terms)) == terms
    assert terms.hours == Window(1320, 300)
    assert Terms(qmp=QMP, to=("hv2",)).hours is None
