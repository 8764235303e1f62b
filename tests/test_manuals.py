"""The manual pages, made of what the programs say of themselves, as man shows them; and the completions, as a shell asks for them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import sysconfig
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

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
        assert "\nname\n" in read(page).lower(), page


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


BASH = """
source "$1"/bash-completion/completions/nbdtun
COMP_WORDS=(nbdtun cancel --run-dir "$2" we) COMP_CWORD=4
_nbdtun_completion nbdtun we "$2"
echo "nbdtun cancel ${COMPREPLY[*]}"
"""
#: At a terminal of its own, as an operator has it, with the Tab.
ZSH = """
zmodload zsh/zpty
zpty pty zsh -f -i
zpty -w pty "fpath=($1/zsh/site-functions \\$fpath); autoload -Uz compinit; compinit -u -d $2/dump; echo LOADED"
zpty -r -m pty seen "*LOADED*LOADED*"
zpty -w -n pty "nbdtun cancel --run-dir $2 we"$'\\t'
zpty -r -m pty seen "*web1*"
print -r -- "nbdtun cancel ${${seen##* }%%[^a-z0-9]*}"
"""


@pytest.mark.parametrize(("shell", "script"), [("bash", BASH), ("zsh", ZSH)])
def test_a_shell_completes_the_vms_that_are_migrated(share: Path, shell: str, script: str) -> None:
    """By the scripts that are installed, in the real shells; of the VMs, the sockets are there by which they are known."""
    with TemporaryDirectory(prefix="nt-", dir="/tmp") as base, ExitStack() as listening:
        control = Path(base, "control")
        control.mkdir(0o700)
        for name in ("web1@0a", "db1@0b"):
            sock = listening.enter_context(socket.socket(socket.AF_UNIX))
            sock.bind(f"{control}/{name}.sock")
            sock.listen()
        environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": base, "TERM": "dumb"}
        ask = [shell, "-c", script, shell, f"{share}", base]
        answer = subprocess.run(ask, env=environment, capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "nbdtun cancel web1", answer
