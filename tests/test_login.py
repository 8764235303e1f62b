"""What a login manager would do: there is none here, so its answers and files are made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbdtun import login
from nbdtun.errors import ReachError

ASKED = "echo b {}; echo as 0; echo 'as 1 \"root\"'"


class Manager:
    """The login manager of a host where this process is in a session of the user 1, who is called daemon on every Linux."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self._patch = root, patch
        self.group("0::/user.slice/user-1.slice/session-c3.scope")
        self.become(1)
        patch.setattr(login, "_RUNNING", root)
        patch.setattr(login, "_LINGERING", root)
        patch.setattr(login, "_GROUPS", root / "cgroup")
        patch.setattr(login, "_CONFIGURED", (root / "etc", root / "lib"))
        self.answer("exit 1")

    def group(self, line: str) -> None:
        (self.root / "cgroup").write_text(f"{line}\n")

    def become(self, user: int) -> None:
        self._patch.setattr("os.geteuid", lambda: user)

    def answer(self, command: str) -> None:
        self._patch.setattr(login, "_ASK", ("sh", "-c", command))

    def configure(self, path: str, *lines: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(["[Login]", *lines]))

    def linger(self) -> None:
        (self.root / "daemon").touch()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manager:
    return Manager(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("answer", "ended"),
    [
        (ASKED.format("true"), True),
        (ASKED.format("false"), False),
        ("echo b true; echo as 1 '\"daemon\"'; echo as 0", True),
        ("echo b true; echo as 1 '\"bin\"'; echo as 0", False),
        ('echo b true; echo as 0; echo as 2 \'"root" "daemon"\'', False),
        ("echo", False),
    ],
)
def test_what_it_does_at_logout(manager: Manager, answer: str, ended: bool) -> None:
    manager.answer(answer)
    assert login.is_ended_at_logout() is ended


def test_one_that_cannot_be_asked_has_files(manager: Manager) -> None:
    assert not login.is_ended_at_logout()
    manager.configure("lib/logind.conf.d/50-site.conf", "KillUserProcesses=yes")
    manager.configure("etc/logind.conf", "#KillUserProcesses=yes", "KillUserProcesses=no")
    assert login.is_ended_at_logout()
    manager.configure("etc/logind.conf.d/60-mine.conf", "KillExcludeUsers=root daemon")
    assert not login.is_ended_at_logout()
    manager.configure("etc/logind.conf.d/60-mine.conf", "KillUserProcesses = on")
    assert login.is_ended_at_logout()
    manager.configure("etc/logind.conf.d/50-site.conf", "")  # masks the one of that name
    manager.configure("etc/logind.conf.d/60-mine.conf", "KillOnlyUsers=bin")
    assert not login.is_ended_at_logout()


def test_one_that_does_not_answer(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "SECONDS", 0.05)
    manager.answer("exec sleep 60")
    assert not login.is_ended_at_logout()


def test_there_is_none(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    manager.answer(ASKED.format("true"))
    monkeypatch.setattr(login, "_RUNNING", manager.root / "none")
    assert not login.is_ended_at_logout()


def test_a_process_outside_of_sessions_is_spared(manager: Manager) -> None:
    manager.answer(ASKED.format("true"))
    for line in ("0::/system.slice/ssh.service", "0::/user.slice/user-1.slice/user@1.service/app.slice/run-5.scope"):
        manager.group(line)
        assert not login.is_ended_at_logout()
    (manager.root / "cgroup").unlink()
    assert not login.is_ended_at_logout()


def test_who_is_root_by_sudo_is_still_in_the_users_session(manager: Manager) -> None:
    manager.answer(ASKED.format("true"))
    manager.become(0)
    assert login.is_ended_at_logout()
    assert login.in_a_scope(["nbdtun"]) == ["systemd-run", "--scope", "--quiet", "--collect", "--", "nbdtun"]
    manager.group("1:name=systemd:/user.slice/user-0.slice/session-7.scope")  # root's own
    assert not login.is_ended_at_logout()


def test_a_user_who_lingers_has_scopes(manager: Manager) -> None:
    with pytest.raises(ReachError, match="ends this user's processes when ssh ends; `loginctl enable-linger` there"):
        login.in_a_scope(["nbdtun"])
    manager.linger()
    assert login.in_a_scope(["nbdtun", "receive"])[:3] == ["systemd-run", "--user", "--scope"]


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")


def test_sockets_outlive_the_session(manager: Manager, runtime: None) -> None:
    base = Path("/run/user/1/nbdtun")
    assert login.base_beyond_logout(base).name == "nbdtun-1"
    assert login.base_beyond_logout(Path("/srv/run")) == Path("/srv/run")
    manager.linger()
    assert login.base_beyond_logout(base) == base


def test_what_goes_with_the_session(manager: Manager, runtime: None) -> None:
    assert (login.units_end_with_the_session(), login.goes_with_the_session("/run/user/1/a"), login.goes_with_the_session("/run/a")) == (
        True,
        True,
        False,
    )
    manager.linger()
    assert (login.units_end_with_the_session(), login.goes_with_the_session("/run/user/1/a")) == (False, False)
