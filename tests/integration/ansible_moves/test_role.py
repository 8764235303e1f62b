"""The role, over ssh in a host with a real systemd: a daemon that admits who has a certificate, and a second run that changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab import collection, systemd
from lab.ansible import configure, keys_of
from lab.cache import LAB
from lab.crossing import certificates
from lab.daemon import BIN, free_port
from lab.sshd import SSHD
from lab.systemd import Systemd

WHY = systemd.unable() or collection.unable() or ("" if os.path.exists(SSHD) else "openssh-server is not installed")

SSHD_CONFIG = """\
HostKey {keys}/host_key
AuthorizedKeysFile {keys}/authorized_keys
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""


def keys_in(keys: Path) -> None:
    """Those of an sshd, and of its client."""
    keys.mkdir()
    for name in ("host_key", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name], check=True)
    shutil.copy(keys / "id.pub", keys / "authorized_keys")
    kind, text = (keys / "host_key.pub").read_text().split()[:2]
    (keys / "known_hosts").write_text(f"dest {kind} {text}\n")
    (keys / "sshd_config").write_text(SSHD_CONFIG.format(keys=keys))


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
    keys, tls, port = directory / "keys", certificates(directory / "tls"), free_port()
    keys_in(keys)
    told = {
        "nbdtun_source": f"{wheel(directory)}",
        "nbdtun_dest": True,
        "nbdtun_port": port,
        "nbdtun_dest_options": {"max-channels": 99},
        "nbdtun_tls_files": {name: f"{tls}/{name}" for name in ("ca-cert.pem", "server-cert.pem", "server-key.pem")},
    }
    play = directory / "play.json"
    play.write_text(json.dumps([{"hosts": "hv1", "tasks": [{"ansible.builtin.import_role": {"name": "nbdtun.migration.nbdtun"}}]}]))
    with Systemd(directory, shared_network=True) as host:
        host.run("mkdir", "-p", "/run/sshd")
        way = " ".join(f"{word}" for word in host.command([SSHD, "-i", "-f", keys / "sshd_config"]))
        env = configure(directory, {"hv1": f"ProxyCommand {way}\n{keys_of(keys)}"})
        command: list[str | Path] = [BIN / "ansible-playbook", "--diff", play, "-e", json.dumps(told)]
        runs = [subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=600) for _ in range(2)]
        said = host.run("journalctl", "--no-pager", "--output=cat", check=False)
        assert [each.returncode for each in runs] == [0, 0], f"{runs[0].stdout}{runs[0].stderr}{said[-4000:]}"
        assert "changed=0" in runs[1].stdout, runs[1].stdout
        assert "PRIVATE KEY" not in runs[0].stdout
        assert host.run("stat", "-c", "%a %U", "/etc/pki/qemu/server-key.pem") == "600 root\n"
        assert "max-channels = 99" in host.run("cat", "/etc/nbdtun/dest.toml")
        where: list[str | Path] = ["--to", f"127.0.0.1:{port}", "--tls-dir", tls, "--run-dir", directory / "run"]
        asked: list[str | Path] = [BIN / "nbdtun", "vms", "web9", "--qmp", f"{directory}/{{vm}}.qmp", "--json", *where]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
        (there,) = json.loads(done.stdout)["at"].values()
        assert (there["state"], there["error"]) == (None, None)
        assert host.run("systemctl", "is-active", "nbdtun-dest.service") == "active\n"
