"""The start of the executable, in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbdtun.reach.pushing import startup
from nbdtun.reach.pushing.pack import COMMON, THIS, pack

SCRIPT = b"import sys, twisted.plugins.mine\ndef script(): print(sys.argv, __file__, sys.path[0] in __file__)"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    parts = {COMMON: {"nbdtun/__init__.py": b"", "nbdtun/cli/__init__.py": SCRIPT}, THIS: {"twisted/plugins/mine.py": b""}}
    (tmp_path / "x.pyz").write_bytes(pack(parts))
    return tmp_path / "x.pyz"


def run(program: Path, *words: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": f"{program.parent}", "PATH": os.environ["PATH"]}
    return subprocess.run([python, "-I", program, *words], capture_output=True, text=True, env=environment, cwd="/")


def test_it_unpacks_itself_once_and_runs(made: Path) -> None:
    first, second = run(made, "receive", "--x"), run(made)
    (there,) = (made.parent / ".cache/nbdtun").iterdir()
    assert first.stdout == f"['{made}', 'receive', '--x'] {there}/nbdtun/cli/__init__.py True\n"
    assert second.stdout == f"['{made}'] {there}/nbdtun/cli/__init__.py True\n"
    assert there.name.endswith(f"-{THIS}")


def test_a_start_is_a_use(made: Path) -> None:
    """What is used stays when another one is brought; a start outside of the cache touches nothing there."""
    run(made)
    (there,) = (made.parent / ".cache/nbdtun").iterdir()
    inside = made.rename(there.parent / "x.pyz")
    for path in (there, inside):
        os.utime(path, (1, 1))
    environment = {"HOME": f"{made.parent}", "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-I", inside], check=True, capture_output=True, env=environment)
    assert min(path.stat().st_mtime for path in (there, inside)) > 1


def test_another_python_or_processor_is_one_line(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {"nbdtun/cli/__init__.py": SCRIPT}
    made.write_bytes(pack({COMMON: ours, "3.98": {}, "3.99": {}}))
    told = run(made)
    assert (told.returncode, told.stderr) == (2, f"nbdtun: this executable is for Python 3.98, 3.99, and this is Python {THIS} [config]\n")
    machine = os.uname().machine
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(["Linux", "x", "6", "1", "s390x"]))
    made.write_bytes(pack({COMMON: ours, THIS: {}}))
    told = run(made)
    assert (told.returncode, told.stderr) == (2, f"nbdtun: this executable is for s390x, and this host is {machine} [config]\n")


def test_a_home_that_cannot_be_used(made: Path) -> None:
    (made.parent / ".cache").write_text("")
    told = run(made)
    assert told.returncode == 2
    assert told.stderr.startswith("nbdtun: ")
    assert "set XDG_CACHE_HOME to another directory there" in told.stderr
    assert len(told.stderr.splitlines()) == 1


def test_an_old_python_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9))
    monkeypatch.setattr(startup, "VERSION", "3.9")
    with pytest.raises(SystemExit) as caught:
        startup.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "nbdtun: it needs Python 3.11 or later, and this is Python 3.9 [config]\n"
