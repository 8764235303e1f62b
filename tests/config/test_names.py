"""The names of targets and VMs."""

from __future__ import annotations

import pytest

from nbdtun.config.names import check_name
from tests.config.stage import refused


@pytest.mark.parametrize("name", ["a", "0", "web1", "A-b_c.d", "x" * 64])
def test_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "_a", "a/b", "a b", "a\n", "ü", "a=b", "x" * 65])
def test_what_is_no_name(name: str) -> None:
    assert repr(name) in refused(check_name, name)
