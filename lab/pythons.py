"""`make test-pythons`: the tests without QEMU, with every Python, and with the oldest and the newest of all that the product requires.

An interpreter is looked for in PATH and among pyenv's; where there is none, in another Debian release (`tree.sh`), which takes root.
Each has two environments in the cache, which are brought up to date and kept.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.cache import CACHE, LAB

PROJECT = LAB.parent
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
SUITES = {"3.13": "trixie", "3.14": "testing"}
"""The Debian releases that have one."""

_PYENV = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
_USABLE = "import ensurepip, sys, venv; print('.'.join(map(str, sys.version_info[:2])))"
_REQUIRED = "from importlib.metadata import requires; print(*requires('nbdtun'), sep='\\n')"
_PIP = ("-m", "pip", "install", "-q", "--disable-pip-version-check", "--upgrade", "--upgrade-strategy", "eager")
_EDITABLE = (*("-e", f"{PROJECT}[test,docs]"), *("--config-settings", "editable_mode=compat"))


@dataclass(frozen=True)
class Result:
    """How one run has ended; `what` says with what."""

    what: str
    ended: str
    failed: bool = False


def candidates(version: str) -> Iterator[Path]:
    """Where an interpreter of that version may be."""
    for folder in os.get_exec_path():
        yield Path(folder) / f"python{version}"
    yield from sorted(_PYENV.glob(f"versions/{version}.*/bin/python{version}"), reverse=True)


def find(version: str) -> Path | None:
    """An interpreter that can make environments; pyenv's stand-ins in PATH may lead nowhere."""
    for path in candidates(version):
        if path.exists():
            asked = subprocess.run([path, "-c", _USABLE], capture_output=True, text=True)
            if asked.stdout.strip() == version:
                return path
    return None


class Environment:
    """A virtual environment of one interpreter, with the `oldest` or the `newest` of what the product requires."""

    def __init__(self, interpreter: Path, version: str, age: str) -> None:
        folder = CACHE / "pythons" / f"{version}-{age}"
        self.python = folder / "bin/python"
        if not self.python.exists():
            subprocess.run([interpreter, "-m", "venv", "--clear", folder], check=True)

    def install(self, *pins: str) -> None:
        """Install the product, with the newest of all but what is pinned."""
        subprocess.run([self.python, *_PIP, *_EDITABLE, *pins], check=True)

    def oldest(self) -> list[str]:
        """The lowest versions that the installed product allows."""
        required = subprocess.run([self.python, "-c", _REQUIRED], check=True, capture_output=True, text=True).stdout
        return [re.sub(">=", "==", line) for line in required.splitlines() if re.fullmatch(r"[\w.]+ *>= *[\w.]+", line)]

    def test(self, workers: int) -> str:
        """Run the tests; the last line of what they say, which is empty if they did not end."""
        command = ["-m", "pytest", "-q", "-n", f"{workers}", "--dist", "loadgroup", "-p", "no:cacheprovider", "-m", "not integration"]
        run = subprocess.Popen([self.python, *command], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        assert run.stdout is not None
        last = ""
        for line in run.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
        return last if run.wait() == 0 else f"FAILED: {last}"


def run(interpreter: Path, version: str, workers: int) -> Iterator[Result]:
    """Both environments of one interpreter."""
    pins: list[str] = []
    for age in ("newest", "oldest"):
        what = f"Python {version}, the {age} of what is required{': ' if pins else ''}{', '.join(pins)}"
        print(f"==> {what}", flush=True)
        environment = Environment(interpreter, version, age)
        try:
            environment.install(*pins)
        except subprocess.CalledProcessError:
            yield Result(what, "FAILED: cannot be installed", True)
            continue
        pins = pins or environment.oldest()
        ended = environment.test(workers)
        yield Result(what, ended, ended.startswith("FAILED"))


def run_in_tree(version: str, workers: int) -> Result:
    """The same in a Debian release that has this version."""
    suite = SUITES.get(version)
    what = f"Python {version}"
    if suite is None or os.geteuid() != 0:
        return Result(what, f"not found: not in PATH, not under {_PYENV}{'; a tree of another Debian takes root' if suite else ''}")
    packages = f"python{version} python{version}-venv openssl gcc libc6-dev"
    install = f"apt-get update -qq; apt-get install -y -qq --no-install-recommends {packages} >/dev/null"
    command = f"{install} && python{version} -m lab.pythons {version} --workers {workers} --no-trees"
    done = subprocess.run([LAB / "tree.sh", suite, "sh", "-c", command], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    return Result(what, f"in a tree of Debian's {suite}: {'FAILED' if done.returncode else 'passed'}", bool(done.returncode))


def main() -> int:
    """Run all; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("versions", nargs="*", default=VERSIONS)
    parser.add_argument("--workers", type=int, default=2, help="tests side by side")
    parser.add_argument("--no-trees", action="store_true", help="only with interpreters that are here")
    options = parser.parse_args()
    began = time.monotonic()
    results: list[Result] = []
    for version in options.versions:
        interpreter = find(version)
        if interpreter is not None:
            results += run(interpreter, version, options.workers)
        elif options.no_trees:
            results.append(Result(f"Python {version}", f"not found: not in PATH, not under {_PYENV}"))
        else:
            results.append(run_in_tree(version, options.workers))
    print(f"==> {(time.monotonic() - began) / 60:.0f} minutes")
    for result in results:
        print(f"{result.what}: {result.ended}")
    return any(result.failed for result in results)


if __name__ == "__main__":
    sys.exit(main())
