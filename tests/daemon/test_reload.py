"""A running daemon reads its options again: what it takes, what it leaves, and that a mistake changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from nbdtun.config import VM, DestinationSettings, Target
from nbdtun.daemon.dest_tap import Options
from nbdtun.daemon.reload import Reload
from nbdtun.errors import ConfigError, ShuttingDown

BASE = 'listen = "unix:/a"\nvm = ["web1=/q"]\n'
SECURE = BASE + 'tls-dir = "/pki"\n'


class Running:
    """A daemon that was started with a file."""

    def __init__(self, file: Path, content: str, *words: str) -> None:
        self.file = file
        self.file.write_text(content)
        options = Options()
        options.read([f"--config={file}", *words])
        self.settings: list[DestinationSettings] = [options.settings]
        self.error: Exception | None = None
        self.reload = Reload(options, self._take)

    def _take(self, settings: DestinationSettings) -> None:
        if self.error is not None:
            raise self.error
        self.settings.append(settings)

    async def becomes(self, content: str) -> tuple[list[str], list[str]]:
        """The file is this now; what was taken, and what was left."""
        self.file.write_text(content)
        told = await self.reload()
        assert told["file"] == f"{self.file}"
        return told["taken"], told["left"]


@pytest.fixture
def running(tmp_path: Path) -> Callable[..., Running]:
    return lambda *words: Running(tmp_path / "dest.toml", *words)


@pytest_twisted.ensureDeferred
async def test_what_can_change_is_taken_and_the_rest_is_named(running: Callable[..., Running]) -> None:
    daemon = running(BASE)
    assert await daemon.becomes(BASE) == ([], [])
    more = 'target = ["nbd=unix:/b"]\nbandwidth = "5MiB"\nwindow = "1MiB"\n'
    assert await daemon.becomes(BASE.replace("unix:/a", "unix:/other") + more) == (["target", "bandwidth"], ["listen", "window"])
    taken = daemon.settings[-1]
    assert (taken.listen, taken.tunnel.window) == ("unix:/a", daemon.settings[0].tunnel.window)
    assert (taken.targets, taken.tunnel.bandwidth) == ((Target("nbd", "unix:/b"),), 5 << 20)


@pytest_twisted.ensureDeferred
async def test_the_next_time_counts_from_what_is_in_force(running: Callable[..., Running], said: list[str]) -> None:
    daemon = running(BASE)
    other = BASE + 'window = "1MiB"\nvm = ["web2=/q2"]\n'.replace("vm = ", "max-channels = 7\nallow = []\n#")
    assert await daemon.becomes(other) == (["max-channels"], ["window"])
    assert await daemon.becomes(other) == ([], ["window"])
    assert await daemon.becomes(BASE) == (["max-channels"], [])
    assert daemon.settings[-1] == daemon.settings[0]
    assert f"{daemon.file}: window: restart the daemon to change that" in said


@pytest_twisted.ensureDeferred
async def test_the_command_line_still_wins(running: Callable[..., Running]) -> None:
    daemon = running(BASE, "--vm", "db=/db", "--bandwidth", "1MiB")
    assert await daemon.becomes(BASE + 'bandwidth = "5MiB"') == ([], [])
    assert daemon.settings[-1].vms == (VM("db", "/db"),)


@pytest_twisted.ensureDeferred
async def test_a_mistake_changes_nothing(running: Callable[..., Running], said: list[str]) -> None:
    daemon = running(BASE)
    for content, line in (
        (BASE + 'max-channels = "many"', "max-channels: 'many' is not a number"),
        (BASE + "maxchannels = 7", "there is no option maxchannels; did you mean max-channels?"),
        ('listen = "unix:/a"', "a destination needs at least one --target or --vm"),
    ):
        with pytest.raises(ConfigError, match=line):
            await daemon.becomes(content)
    daemon.reload.at_signal()
    assert said[-1].startswith("nothing was reloaded: a destination needs at least one")
    daemon.file.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        await daemon.reload()
    daemon.error = ShuttingDown("it takes no changes")
    with pytest.raises(ShuttingDown):
        await daemon.becomes(BASE + "max-channels = 7")
    daemon.error = None
    assert len(daemon.settings) == 1
    assert await daemon.becomes(BASE + "max-channels = 7") == (["max-channels"], [])


@pytest_twisted.ensureDeferred
async def test_tls_does_not_come_or_go(running: Callable[..., Running]) -> None:
    daemon = running(BASE)
    assert await daemon.becomes(SECURE) == ([], ["tls-dir"])
    with pytest.raises(ConfigError, match=r"--allow needs --tls-dir.*keeps, of tls-dir"):
        await daemon.becomes(SECURE + 'allow = ["src*"]')


@pytest_twisted.ensureDeferred
async def test_another_directory_is_taken_where_there_is_tls(running: Callable[..., Running]) -> None:
    daemon = running(SECURE)
    assert await daemon.becomes(SECURE.replace("/pki", "/new")) == (["tls-dir"], [])
    assert daemon.settings[-1].tunnel.tls_dir == "/new"


@pytest_twisted.ensureDeferred
async def test_the_level_of_a_log_of_its_own(running: Callable[..., Running]) -> None:
    daemon, levels = running(BASE), list[str]()
    assert await daemon.becomes(BASE + 'log-level = "debug"') == ([], ["log-level"])  # twistd has the log
    daemon.reload.set_level = levels.append
    assert await daemon.becomes(BASE + 'log-level = "debug"') == (["log-level"], [])
    assert levels == ["debug"]


@pytest_twisted.ensureDeferred
async def test_one_without_a_file_has_nothing_to_reload() -> None:
    options = Options()
    options.read(["--config", "none", "--listen", "unix:/a", "--vm", "web1=/q"])
    reload = Reload(options, lambda settings: None)
    assert not reload.possible
    with pytest.raises(ConfigError, match="this daemon was started without a configuration file; restart it"):
        await reload()


@pytest_twisted.ensureDeferred
async def test_two_at_a_time_take_turns(running: Callable[..., Running]) -> None:
    daemon = running(BASE)
    first: Deferred[None] = Deferred()
    taken: list[Any] = []

    def take(settings: DestinationSettings) -> Deferred[None]:
        taken.append(settings)
        return first

    daemon.reload._take = take
    one, other = (Deferred.fromCoroutine(daemon.reload()) for _ in range(2))
    assert len(taken) == 1
    first.callback(None)
    await one
    await other
    assert len(taken) == 2
