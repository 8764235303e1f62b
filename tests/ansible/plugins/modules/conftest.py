from __future__ import annotations

import pytest

from tests.ansible.stage import Play


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    pytest.importorskip("ansible", reason="ansible-core is not installed: pip install '.[ansible]'")
    return Play(monkeypatch)
