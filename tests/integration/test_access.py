"""The rules for AppArmor and SELinux that docs/libvirt.rst prints: they compile, and are about the product's own directory."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nbdtun.libvirt.far.arrival import DISKS, MEMORY
from nbdtun.libvirt.far.arrivals import BASE

RULES = Path(__file__).parent.parent.parent / "examples/access"
SYSTEM = Path("/etc/apparmor.d")
PROFILE = "include <tunables/global>\nprofile guest {\n  include <abstractions/base>\n  include <abstractions/nbdtun>\n}\n"


def test_apparmor_reads_its_rules(tmp_path: Path) -> None:
    parser = shutil.which("apparmor_parser", path="/usr/sbin:/sbin:/usr/bin")
    if parser is None:
        pytest.skip("apparmor is not installed")
    (tmp_path / "abstractions").mkdir()
    shutil.copy(RULES / "apparmor", tmp_path / "abstractions/nbdtun")
    (tmp_path / "profile").write_text(PROFILE)
    done = subprocess.run(
        [parser, "--skip-kernel-load", "--skip-cache", "-I", tmp_path, "-I", SYSTEM, tmp_path / "profile"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"{BASE.removeprefix('/run/')}/[0-9a-f]*/{{{MEMORY[:-5]},{DISKS[:-5]}}}.sock rw" in (RULES / "apparmor").read_text()


def test_selinux_compiles_its_module(tmp_path: Path) -> None:
    if shutil.which("checkmodule") is None:
        pytest.skip("checkpolicy is not installed")
    module = tmp_path / "nbdtun.mod"
    done = subprocess.run(["checkmodule", "-M", "-m", "-o", module, RULES / "nbdtun.te"], capture_output=True, text=True)
    assert (done.returncode, module.exists()) == (0, True), done.stderr
    assert f'"{Path(BASE).parts[2]}"' in (RULES / "nbdtun.te").read_text()
