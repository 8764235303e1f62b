"""``nbdtun cancel``: its status and its line say where the VM is."""

from __future__ import annotations

import pytest
from attrs import evolve

from nbdtun.display.words import OUTCOMES
from nbdtun.errors import ConfigError, TooLate
from nbdtun.migration.progress import Phase
from tests.cli.stage import PROGRESS, REPORT, Running, run


@pytest.mark.parametrize(
    ("phase", "error", "detail", "status"),
    [
        (Phase.CANCELLED, "cancelled", "", 0),
        (Phase.CANCELLED, None, "", 0),
        (Phase.FAILED, "vda: no space left", " (vda: no space left)", 0),
        (Phase.COMPLETED, None, "", 1),
        (Phase.UNKNOWN, "the destination cannot be asked", " (the destination cannot be asked)", 1),
    ],
)
def test_how_it_has_ended(
    phase: Phase, error: str | None, detail: str, status: int, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    running.reports = [{**REPORT, "progress": evolve(PROGRESS, phase=phase, error=error).as_json()}]
    assert run(capsys, "cancel", "web1") == (status, f"web1 {OUTCOMES[phase]}{detail}\n", "")
    assert running.asked == [("web1", "Cancel", {})]


@pytest.mark.parametrize(
    ("error", "status"),
    [(TooLate("web1: cannot be cancelled in phase finish"), 1), (ConfigError("web1: no such migration"), 2)],
)
def test_what_cannot_be_cancelled(error: TooLate | ConfigError, status: int, running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    running.error = error
    assert run(capsys, "cancel", "web1") == (status, "", f"nbdtun: {error.line}\n")


def test_it_needs_a_name(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "cancel")
    assert (status, out) == (2, "")
    assert err.startswith("nbdtun: Missing argument 'VM|SOCKET|@PID'.")
    assert running.asked == []
