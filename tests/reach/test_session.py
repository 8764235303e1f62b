"""What a login manager would do: there is none here, so its answers are made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nbdtun.errors import ReachError
from nbdtun.reach import session


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets a login manager answer this to the user 1."""
    monkeypatch.setattr("os.geteuid", lambda: 1)
    monkeypatch.setattr(session, "_RUNNING", tmp_path)
    monkeypatch.setattr(session, "_LINGERING", tmp_path)
    return lambda answer: monkeypatch.setattr(session, "_ASK", ("sh", "-c", answer))


@pytest.mark.parametrize(("answer", "ended"), [("echo b true", True), ("echo b false", False), ("exit 1", False), ("echo", False)])
def test_what_it_does_at_logout(login: Callable[[str], None], answer: str, ended: bool) -> None:
    login(answer)
    assert session.is_ended_at_logout() is ended


def test_one_that_does_not_answer(login: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "SECONDS", 0.05)
    login("exec sleep 60")
    assert not session.is_ended_at_logout()


def test_there_is_none(login: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    login("echo b true")
    monkeypatch.setattr(session, "_RUNNING", tmp_path / "none")
    assert not session.is_ended_at_logout()


def test_root_is_spared(login: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    login("echo b true")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert not session.is_ended_at_logout()


def test_a_user_who_lingers_has_scopes(login: Callable[[str], None], tmp_path: Path) -> None:
    with pytest.raises(ReachError, match="ends this user's processes when ssh ends; `loginctl enable-linger` there"):
        session.in_a_scope(["nbdtun"])
    (tmp_path / "daemon").touch()  # the user 1, of every Linux
    assert session.in_a_scope(["nbdtun", "receive"])[-3:] == ["--", "nbdtun", "receive"]


def test_sockets_outlive_the_session(login: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    base = Path("/run/user/1/nbdtun")
    assert session.base_beyond_logout(base).name == "nbdtun-1"
    assert session.base_beyond_logout(Path("/srv/run")) == Path("/srv/run")
    (tmp_path / "daemon").touch()
    assert session.base_beyond_logout(base) == base
