"""What nbdtun's output means."""

from __future__ import annotations

import pytest
from ansible_collections.nbdtun.migration.plugins.module_utils.command import Done


def test_objects_are_found_among_lines() -> None:
    assert Done(0, '{"a": 1}\nnoise\n[1]\n{"b": 2}\n', "").objects() == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    ("err", "text", "code"),
    [
        ("a warning\nnbdtun: web1: no; mend it [not-migratable]\n", "web1: no; mend it", "not-migratable"),
        ("nbdtun: interrupted\n", "interrupted", ""),
        ("nbdtun: web1 [x]: gone [link-lost]\nTraceback\n", "web1 [x]: gone", "link-lost"),
        ("setsid: failed to execute nbdtun\n\n", "setsid: failed to execute nbdtun", ""),
        ("", "nbdtun has ended with status 5 and without a word", ""),
    ],
)
def test_the_last_complaint(err: str, text: str, code: str) -> None:
    assert Done(5, "", err).complaint() == (text, code)


@pytest.mark.parametrize(("rc", "code"), [(1, "failed"), (-9, "killed"), (9, "killed")])
def test_a_failure_without_a_code_has_one(rc: int, code: str) -> None:
    assert Done(rc, "", "").failure(vm="web1").result["code"] == code
    assert Done(rc, "", "").killed is (code == "killed")
    assert Done(rc, "", "nbdtun: no [tls]").failure(vm="web1").result == {"msg": "no", "code": "tls", "remedy": "", "rc": rc, "vm": "web1"}
