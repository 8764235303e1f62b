from __future__ import annotations

from pathlib import Path

import pytest

from nbdtun.migration.destination.life import State
from nbdtun.service.local.outcomes import Outcomes, state_dir

SESSION = "a" * 32


def test_an_outcome_outlives_its_process(tmp_path: Path) -> None:
    Outcomes(tmp_path / "state").note("web1", SESSION, State.FINISHED)
    found = Outcomes(tmp_path / "state")
    assert found.recall("web1", SESSION) is State.FINISHED
    assert found.recall("web1", None) is State.FINISHED
    assert found.recall("web1", "b" * 32) is None
    assert found.recall("web2", None) is None
    assert (tmp_path / "state/web1.outcome").stat().st_mode & 0o777 == 0o600


def test_until_its_source_knows_it(tmp_path: Path) -> None:
    outcomes = Outcomes(tmp_path / "state")
    outcomes.note("web1", SESSION, State.ABORTED)
    outcomes.forget("web1")
    outcomes.forget("web1")
    assert outcomes.recall("web1", None) is None
    assert list(tmp_path.iterdir()) == []


def test_one_under_way_is_none(tmp_path: Path) -> None:
    Outcomes(tmp_path).note("web1", SESSION, State.PREPARED)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"session": "%s", "state": "strange"}' % SESSION.encode()])
def test_nonsense_may_be_of_a_guest_that_has_run(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "web1.outcome").write_bytes(content)
    for session in (None, SESSION):
        assert Outcomes(tmp_path).recall("web1", session) is State.UNCERTAIN
    assert Outcomes(tmp_path).monitor("web1") == ""


def test_a_directory_that_cannot_be_made_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcomes = Outcomes(tmp_path / "file/state")
    outcomes.note("web1", SESSION, State.FINISHED)
    assert outcomes.recall("web1", SESSION) is None


def test_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_dir(f"{tmp_path}") == tmp_path / "state"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", f"{tmp_path}")
    assert state_dir(None) == tmp_path / "nbdtun"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert state_dir(None) == Path("/home/me/.local/state/nbdtun")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert state_dir(None) == Path("/var/lib/nbdtun")


def test_where_its_qemu_is(tmp_path: Path) -> None:
    """Of a guest that never ran here, nobody asks."""
    for state, qmp in ((State.FINISHED, "/run/q"), (State.UNCERTAIN, "/run/q"), (State.ABORTED, "")):
        Outcomes(tmp_path).note("web1", SESSION, state, "/run/q")
        assert Outcomes(tmp_path).monitor("web1") == qmp
    assert Outcomes(tmp_path).monitor("web2") == ""


def test_what_a_killed_process_was_writing_goes_too(tmp_path: Path) -> None:
    for name in (".web1.outcome.4194305", ".web2.outcome.4194305", ".web1.outcome.1"):  # no process has such a number, but init
        (tmp_path / name).touch()
    Outcomes(tmp_path).forget("web1")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".web1.outcome.1", ".web2.outcome.4194305"]
