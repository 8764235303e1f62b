"""The Ansible collection as ansible-core builds and tests it: laid out by its name, as an archive, and by `ansible-test sanity`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from lab.cache import CACHE, LAB
from lab.daemon import BIN
from lab.process import MARK

COLLECTION = LAB.parent / "ansible"

_PIP = """\
import subprocess
import sys

words = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"])
subprocess.check_call([sys.executable, "-m", "pip", "install", "-q", *words])
"""
"""What stands for get-pip.py, which ansible-test would fetch: the pip that Python has fetches the wanted one."""

_VERSION = """\
import platform, types
from ansible_test._internal.python_requirements import get_venv_packages
print(get_venv_packages(types.SimpleNamespace(version="{python}"))["pip"])
"""


def unable() -> str:
    """Why there is no ansible-core here; empty if there is."""
    return "" if (BIN / "ansible-playbook").exists() else "ansible-core is not installed: pip install '.[ansible]'"


def laid_out(directory: Path) -> Path:
    """A copy of the collection, where Ansible and its tests find it by its name: below `ansible_collections`."""
    there = directory / "ansible_collections/nbdtun/migration"
    shutil.copytree(COLLECTION, there, ignore=shutil.ignore_patterns("__pycache__", ".ruff_cache"))
    return there


def built(directory: Path) -> Path:
    """The collection as an archive, as `ansible-galaxy` builds it."""
    run("ansible-galaxy", "collection", "build", COLLECTION, "--output-path", directory)
    (archive,) = directory.glob("nbdtun-migration-*.tar.gz")
    return archive


def sanity(directory: Path) -> str:
    """What `ansible-test sanity` finds; empty for nothing. Its environments are kept in the cache."""
    home, python = CACHE / "ansible", f"{sys.version_info.major}.{sys.version_info.minor}"
    version = subprocess.run([sys.executable, "-c", _VERSION.format(python=python)], capture_output=True, text=True, check=True).stdout
    pip = home / f".ansible/test/cache/get_pip_{version.strip().replace('.', '_')}.py"
    pip.parent.mkdir(parents=True, exist_ok=True)
    pip.write_text(_PIP)
    command: list[str | Path] = [BIN / "ansible-test", "sanity", "--local", "--python", python, "--color", "no"]
    env = {**os.environ, "HOME": f"{home}", "PATH": f"{BIN}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, cwd=laid_out(directory), env=env, capture_output=True, text=True, timeout=900)
    return "" if done.returncode == 0 else f"{done.stdout}{done.stderr}"[-6000:]


def run(*command: str | Path, config: Path | None = None) -> str:
    """Run a command of Ansible's, to its end; what it prints."""
    words: list[str | Path] = [BIN / command[0], *command[1:]]
    config = config or CACHE / "ansible.cfg"  # nobody else's counts
    config.touch()
    env = {**os.environ, "ANSIBLE_CONFIG": f"{config}", "LC_ALL": "C.UTF-8", MARK: f"{os.getpid()}"}
    done = subprocess.run(words, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout


def main() -> int:
    """`make collection`."""
    build = COLLECTION.parent / "build"
    build.mkdir(exist_ok=True)
    for old in build.glob("nbdtun-migration-*.tar.gz"):
        old.unlink()
    print(built(build).relative_to(COLLECTION.parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
