"""A controller of one booted host, which it reaches by an sshd that is begun there for each connection."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab import collection, systemd
from lab.ansible import configure, keys_of
from lab.daemon import BIN
from lab.sshd import SSHD
from lab.systemd import Systemd

WHY = systemd.unable() or collection.unable() or ("" if os.path.exists(SSHD) else "openssh-server is not installed")

_SSHD_CONFIG = """\
HostKey {keys}/host_key
AuthorizedKeysFile {keys}/authorized_keys
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""


class Booted:
    """A host, `hv1`, and its controller, which has its files in this directory."""

    def __init__(self, host: Systemd, directory: Path) -> None:
        self._host, self._directory = host, directory
        keys = directory / "keys"
        _keys_in(keys)
        host.run("mkdir", "-p", "/run/sshd")
        way = " ".join(f"{word}" for word in host.command([SSHD, "-i", "-f", keys / "sshd_config"]))
        self._env = configure(directory, {"hv1": f"ProxyCommand {way}\n{keys_of(keys)}"})

    def take(self, role: Mapping[str, Any], variables: Mapping[str, Any], *words: str) -> str:
        """Play a role of the collection, or a part of it, to its end; what is said of that."""
        play = self._directory / "play.json"
        play.write_text(json.dumps([{"hosts": "hv1", "tasks": [{"ansible.builtin.import_role": role}]}]))
        command: Sequence[str | Path] = [BIN / "ansible-playbook", "--diff", play, "-e", json.dumps(variables), *words]
        done = subprocess.run(command, env={**os.environ, **self._env}, capture_output=True, text=True, timeout=600)
        if done.returncode:
            said = self._host.run("journalctl", "--no-pager", "--output=cat", check=False)
            raise RuntimeError(f"{done.stdout}{done.stderr}{said[-4000:]}")
        return done.stdout


def _keys_in(keys: Path) -> None:
    """Those of an sshd, and of its client."""
    keys.mkdir()
    for name in ("host_key", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name], check=True)
    shutil.copy(keys / "id.pub", keys / "authorized_keys")
    kind, text = (keys / "host_key.pub").read_text().split()[:2]
    (keys / "known_hosts").write_text(f"dest {kind} {text}\n")
    (keys / "sshd_config").write_text(_SSHD_CONFIG.format(keys=keys))
