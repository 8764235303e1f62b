"""What an application may import: this list, from two packages. No move of a module breaks it; docs and examples need nothing else."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PUBLIC = {
    "nbdtun.config": {
        *("TunnelSettings", "SourceSettings", "DestinationSettings", "MigrateSettings", "Limits", "LocalLimits"),
        *("Forward", "Target", "FactoryTarget", "VM", "VMPattern", "Owner"),
        *("MigrationSettings", "Strategy", "Timeouts", "OnTimeout", "StepTimeouts"),
    },
    "nbdtun.service": {
        *("SourceService", "DestinationService", "MigrationService", "DaemonControl", "ChannelEndpoint"),
        *("check", "migrate", "recover", "resolve", "steady"),
        *("evacuate", "Evacuation", "Terms", "Rules", "Overview", "Entry"),
        *("Progress", "Phase", "LinkState", "DiskProgress", "MemoryProgress", "Measures", "Moment"),
        *("Report", "Finding", "Level", "Activity", "Forecast"),
        *("NbdtunError", "ConfigError", "TunnelError", "MigrationError", "GuestLost", "OutcomeUnknown"),
    },
}
#: The tree of errors is described as a whole.
DESCRIBED = {*PUBLIC, "nbdtun.errors"}
PAGES = sorted((ROOT / "docs").glob("*.rst"))
PROGRAMS = [*sorted((ROOT / "examples").glob("*.py")), ROOT / "docs/conf.py"]


@pytest.mark.parametrize("package", PUBLIC)
def test_all_of_it_is_there_and_nothing_else(package: str) -> None:
    module = importlib.import_module(package)
    assert set(module.__all__) == PUBLIC[package]
    assert PUBLIC[package] <= set(dir(module))
    for name in PUBLIC[package]:
        assert getattr(module, name).__name__ == name
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Nonsense'"):
        module.Nonsense  # noqa: B018


@pytest.mark.parametrize("package", PUBLIC)
def test_type_checkers_see_the_same(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__file__ is not None
    checked = next(node for node in ast.parse(Path(module.__file__).read_text()).body if isinstance(node, ast.If))
    seen = {(node.module, alias.name) for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == {(home, name) for home, names in module._HOMES.items() for name in names.split()}


def imported(program: str) -> Iterator[tuple[str, str]]:
    """Each module of nbdtun that a program imports from, and the name."""
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "nbdtun":
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.partition(".")[0] == "nbdtun")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_programs_import_nothing_else(program: Path) -> None:
    found = set(imported(program.read_text())) - {("nbdtun", "__version__")}
    assert found
    assert [(module, name) for module, name in found if name not in PUBLIC.get(module, ())] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_pages_describe_and_import_nothing_else(page: Path) -> None:
    text = page.read_text()
    named = re.findall(r"^\s*(?:\.\. auto\w+::|from|import) (nbdtun[\w.]*)", text, re.MULTILINE)
    named += re.findall(r":(?:mod|class|func|exc|meth):`~?(nbdtun[\w.]*)`", text)
    assert [name for name in named if name not in DESCRIBED and name.rpartition(".")[0] not in DESCRIBED] == []
