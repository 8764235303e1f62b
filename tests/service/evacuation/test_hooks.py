"""The operator's executables."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import pytest_twisted

from nbdtun.errors import HookFailed
from nbdtun.service.evacuation.hooks import Hook, Hooks

TOLD = {"NBDTUN_VM": "web1"}


def write(folder: Path, hook: Hook, text: str) -> None:
    path = folder / hook.value
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)


@pytest_twisted.ensureDeferred
async def test_one_is_told_which_vm(tmp_path: Path) -> None:
    write(tmp_path, Hook.BEFORE, f'echo "$NBDTUN_VM" >{tmp_path}/told')
    hooks = Hooks(f"{tmp_path}", 10)
    await hooks.call(Hook.BEFORE, TOLD)
    assert (tmp_path / "told").read_text() == "web1\n"
    await hooks.call(Hook.AFTER, TOLD)  # there is none
    await Hooks("", 10).call(Hook.BEFORE, TOLD)


@pytest_twisted.ensureDeferred
async def test_its_last_words_are_the_reason(tmp_path: Path) -> None:
    write(tmp_path, Hook.BEFORE, "echo no route to the balancer >&2; exit 3")
    with pytest.raises(HookFailed, match="before ended with 3: no route to the balancer"):
        await Hooks(f"{tmp_path}", 10).call(Hook.BEFORE, TOLD)


@pytest_twisted.ensureDeferred
async def test_one_that_hangs_is_killed_with_all_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, Hook.AFTER, "sleep 60 & sleep 60")
    began = time.monotonic()
    with pytest.raises(HookFailed, match="has not ended within 300 ms"):
        await Hooks(f"{tmp_path}", 0.3).call(Hook.AFTER, TOLD)
    assert time.monotonic() - began < 20


@pytest_twisted.ensureDeferred
async def test_what_it_leaves_running_keeps_nobody_waiting(tmp_path: Path) -> None:
    """That has a session of its own, and holds the hook's output open."""
    began = time.monotonic()
    write(tmp_path, Hook.BEFORE, "setsid sleep 20 & exit 0")
    await Hooks(f"{tmp_path}", 10).call(Hook.BEFORE, TOLD)
    write(tmp_path, Hook.AFTER, "setsid sleep 20 & echo no route; sleep 20")
    with pytest.raises(HookFailed, match="has not ended within 300 ms"):
        await Hooks(f"{tmp_path}", 0.3).call(Hook.AFTER, TOLD)
    assert time.monotonic() - began < 10


@pytest_twisted.ensureDeferred
async def test_only_the_end_of_what_it_prints_is_kept(tmp_path: Path) -> None:
    write(tmp_path, Hook.BEFORE, "yes | head -c 300000; echo no route; exit 1")
    with pytest.raises(HookFailed, match=r"no route$") as failed:
        await Hooks(f"{tmp_path}", 30).call(Hook.BEFORE, TOLD)
    assert len(str(failed.value)) < 3000


@pytest_twisted.ensureDeferred
async def test_one_that_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "failed").write_text("no program")
    with pytest.raises(HookFailed, match="cannot be run: Permission denied"):
        await Hooks(f"{tmp_path}", 10).call(Hook.FAILED, TOLD)
