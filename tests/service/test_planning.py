"""A destination, planned with a far end; here that only writes down what it was asked."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nbdtun.config import MigrateSettings
from nbdtun.errors import ConfigError, NotMigratable
from nbdtun.migration.finding import Finding, Level
from nbdtun.migration.settings import MigrationSettings
from nbdtun.service import planning
from nbdtun.service.planning import Planned, examine, make, make_with
from nbdtun.service.tunnel.reached import Step
from nbdtun.spawn.values import Found, Plan
from nbdtun.spawn.wire import Json, plan_of, to_json
from tests.spawn.stage import PLAN, evolved, image_of

WRONG = Finding(Level.FAILURE, "plan", "cannot be had", "", "config")


class Far:
    """A far end that sees the source's directory."""

    def __init__(self, directory: Path, found: Found | None = None) -> None:
        self._directory = directory
        self._found = found or Found("/opt/qemu")
        self.nonces: list[str] = []

    async def look(self, wanted: Json) -> Json:
        self._note(wanted)
        return to_json(self._found)

    async def make(self, plan: Json) -> str:
        self._note(plan)
        return "/run/q"

    def _note(self, plan: Json) -> None:
        (image,) = plan_of(plan).images
        self.nonces += [name for name in os.listdir(self._directory) if name == image.twin.nonce]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "a").touch()
    return evolved(PLAN, images=(image_of(origin=str(tmp_path / "a")),), findings=())


async def test_a_far_end_looks_beside_the_images(plan: Plan, tmp_path: Path) -> None:
    far = Far(tmp_path)
    planned = await examine(plan, far)
    assert len(far.nonces) == 1
    assert os.listdir(tmp_path) == ["a"]
    assert (planned.fit, planned.found) == (True, Found("/opt/qemu"))


async def test_a_far_end_makes_it(plan: Plan, tmp_path: Path) -> None:
    far = Far(tmp_path)
    assert await make(plan, far) == "/run/q"
    assert len(far.nonces) == 1
    assert os.listdir(tmp_path) == ["a"]


async def test_a_plan_that_cannot_be_had_is_not_made(plan: Plan, tmp_path: Path) -> None:
    far = Far(tmp_path)
    with pytest.raises(ConfigError, match="cannot be had"):
        await make(evolved(plan, findings=(WRONG,)), far)
    assert far.nonces == []


async def test_the_findings_of_both(plan: Plan) -> None:
    other = Finding(Level.FAILURE, "place", "is lacking", "", NotMigratable.code)
    planned = Planned(evolved(plan, findings=(WRONG,)), Found(findings=(other,)))
    assert (planned.findings, planned.fit) == ((WRONG, other), False)
    told: dict[str, Any] = planned.as_json()
    assert [finding["what"] for finding in told["findings"]] == ["cannot be had", "is lacking"]


def test_a_secret_is_not_printed(plan: Plan) -> None:
    planned = Planned(evolved(plan, arguments=("-object", "secret,id=s,data=top")), Found())
    assert planned.as_json()["arguments"] == ["-object", "secret,id=s,data=HIDDEN"]


async def test_the_steps_are_told_as_they_are_done(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def drawn(reactor: Any, vm: str, qmp: str, answers: Any) -> Plan:
        return plan

    monkeypatch.setattr(planning, "draw", drawn)
    settings = MigrateSettings(connect="ssh://dest", qmp="/run/q", migration=MigrationSettings(vm="web1"))
    told: list[str] = []
    reached: Any = SimpleNamespace(far=Far(tmp_path))
    reactor: Any = None
    await make_with(reactor, settings, reached, told.append)
    assert [isinstance(line, Step) for line in told] == [True, True, False]
    assert told[0] == "web1: planning its destination"
    assert told[1].startswith("web1: making 1 disk of ")
    assert told[1].endswith(", and starting QEMU there")
    assert told[2].startswith("web1: made its destination, 1 disk of ")
