"""Labels of sockets, without a kernel that has any: its two files are played here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbdtun.ownership import labels as module
from nbdtun.ownership.labels import FOR_QEMU, labelled


class Kernel:
    """What is written to the label of the next sockets; `refuses` is the error of the first write."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, refuses: int = 0) -> None:
        (directory / "enforce").write_text("1")
        (directory / "sockcreate").touch()
        monkeypatch.setattr(module, "_POLICY", f"{directory}/enforce")
        monkeypatch.setattr(module, "_NEXT", f"{directory}/sockcreate")
        self.written: list[bytes] = []
        self._refuses = refuses
        monkeypatch.setattr(os, "write", self._write)

    def _write(self, descriptor: int, data: bytes) -> int:
        refuses, self._refuses = self._refuses, 0
        if refuses:
            raise OSError(refuses, os.strerror(refuses))
        self.written.append(data)
        return len(data)


def test_it_is_given_and_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(tmp_path, monkeypatch)

    def fail() -> None:
        assert kernel.written == [b"system_u:object_r:svirt_socket_t:s0"]
        raise KeyError

    with pytest.raises(KeyError), labelled(FOR_QEMU):
        fail()
    assert kernel.written[1:] == [b""]


def test_without_selinux_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(tmp_path, monkeypatch)
    with labelled(""):
        pass
    (tmp_path / "enforce").unlink()
    with labelled(FOR_QEMU):
        pass
    assert kernel.written == []


def test_a_policy_without_that_label_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(tmp_path, monkeypatch, refuses=22)
    with labelled(FOR_QEMU):
        pass
    assert kernel.written == [b""]


def test_a_process_that_may_not_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Kernel(tmp_path, monkeypatch, refuses=13)
    with pytest.raises(PermissionError), labelled(FOR_QEMU):
        pytest.fail("there is no socket without its label")
