"""A machine for one command: the distribution's kernel, and in it this Python with what is installed for it.

For what this machine's own kernel may not have. There is no network but the loopback, and no disk.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from lab import qemu
from lab.cache import LAB, fetch
from lab.initramfs import KERNEL, archive, install
from lab.process import Process

PROJECT = LAB.parent
SECONDS = 600.0
"""The longest that a command may take; there may be no KVM."""

_UNUSED = shutil.ignore_patterns("__pycache__", "site-packages", "dist-packages", "config-*", "test", "idlelib", "tkinter", "ensurepip")
_INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp LANG=C.UTF-8 PYTHONPATH={project}:{site} PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
[ -n "$(ls /tmp)" ] || mount -t tmpfs tmp /tmp
ifconfig lo 127.0.0.1 up
ulimit -n 65536
for module in {modules}; do insmod "/modules/$module.ko"; done
date -s @{now} >/dev/null
cd {project}
{command}
echo "the command has ended with $?"
poweroff -f
"""


def run(
    directory: Path,
    command: str,
    *,
    folders: Iterable[str],
    packages: Iterable[str],
    drivers: Iterable[str] = (),
    files: Sequence[Path] = (),
) -> tuple[int, str]:
    """
    Run a shell's `command` in the project's directory; its exit status, and all that it has printed.

    The machine has the project's `folders`, the Python `packages` with all that they require, the kernel's `drivers`, and this machine's
    programs and `files`.
    """
    fetch("kernel.sh")
    root = directory / "root"
    for folder in ("bin", "dev", "etc", "modules", "proc", "sys", "tmp"):
        (root / folder).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", root / "bin/busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/tmp:/bin/sh\n")
    for folder in folders:
        shutil.copytree(PROJECT / folder, _in(root, PROJECT / folder), ignore=_UNUSED)
    for path in files:
        _copy(root, path)
    _copy_python(root, packages, files)
    _write_init(root, command, install(drivers, root / "modules"))
    archive(root, directory / "machine.cpio")
    shutil.rmtree(root)
    return _boot(directory)


def _in(root: Path, path: Path) -> Path:
    """The same path in the machine."""
    return root / path.relative_to("/")


def _copy(root: Path, path: Path) -> None:
    _in(root, path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, _in(root, path))


def _copy_python(root: Path, packages: Iterable[str], files: Sequence[Path]) -> None:
    python = Path(sys.executable).resolve()
    standard = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(standard, _in(root, standard), ignore=_UNUSED, ignore_dangling_symlinks=True)
    for path in _files(packages):
        _copy(root, path)
    _copy(root, python)
    (root / "bin/python3").symlink_to(python)
    for library in _libraries([python, *files, *root.rglob("*.so"), *root.rglob("*.so.*")]):
        _copy(root, library)


def _files(packages: Iterable[str]) -> Iterator[Path]:
    """The files of these packages and of those that they require."""
    waiting, seen = list(packages), set[str]()
    while waiting:
        name = waiting.pop()
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # it is required on other systems only
        if found.metadata["Name"] in seen:
            continue
        seen.add(found.metadata["Name"])
        yield from (path for entry in found.files or () if (path := Path(str(entry.locate()))).suffix != ".pyc" and path.exists())
        waiting += [re.split(r"[^A-Za-z0-9._-]", each)[0] for each in found.requires or () if "extra ==" not in each]


def _libraries(programs: Sequence[Path]) -> set[Path]:
    """What the dynamic linker loads for them."""
    told = subprocess.run(["ldd", *programs], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return {Path(path) for path in re.findall(r"^\t(?:.* => )?(/\S+) \(0x", told, re.MULTILINE)}


def _write_init(root: Path, command: str, modules: Iterable[str]) -> None:
    site = sysconfig.get_path("purelib")
    text = _INIT.format(project=PROJECT, site=site, modules=" ".join(modules), now=int(time.time()), command=command)
    (root / "init").write_text(text)
    (root / "init").chmod(0o755)


def _boot(directory: Path) -> tuple[int, str]:
    console = directory / "machine.console"
    line = "console=ttyS0 quiet loglevel=3 panic=-1 tsc=reliable no_timer_check"
    command = [
        *qemu.native().command(),
        *("-nodefaults", "-display", "none", "-no-reboot", "-cpu", "max", "-smp", "2", "-m", "2048"),
        *("-serial", f"file:{console}", "-kernel", f"{KERNEL / 'vmlinuz'}", "-initrd", f"{directory / 'machine.cpio'}", "-append", line),
    ]
    with Process(command, directory / "machine.log") as machine:
        machine.wait_exit(SECONDS)
        text = console.read_text(errors="replace")
    ended = re.search(r"the command has ended with (\d+)", text)
    if ended is None:
        raise RuntimeError(f"the machine has ended before its command: {machine.log()[-1000:]}\n{text[-1000:]}")
    return int(ended[1]), text
