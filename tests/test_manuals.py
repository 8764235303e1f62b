"""The manual pages, made of what the programs say of themselves, as man shows them; and the completions, as a shell asks for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from nbdtun.cli import command
from nbdtun.config.options import DESTINATION, SOURCE

ROOT = Path(__file__).parent.parent
CODES = ("config", "guest-lost", "unknown")


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an installation puts below `share`; it has docutils and click to make it, as pip gives them to a build."""
    made, packages = tmp_path_factory.mktemp("share"), tmp_path_factory.mktemp("packages")
    for name in ("click", "docutils"):
        (packages / name).symlink_to(Path(sysconfig.get_path("purelib"), name))
    alone = {**os.environ, "PYTHONPATH": f"{packages}"}
    subprocess.run([sys.executable, "-S", ROOT / "docs/manuals.py", made], env=alone, check=True)
    return made


def read(page: Path) -> str:
    """A page as man shows it, in lines that are long enough for its words."""
    words = {"PATH": "/usr/bin:/bin", "MANWIDTH": "1000", "LC_ALL": "C.UTF-8"}
    shown = subprocess.run(["man", "--warnings", "--local-file", page], env=words, capture_output=True, text=True, check=True)
    assert shown.stderr == ""
    return shown.stdout


def test_each_page_is_without_a_fault(share: Path) -> None:
    pages = sorted(share.glob("man/*/*"))
    assert {f"nbdtun-{name}.1" for name in command.commands} < {page.name for page in pages}
    for page in pages:
        assert "\nName\n" in read(page), page


def test_a_command_has_what_its_help_says(share: Path) -> None:
    page = read(share / "man/man1/nbdtun-migrate.1")
    assert "nbdtun migrate [OPTIONS] VM" in page
    for parameter in command.commands["migrate"].params:
        assert parameter.opts[0] in page
    assert "outcome unknown; VM is paused on the source: use --resolve" in page


@pytest.mark.parametrize(("name", "declared"), [("dest", DESTINATION), ("source", SOURCE)])
def test_a_file_has_all_keys(share: Path, name: str, declared: tuple[object, ...]) -> None:
    page = read(share / f"man/man5/nbdtun-{name}.toml.5")
    for option in declared:
        named = getattr(option, "name", "")
        assert named == "config" or f"{named} = {getattr(option, 'metavar', '') or 'true'}" in page, named


def test_the_errors_have_their_codes(share: Path) -> None:
    page = read(share / "man/man7/nbdtun-errors.7")
    assert [code for code in CODES if f"\n       {code}" not in page] == []


def test_the_completions_are_scripts_that_their_shells_read(share: Path) -> None:
    for shell, path in (("bash", "bash-completion/completions/nbdtun"), ("zsh", "zsh/site-functions/_nbdtun")):
        if shutil.which(shell):
            subprocess.run([shell, "-n", share / path], check=True)
        assert "_NBDTUN_COMPLETE" in (share / path).read_text()
