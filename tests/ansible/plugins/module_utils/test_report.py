"""The report on the disk. modules/test_evacuate has it over several runs."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nbdtun.migration.plugins.module_utils.command import Failure
from ansible_collections.nbdtun.migration.plugins.module_utils.report import Report


def test_without_a_path_nothing_is_written() -> None:
    wrote: list[Any] = []
    report = Report(None, wrote.append, wrote.append)
    report.read()
    assert report.keep([{"vm": "a", "state": "moved"}], begun=False) == {"vms": [{"vm": "a", "state": "moved"}]}
    assert (wrote, report.begun) == ([], False)


def test_a_disk_that_is_full() -> None:
    def move(*_: str) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(Failure, match=r"the report /r cannot be written: .*No space left"):
        Report("/r", lambda told: "/tmp/x", move).keep([], begun=True)
