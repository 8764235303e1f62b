"""The options that both plugins share, and that each error names its option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.python import usage

from nbdtun import __version__
from nbdtun.config import Owner, TunnelSettings
from nbdtun.config.build import tunnel_settings
from nbdtun.config.option import Option
from nbdtun.config.options import TLS_DIR, TUNNEL, WINDOW
from nbdtun.daemon.options import DeclaredOptions, give_up
from nbdtun.errors import ConfigError
from tests.daemon.stage import mistake

SIZES = Option("size", "A size.", "SIZE", "nbdtun.units:parse_size", repeatable=True)


class Options(DeclaredOptions, declared=(*TUNNEL, SIZES)):
    """A plugin that has no options but those of its tunnel, and one that is repeatable."""

    plugin = "nbdtun-dest"

    def build(self) -> TunnelSettings:
        return tunnel_settings(self.given(*TUNNEL))


def read(*words: str) -> Any:
    options = Options()
    options.read(words)
    return options.settings


def test_the_defaults_are_those_of_the_settings() -> None:
    assert read() == TunnelSettings()


def test_each_option_has_its_setting() -> None:
    words = "--tls-dir /pki --insecure --run-dir /run/x --socket-owner 0:0 --bandwidth 500MiB --window 32MiB"
    times = "--link-timeout 5s --resume-window 1min --handshake-timeout 3s"
    assert read(*words.split(), *times.split()) == TunnelSettings(
        tls_dir="/pki",
        insecure=True,
        run_dir="/run/x",
        socket_owner=Owner(0, 0),
        bandwidth=500 << 20,
        window=32 << 20,
        link_timeout=5.0,
        resume_window=60.0,
        handshake_timeout=3.0,
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--window", "much"), "--window: 'much' is not a size"),
        (("--window", "1k"), "window: 1 KiB is not between 64 KiB and 1 GiB"),
        (("--socket-owner", "nobody-here"), "--socket-owner: there is no user"),
        (("--handshake-timeout", "0s"), "handshake-timeout: 0 ms is not between"),
        (("--nonsense",), "option --nonsense not recognized"),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...], line: str) -> None:
    assert mistake(read, *words).startswith(line)


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read("--version")
    assert (ended.value.code, capsys.readouterr().out) == (0, f"nbdtun {__version__}\n")


def test_a_repeatable_option_keeps_its_order() -> None:
    options = Options()
    assert options.value(SIZES) == ()
    assert not options.has(SIZES)
    options.parseOptions(["--size", "2k", "--size", "1k"])
    assert options.value(SIZES) == options.required(SIZES) == (2048, 1024)
    assert Options().value(SIZES) == ()
    options.parseOptions(["--size", "x"])
    with pytest.raises(ConfigError, match=r"^--size: 'x' is not a size"):
        options.value(SIZES)


def test_what_must_be_there() -> None:
    options = Options()
    with pytest.raises(ConfigError, match="--tls-dir is missing"):
        options.required(TLS_DIR)


def test_giving_up_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        give_up("nbdtun-dest", ConfigError("/pki: No such file or directory"))
    assert ended.value.code == 2
    assert capsys.readouterr().err == "nbdtun-dest: /pki: No such file or directory [config]\n"


def test_a_mistake_ends_twistd_with_one_line_and_the_status_of_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for words, line in (
        (["--window", "much"], "--window: 'much' is not a size such as 64KiB, 500MiB or 10G"),
        (["--nonsense"], "option --nonsense not recognized; `nbdtun dest --help` lists the options"),
        (["--windwo=1MiB"], "option --windwo not recognized; did you mean --window?"),
    ):
        with pytest.raises(SystemExit) as caught:
            Options().parseOptions(words)
        assert caught.value.code == 2
        assert capsys.readouterr() == ("", f"nbdtun-dest: {line} [config]\n")


@pytest.mark.parametrize(
    ("twistd", "pidfile"),
    [
        ({"nodaemon": 1, "pidfile": "twistd.pid"}, ""),
        ({"nodaemon": 0, "pidfile": "twistd.pid"}, "twistd.pid"),
        ({"nodaemon": 1, "pidfile": "/run/d.pid"}, "/run/d.pid"),
    ],
)
def test_twistds_default_pidfile_is_for_the_background(twistd: dict[str, Any], pidfile: str) -> None:
    options = Options()
    options.parent = twistd  # type: ignore[assignment]
    options.parseOptions([])
    assert twistd["pidfile"] == pidfile


class TestFile:
    @pytest.fixture
    def file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Where the daemon looks for its file; there is none yet."""
        monkeypatch.setattr("nbdtun.daemon.options.USUAL", tmp_path)
        return tmp_path / "dest.toml"

    def test_it_is_read_where_it_usually_is(self, file: Path) -> None:
        assert read() == TunnelSettings()
        file.write_text('tls-dir = "/pki"\ninsecure = true\nwindow = "32MiB"')
        assert read() == TunnelSettings(tls_dir="/pki", insecure=True, window=32 << 20)
        assert read("--config", "none") == TunnelSettings()

    def test_the_command_line_wins(self, file: Path) -> None:
        """Also with the default value; and a repeatable option takes the place of the whole list."""
        file.write_text('window = "32MiB"\nsize = ["1k", "2k"]\nbandwidth = "1MiB"')
        assert read("--window", WINDOW.default or "") == TunnelSettings(bandwidth=1 << 20)
        options = Options()
        options.read([])
        assert options.value(SIZES) == (1024, 2048)
        options.read(["--size", "3k"])
        assert options.value(SIZES) == (3072,)

    def test_another_file(self, file: Path, tmp_path: Path) -> None:
        file.write_text('window = "much"')
        (tmp_path / "other.toml").write_text('window = "1MiB"')
        assert read("--config", f"{tmp_path}/other.toml") == TunnelSettings(window=1 << 20)
        assert mistake(read, "--config", f"{tmp_path}/gone.toml") == f"{tmp_path}/gone.toml: No such file or directory"

    def test_its_mistakes_name_it(self, file: Path) -> None:
        file.write_text('window = "much"')
        assert mistake(read) == f"{file}: window: 'much' is not a size such as 64KiB, 500MiB or 10G"
        file.write_text('winow = "1MiB"')
        assert mistake(read) == f"{file}: there is no option winow; did you mean window?"


def test_twistd_has_log_options_of_its_own() -> None:
    options = Options()
    options.parent = usage.Options()
    assert mistake(lambda *words: options.read(words), "--log-level", "warn").startswith(
        "--log-level is for `nbdtun dest`; twistd has --logger"
    )
