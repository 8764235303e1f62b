"""What ssh asks at the terminal, when the first connection is made and not later."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.daemon import BIN
from lab.sshd import SSHD, SSHCrossing

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not os.path.exists(SSHD), reason="openssh-server is not installed")]


@pytest.fixture
def nobody(directory: Path) -> Iterator[SSHCrossing]:
    """A way by ssh, and no VM at either end."""
    end: Any = SimpleNamespace(qmp_path=Path("/none/web1.qmp"))
    pair: Any = SimpleNamespace(directory=directory, source=end, destination=end)
    with SSHCrossing(pair) as crossing:
        yield crossing


class Terminal:
    """A command at a terminal of its own: what is on the screen, and what is typed."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.pid, self._screen = pty.fork()
        if not self.pid:
            os.execvpe(command[0], command, env)
        self.text = ""

    def wait(self, words: str, seconds: float = 30) -> None:
        """Wait until they are on the screen."""
        end = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < end, self.text
            self.read()

    def read(self) -> bool:
        """Read some of it; returns whether there may be more."""
        if not select.select([self._screen], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self._screen, 4096)
        except OSError:  # the last process there has ended
            return False
        self.text += data.decode()
        return bool(data)

    def type(self, words: str) -> None:
        os.write(self._screen, words.encode())

    def wait_exit(self) -> int:
        while self.read():
            pass
        os.close(self._screen)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def asked(nobody: SSHCrossing) -> Terminal:
    """A migration at a terminal, where ssh asks whether it may trust a host that it does not know."""
    config = nobody.sshd.directory / "ssh_config"
    config.write_text(config.read_text().replace("StrictHostKeyChecking yes", "StrictHostKeyChecking ask"))
    (nobody.sshd.directory / "known_hosts").write_text("")
    terminal = Terminal([f"{BIN}/nbdtun", "migrate", *nobody.arguments()], {**os.environ, **nobody.sshd.environment})
    terminal.wait("continue connecting (yes/no")
    return terminal


def test_the_first_connection_may_ask(nobody: SSHCrossing, asked: Terminal) -> None:
    asked.type("yes\n")
    assert asked.wait_exit() == 1
    assert "web1: to ssh://dest over " in asked.text
    assert "/none/web1.qmp: No such file or directory" in asked.text
    assert nobody.leftovers() == []


def test_its_user_may_not_want_to_answer(nobody: SSHCrossing, asked: Terminal) -> None:
    asked.type("\x03")  # Ctrl-C, which is for the whole foreground
    assert asked.wait_exit() == 130, asked.text
    assert nobody.leftovers() == []


@pytest.mark.parametrize(
    ("more", "then"),
    [
        ([], "/none/web1.qmp: No such file or directory"),
        (["--through-ssh"], "a later connection would ask somebody; use a key or an agent that asks nobody"),
    ],
    ids=["port", "ssh"],
)
def test_a_key_with_a_passphrase(nobody: SSHCrossing, more: list[str], then: str) -> None:
    """It is asked for once. Links through ssh would ask again, which is found before anything begins."""
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", nobody.sshd.directory / "id"], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"} | nobody.sshd.environment
    terminal = Terminal([f"{BIN}/nbdtun", "migrate", *nobody.arguments(*more)], environment)
    terminal.wait("Enter passphrase for key")
    terminal.type("secret\n")
    assert terminal.wait_exit() == 1
    assert then in terminal.text
    assert terminal.text.count("Enter passphrase") == 1
    assert nobody.leftovers() == []
