"""The command as it is called, and what it prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbdtun.cli import main

ROOT = Path(__file__).parent.parent.parent
MIGRATE = ("migrate", "web1", "--qmp", "/run/web1.qmp", "--to", "unix:/run/tunnel.sock")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(list(words))
    out, err = capsys.readouterr()
    return status, out, err
