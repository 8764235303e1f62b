"""The documentation says what is true of the programs: each option, each error code, each command."""

from __future__ import annotations

import html
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from nbdtun.cli import command
from nbdtun.cli.daemons import config
from nbdtun.daemon.dest_tap import Options as DestinationOptions
from nbdtun.daemon.source_tap import Options as SourceOptions
from nbdtun.migration.waits import WAITS
from tests.test_states import DECLARED

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.rst"))]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

EVERY = {**command.commands, "config check": config.check}
OPTIONS = {
    "nbdtun-dest": {f"--{name.rstrip('=')}" for name in DestinationOptions().longOpt},
    "nbdtun-source": {f"--{name.rstrip('=')}" for name in SourceOptions().longOpt},
    **{name: {option for one in sub.params for option in one.opts if option.startswith("--")} for name, sub in EVERY.items()},
}
"""What each program understands."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built as `make docs` builds it; a link that leads nowhere is an error."""
    there = tmp_path_factory.mktemp("docs")
    build = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", "-d", f"{there}/doctrees", f"{DOCS}", f"{there}/html"]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return there / "html"


def _read(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", page.read_text()))


@pytest.mark.parametrize("program", sorted(OPTIONS))
def test_every_option_is_there(site: Path, program: str) -> None:
    text = _read(site / "options.html")
    missing = [option for option in OPTIONS[program] - {"--help", "--version"} if not re.search(rf"{option}\b", text)]
    assert missing == []


def test_the_api_is_there(site: Path) -> None:
    text = _read(site / "api.html")
    for name in (
        "migrate",
        "resolve",
        "SourceService",
        "Phase",
        "Report",
        "TunnelSettings",
        "MigrationSettings",
        "LinkState",
        "OutcomeUnknown",
    ):
        assert name in text


def test_every_table_of_states_is_there(site: Path) -> None:
    text = " ".join(_read(site / "states.html").split())
    for table in DECLARED.values():
        for state, moves in table.lines():
            assert f"{state} {moves}".strip() in text


def test_every_wait_is_there(site: Path) -> None:
    text = " ".join(_read(site / "waits.html").split())
    for wait in WAITS:
        assert f"{wait.limit} {wait.ended_by}" in text
    for row in runpy.run_path(f"{DOCS}/_ext/waits.py")["BEHIND_SSH"]:
        assert " ".join(f"{row.limit} {row.ended_by}".replace("``", "").split()) in text


@pytest.mark.parametrize("package", ["reach", "spawn"])
def test_no_limit_of_a_wait_behind_ssh_is_forgotten(package: str) -> None:
    """A new one gets a row, or its reason here."""
    short = {"_LOOK_SECONDS", "_ASK_SECONDS", "CTRL_C"}  # between two looks
    local = {"nbdtun.reach.session:SECONDS"}  # an answer of this host's own bus, asked once
    table = (ROOT / "docs/_ext/waits.py").read_text()
    for path in (ROOT / "nbdtun" / package).rglob("*.py"):
        for name in re.findall(
            r"^(_?[A-Z_]*SECONDS|SOON|LONG|GRACE|FIRST_LINE|(?:UN)?ATTENDED|CTRL_C)(?:: Final)? = ", path.read_text(), re.M
        ):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            if name not in short and f"{module}:{name}" not in local:
                assert f"{path.stem}.{name}" in table, f"{module}:{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_command_exists(page: Path) -> None:
    named = re.findall(r"(?:``|`|^ {4}|\$ )make ([a-z-]+)", page.read_text(), re.MULTILINE)
    assert set(named) <= TARGETS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_that_is_used_exists(page: Path) -> None:
    text = page.read_text().replace("\\\n", " ")
    for line in re.findall(r"^[ #$]{4,}.*(?:twistd|nbdtun) .*$", text, re.MULTILINE):
        program = re.search(
            r"\b(nbdtun-dest|nbdtun-source|"
            r"nbdtun (?:check|migrate|evacuate|plan|certs|status|set|cancel|dest|source|reload|config check))\b(.*)",
            line,
        )
        if program is not None:
            used = set(re.findall(r"(?<=\s)--[a-z][a-z-]*", program[2]))
            assert used <= OPTIONS[program[1].removeprefix("nbdtun ")], line


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_file_that_is_linked_exists(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_pages_that_are_manuals_are_so_without_sphinx(tmp_path: Path) -> None:
    """What Sphinx alone understands is no part of them: see docs/manuals.py. tests/test_manuals.py reads them."""
    made = subprocess.run([sys.executable, DOCS / "manuals.py", tmp_path], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert made.stderr == ""
