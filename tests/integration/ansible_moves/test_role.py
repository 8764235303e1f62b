"""The role, over ssh in a host with a real systemd: a daemon that admits who has a certificate, and a second run that changes nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.cache import LAB
from lab.crossing import certificates
from lab.daemon import BIN, free_port
from lab.systemd import Systemd
from tests.integration.ansible_moves.stage import WHY, Booted


def wheel(directory: Path) -> Path:
    """The product as a wheel, from a copy of the checkout."""
    copy = directory / "checkout"
    shutil.copytree(
        LAB.parent,
        copy,
        ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info", "ansible", "tests", "bench"),
    )
    build: list[str | Path] = [sys.executable, "-m", "build", "-w", "--no-isolation", "--outdir", directory, copy]
    subprocess.run(build, cwd=directory, check=True, capture_output=True, timeout=300)
    (made,) = directory.glob("*.whl")
    return made


@pytest.mark.slow
@pytest.mark.skipif(bool(WHY), reason=WHY)
def test_a_host_receives_vms(directory: Path) -> None:
    tls, port = certificates(directory / "tls"), free_port()
    told = {
        "nbdtun_source": f"{wheel(directory)}",
        "nbdtun_dest": True,
        "nbdtun_port": port,
        "nbdtun_dest_options": {"max-channels": 99},
        "nbdtun_tls_files": {name: f"{tls}/{name}" for name in ("ca-cert.pem", "server-cert.pem", "server-key.pem")},
    }
    with Systemd(directory, shared_network=True) as host:
        controller = Booted(host, directory)
        first, second = (controller.take({"name": "nbdtun.migration.nbdtun"}, told) for _ in range(2))
        assert "changed=0" in second, second
        assert "PRIVATE KEY" not in first
        assert host.run("stat", "-c", "%a %U", "/etc/pki/qemu/server-key.pem") == "600 root\n"
        assert "max-channels = 99" in host.run("cat", "/etc/nbdtun/dest.toml")
        where: list[str | Path] = ["--to", f"127.0.0.1:{port}", "--tls-dir", tls, "--run-dir", directory / "run"]
        asked: list[str | Path] = [BIN / "nbdtun", "vms", "web9", "--qmp", f"{directory}/{{vm}}.qmp", "--json", *where]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
        (there,) = json.loads(done.stdout)["at"].values()
        assert (there["state"], there["error"]) == (None, None)
        assert host.run("systemctl", "is-active", "nbdtun-dest.service") == "active\n"
