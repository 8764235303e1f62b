"""The daemons as subcommands: the options of the plugins, given on as they were typed."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from nbdtun.cli.daemons import serve
from nbdtun.config.options import DESTINATION, PROCESS, SOURCE


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was to be served, instead of serving it."""
    calls: list[Any] = []
    monkeypatch.setattr(serve, "serve", lambda *arguments: calls.append(arguments))
    return calls


def test_what_is_typed_reaches_the_daemons_own_options(served: list[Any]) -> None:
    words = ["--listen", "10810", "--vm", "a=/a", "--vm=b=/b", "--insecure", "--window", "much"]
    assert CliRunner().invoke(serve.dest, words).exit_code == 0
    assert CliRunner().invoke(serve.source, ["--log-level", "warn", "--log-format", "json"]).exit_code == 0
    given = ["--listen=10810", "--vm=a=/a", "--vm=b=/b", "--insecure", "--window=much"]
    logged = ["--log-format=json", "--log-level=warn"]
    assert served == [("nbdtun.daemon.dest_tap", given), ("nbdtun.daemon.source_tap", logged)]


@pytest.mark.parametrize(("command", "declared"), [(serve.dest, DESTINATION), (serve.source, SOURCE)])
def test_every_option_and_its_default_is_in_the_help(command: Any, declared: Any) -> None:
    text = " ".join(CliRunner().invoke(command, ["--help"], terminal_width=1000).output.split())
    for option in (*declared, *PROCESS):
        assert f"--{option.name}" in text
        assert option.default is None or f"[default: {option.default}]" in text


def test_an_unknown_option_is_wrong_usage(served: list[Any]) -> None:
    run = CliRunner().invoke(serve.dest, ["--vms", "a=/a"])
    assert (run.exit_code, served) == (2, [])
