"""``nbdtun vms`` from outside. integration/ansible_moves has real VMs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.stage import run


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "give --libvirt for libvirt's VMs, or --qmp"),
        (("--qmp", "/run/web1.qmp"), "--qmp /run/web1.qmp: it must be an absolute path with {vm}"),
        (("--qmp", "/run/{vm}.qmp", "--to", "https://hv2"), "Invalid value for '--to': 'https://hv2' is not an endpoint to connect to"),
        (("--qmp", "{vm}.qmp"), "--qmp {vm}.qmp: it must be an absolute path"),
        (("--qmp", "/run/{vm}.qmp", "--settle", "soon"), "Invalid value for '--settle'"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(words: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "vms", *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"nbdtun: {line}")


def vms(*words: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-m", "nbdtun", "vms", *words], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_a_host_without_vms(tmp_path: Path) -> None:
    status, out, err = vms("--qmp", f"{tmp_path}/{{vm}}.qmp", "--run-dir", f"{tmp_path}")
    assert (status, out, err) == (0, "", f"nbdtun: no QMP socket has the form {tmp_path}/{{vm}}.qmp\n")
    assert vms("web1", "--qmp", f"{tmp_path}/other.qmp", "--run-dir", f"{tmp_path}") == (0, "web1  not here\n", "")


def test_a_destination_that_cannot_be_asked_is_an_answer_and_status_1(tmp_path: Path) -> None:
    words = ("web1", "--qmp", f"{tmp_path}/{{vm}}.qmp", "--to", "127.0.0.1:1", "--insecure", "--run-dir", f"{tmp_path}", "--json")
    status, out, err = vms(*words)
    told = json.loads(out)
    assert (status, err, told["vm"], told["state"], told["place"]) == (1, "", "web1", None, f"{tmp_path}/web1.qmp")
    (there,) = told["at"].values()
    assert (there["state"], there["code"]) == (None, "unreachable")
    assert there["remedy"] in there["error"]
