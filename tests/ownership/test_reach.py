"""Who may listen where: sockets of others are reached by no links, and left if somebody answers who should not."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from nbdtun.ownership import reach as module
from nbdtun.ownership.reach import peer, reach

MALLORY, EVE = 4711, 4712
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")


def by(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    """Somebody listens."""
    monkeypatch.setattr(module, "peer", lambda sock: module.Credentials(1, uid, uid))


def his(path: Path, uid: int = MALLORY) -> Path:
    os.chown(path, uid, uid, follow_symlinks=False)
    return path


def reached(path: Path, *allowed: int) -> bool:
    reach(str(path), allowed or None).close()
    return True


def refused(path: Path, *allowed: int) -> str:
    try:
        reach(str(path), allowed or None).close()
    except OSError as failure:
        return str(failure.strerror)
    pytest.fail("it was reached")


def test_who_listens(place: Path, listening: socket.socket) -> None:
    with reach(f"{place}/s") as sock:
        assert peer(sock) == module.Credentials(os.getpid(), os.geteuid(), os.getegid())
        assert not sock.getblocking()
        assert not sock.get_inheritable()


def test_what_cannot_be_reached(place: Path) -> None:
    (place / "file").touch()
    assert refused(place / "file") == "it is not a socket"
    assert refused(place / "none") == "No such file or directory"
    assert refused(place / ("x" * 120)) == "File name too long"


def test_in_our_own_directory_anybody_may_listen(place: Path, listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    by(monkeypatch, MALLORY)
    (place / "link").symlink_to("s")
    assert reached(place / "s")
    assert reached(place / "link")


def test_unless_it_is_known_who_must(place: Path, listening: socket.socket) -> None:
    assert reached(place / "s", os.geteuid(), EVE)
    assert refused(place / "s", EVE).startswith(f"uid {os.geteuid()} is listening there, which is not allowed")


@as_root
class TestSomebodyElsesDirectory:
    def test_his_own(self, place: Path, listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
        his(place)
        assert "is listening there, which is not allowed" in refused(place / "s")  # of root's, which he may have moved there
        by(monkeypatch, MALLORY)
        assert reached(place / "s")
        by(monkeypatch, EVE)
        assert "uid 4712 is listening there, which is not allowed" in refused(place / "s")

    def test_one_that_was_given_to_him(self, place: Path, listening: socket.socket) -> None:
        his(his(place) / "s")
        assert reached(place / "s")  # he could reach it himself

    def test_another_user_s(self, place: Path, listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
        place.chmod(0o1777)
        by(monkeypatch, EVE)
        assert "uid 4712 is listening there" in refused(his(place / "s"))
        assert reached(his(place / "s", EVE))

    def test_a_hard_link(self, place: Path, listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
        (place / "his").mkdir()
        os.link(place / "s", his(place / "his") / "nbd.sock")
        his(place / "s")
        assert refused(place / "his/nbd.sock") == "it is a hard link in another user's directory, and could be any user's socket"

    def test_a_symbolic_link(self, place: Path, listening: socket.socket) -> None:
        (place / "his").mkdir()
        (his(place / "his") / "nbd.sock").symlink_to("../s")
        assert "not followed" in refused(place / "his/nbd.sock")
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()
