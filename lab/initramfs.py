"""An initramfs: what a kernel finds as its first files, drivers among them."""

from __future__ import annotations

import lzma
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from lab.cache import CACHE

KERNEL = CACHE / "kernel"
"""What `kernel.sh` has fetched: the kernel `vmlinuz`, and its drivers."""


def archive(root: Path, initramfs: Path) -> None:
    """Pack all that is below `root`."""
    files = "\n".join(f"{path.relative_to(root)}" for path in sorted(root.rglob("*")))
    fresh = initramfs.with_suffix(".new")
    with fresh.open("wb") as output:
        command = ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"]
        subprocess.run(command, cwd=root, input=files.encode(), stdout=output, check=True)
    fresh.replace(initramfs)  # whole or not at all


def install(drivers: Iterable[str], folder: Path) -> Iterator[str]:
    """Unpack the drivers and what they depend on; yield the order to load them in. Built-in ones have no file, and are left out."""
    # Underscores and dashes mean the same in a module's name, and both occur.
    files = {_plain(path.name.split(".")[0]): path for path in KERNEL.rglob("*.ko*")}
    done: set[str] = set()

    def unpack(name: str) -> Iterator[str]:
        if name in done or name not in files:
            return
        done.add(name)
        module = _read(files[name])
        for needed in _depends(module):
            yield from unpack(needed)
        (folder / f"{name}.ko").write_bytes(module)
        yield name

    for driver in drivers:
        yield from unpack(_plain(driver))


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _read(path: Path) -> bytes:
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dcq", path], stdout=subprocess.PIPE, check=True).stdout
    return path.read_bytes()


def _depends(module: bytes) -> list[str]:
    """The modules that one names in its `depends=`; the .deb has no index of them."""
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    return [_plain(name) for name in found[1].decode().split(",") if name] if found else []
