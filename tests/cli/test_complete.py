"""Names that a shell completes: those of this user's control sockets."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete

from nbdtun.cli import cancel, change, command, status
from nbdtun.cli.remote import migrations, running
from nbdtun.errors import ConfigError
from nbdtun.service.control.names import Name


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "nbdtun.service.control.socket.names",
        lambda base: [Name("", "4711"), Name("db1", "0a"), Name("web1", "0b"), Name("web2", "0c")] if base == Path("/run/x") else [],
    )


def context(**params: str) -> click.Context:
    made = click.Context(click.Command("set"))
    made.params = {"run_dir": "/run/x", **params}
    return made


@pytest.mark.usefixtures("names")
def test_names_that_begin_so() -> None:
    parameter = change.command.params[0]
    assert running(context(), parameter, "web") == ["web1", "web2"]
    assert running(context(), parameter, "") == ["@4711", "db1", "web1", "web2"]
    assert migrations(context(), parameter, "") == ["db1", "web1", "web2"]


def test_what_cannot_be_read_completes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(base: Path) -> list[str]:
        raise ConfigError("Permission denied")

    monkeypatch.setattr("nbdtun.service.control.socket.names", refuse)
    assert running(context(), change.command.params[0], "") == []


def test_the_commands_use_them() -> None:
    wanted = {status: running, change: running, cancel: migrations}
    for module, complete in wanted.items():
        assert module.command.params[0]._custom_shell_complete is complete


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("migrate web1 --qmp", "file,/ru"),
        ("migrate web1 --tls-dir", "dir,/ru"),
        ("dest --config", "file,/ru"),
        ("dest --max-channels", ""),
    ],
)
def test_files_and_directories_are_the_shells_to_complete(words: str, found: str) -> None:
    assert _completed(*words.split(), "/ru") == found


def test_words_that_a_value_can_be() -> None:
    assert _completed("migrate", "web1", "--on-timeout", "") == "plain,cancel\nplain,force"
    assert _completed("dest", "--log-format", "j") == "plain,json"


def _completed(*words: str) -> str:
    """What the command answers to bash, which asks for the last word."""
    *before, last = words
    asked = BashComplete(command, {}, "nbdtun", "_NBDTUN_COMPLETE")
    return "\n".join(map(asked.format_completion, asked.get_completions(before, last)))
