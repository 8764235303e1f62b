"""What a QEMU says that it can do; here it is a program that says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nbdtun.errors import NotMigratable
from nbdtun.spawn.far.emulator import Ability, ability, find_emulator
from nbdtun.spawn.values import Machine

CAN = Ability("7.2.0", frozenset({"pc-q35-7.2", "q35"}), {"Nehalem": (), "EPYC": ("sha-ni", "svm")}, frozenset({"new"}))
ANSWERS: list[Any] = [
    {"QMP": {}},
    {"return": {}},
    {"return": {"qemu": {"major": 7, "minor": 2, "micro": 0}}},
    {"return": [{"name": "pc-q35-7.2", "alias": "q35"}]},
    {"return": [{"name": "Nehalem", "unavailable-features": []}, {"name": "EPYC", "unavailable-features": ["sha-ni", "svm"]}]},
    {"return": []},  # e1000
    *[{"error": {}}] * 3,
    {"error": {}},  # virtio-blk
    {"return": []},  # virtio-blk-pci
    *[{"error": {}}] * 2,
    *[{"error": {}}] * 4,  # new
    {"event": "SHUTDOWN"},
]


def emulator(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_it_is_asked(tmp_path: Path) -> None:
    lines = "\n".join(map(json.dumps, ANSWERS))
    can = ability(
        emulator(tmp_path / "qemu", f"cat <<'END'\n{lines}\nEND"), Machine("pc-q35-7.2", devices=("e1000", "virtio-blk", "new", "lsi"))
    )
    assert can.machines - {""} == CAN.machines
    assert (can.release, can.cpus, can.missing) == (CAN.release, CAN.cpus, CAN.missing)


def test_one_that_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(NotMigratable, match="qemu cannot be asked: no such library"):
        ability(emulator(tmp_path / "qemu", "echo no such library >&2; exit 1"), Machine("x"))
    with pytest.raises(NotMigratable, match="cannot be started"):
        ability(str(tmp_path / "gone"), Machine("x"))


@pytest.mark.parametrize(
    ("machine", "what"),
    [
        (Machine("pc-q35-7.2", "Nehalem", (), True, ("e1000", "virtio-blk")), []),
        (Machine("pc-q35-7.2", "host", (), True), []),
        (Machine("pc-q35-7.2", "EPYC", (), False), []),
        (Machine("pc-q35-9.0"), ["QEMU 7.2.0 there has no machine pc-q35-9.0"]),
        (Machine("q35", "Granite"), ["QEMU 7.2.0 there has no CPU model Granite"]),
        (Machine("q35", "EPYC", (), True), ["the host there lacks features of the CPU model EPYC: sha-ni, svm"]),
        (Machine("q35", "", (), False, ("new",)), ["QEMU 7.2.0 there has no device new"]),
        (
            Machine("q35", iothreads=True),
            ["QEMU 7.2.0 there would end as soon as the copy of a disk with an iothread has arrived"],
        ),
    ],
)
def test_what_it_lacks(machine: Machine, what: list[str]) -> None:
    assert [finding.what for finding in CAN.lacks(machine)] == what


def test_the_program_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = emulator(tmp_path / "qemu-of-ours", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_emulator(path) == find_emulator("/elsewhere/qemu-of-ours") == path
    with pytest.raises(NotMigratable, match="/x/gone-qemu is not there"):
        find_emulator("/x/gone-qemu")
