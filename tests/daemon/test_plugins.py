"""Both plugins as twistd sees them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import IServiceMaker
from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

ROOT = Path(__file__).parent.parent.parent


def test_the_plugins_are_service_makers() -> None:
    names: dict[str, Any] = {}
    exec((ROOT / "twisted/plugins/nbdtun_plugins.py").read_text(), names)
    for attribute, tapname in (("source", "nbdtun-source"), ("destination", "nbdtun-dest")):
        plugin = names[attribute]
        assert verifyObject(IServiceMaker, plugin)
        assert verifyObject(IPlugin, plugin)
        assert plugin.tapname == tapname
        assert 40 < len(plugin.description) < 100
        assert plugin.options().getUsage()


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        ("nbdtun-source", ["--connect", "unix:/t", "--window", "much"]),
        ("nbdtun-dest", ["--listen", "unix:/t", "--window", "much"]),
    ],
)
def test_twistd_finds_them_and_says_what_is_wrong(plugin: str, words: list[str], tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", plugin, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr == f"{plugin}: --window: 'much' is not a size such as 64KiB, 500MiB or 10G [config]\n"


def test_importing_a_tap_installs_no_reactor() -> None:
    faces = "nbdtun.daemon.source_tap, nbdtun.daemon.dest_tap, nbdtun.cli, nbdtun.cli.attend"
    code = f"import sys, {faces}; print('twisted.internet.reactor' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    assert run.stdout == "False\n", run.stderr
