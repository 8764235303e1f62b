"""
The single-file executable: nbdtun with all that it requires, for one kind of processor and some versions of Python.

It is a zip archive that Python runs: a start (:mod:`.startup`), a manifest, and tar archives that are unpacked at the first start.
``common`` has what all Pythons share, the others have compiled modules for one Python each.

Both well-known makers were tried. shiv's has 12.4 MB for one Python; this one has 5.8 MB for four, since tar archives are compressed whole,
and what nbdtun does not import stays out. It needs no module of its maker's at the far end.

What goes in comes from wheels (``make zipapp``), or from what runs here: then it is for this Python alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path
from typing import Final

from nbdtun import __version__
from nbdtun.errors import ReachError
from nbdtun.ownership.files import make_folder, replace_file

COMMON: Final = "common"
THIS: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"

#: A file's path below the directory that is imported from, and its contents.
Entries = Mapping[str, bytes]

#: The module that says the version, and nothing else.
STATES: Final = "nbdtun/__init__.py"

#: What is not needed at run time.
LEFT_OUT: Final = (
    *("*/__pycache__/*", "*.pyi", "*.pxd", "*.c", "*.h", "*/test/*", "*/tests/*", "*/newsfragments/*", "bin/*", "../*"),
    *("*.dist-info/RECORD", "*.dist-info/direct_url.json", "*.egg-info/*", "*.pth", "__editable__*", "pip/*", "_distutils_hack/*"),
    *(f"twisted/{part}/*" for part in ("conch", "mail", "names", "news", "pair", "trial", "_trial", "words")),
    *("twisted/plugins/cred_*", "twisted/plugins/twisted_[!cr]*"),
    *("cffi/*", "cffi-*", "markdown_it*", "mdurl*", "pkg_resources/*", "pycparser*", "pygments*", "setuptools*"),
)

#: A module that is compiled for one Python.
_COMPILED: Final = re.compile(r"\.cpython-3(\d+)-[^/]*\.so$")


def is_wanted(path: str) -> bool:
    """Whether the file is needed."""
    return not any(fnmatchcase(path, pattern) for pattern in LEFT_OUT)


def from_wheels(wheels: Iterable[Path]) -> dict[str, dict[str, bytes]]:
    """What to pack from these wheels, which may be for several Pythons."""
    parts: dict[str, dict[str, bytes]] = {COMMON: {}}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as opened:
            for path in filter(is_wanted, opened.namelist()):
                if not path.endswith("/"):
                    parts.setdefault(_part(path), {})[path] = opened.read(path)
    return parts


def from_here() -> dict[str, dict[str, bytes]]:
    """
    What to pack from what is installed here, for this Python.

    :raise ReachError: something cannot be found.
    """
    parts: dict[str, dict[str, bytes]] = {COMMON: {}, THIS: {}}
    for found in _installed("nbdtun", set()):
        for path, content in _files(found):
            if is_wanted(path):
                parts.setdefault(_part(path), {})[path] = content
    return parts


def _part(path: str) -> str:
    compiled = _COMPILED.search(path)
    return f"3.{compiled[1]}" if compiled else COMMON


def _installed(name: str, seen: set[str]) -> Iterator[Distribution]:
    """The distribution ``name`` with all that it requires."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return
    seen.add(key)
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return  # for another system, or another Python: the others import without it
    yield found
    for requirement in found.requires or ():
        if "extra ==" not in requirement.replace('"', "'"):
            yield from _installed(re.split(r"[^\w.-]", requirement, maxsplit=1)[0], seen)


def _files(found: Distribution) -> Iterator[tuple[str, bytes]]:
    if found.metadata["Name"] == "nbdtun":  # it may be a checkout
        root = Path(str(files("nbdtun"))).parent
        for path in [*root.glob("nbdtun/**/*"), *root.glob("twisted/plugins/nbdtun*.py")]:
            if path.is_file():
                yield f"{path.relative_to(root)}", path.read_bytes()
        return
    for file in found.files or ():
        path = Path(str(file.locate()))
        if is_wanted(str(file)) and path.is_file():
            yield str(file), path.read_bytes()


def oldest_libc(wheels: Iterable[Path]) -> str:
    """The oldest glibc that all of these wheels run with, by their names (PEP 600); empty if none has a compiled module."""
    known = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
    needed = (0, 0)
    for wheel in wheels:
        tags = wheel.stem.rpartition("-")[2]
        found = [(int(major), int(minor)) for major, minor in re.findall(r"manylinux_(\d+)_(\d+)_", tags)]
        found += [version for name, version in known.items() if f"{name}_" in tags]
        needed = max(needed, min(found, default=(0, 0)))
    return "" if needed == (0, 0) else f"{needed[0]}.{needed[1]}"


def code(entries: Iterable[tuple[str, bytes]]) -> str:
    """
    A hash of nbdtun's own modules: two that are the same speak with each other. The version, which :data:`STATES` has, is no part of it:
    what is built of a checkout says another one than the checkout.
    """
    made = hashlib.sha256()
    for path, content in sorted(entries):
        if path.startswith("nbdtun/") and path.endswith(".py") and path != STATES:
            made.update(f"{path}\0{len(content)}\0".encode() + content)
    return made.hexdigest()


def pack(parts: Mapping[str, Entries], libc: str = "", preset: int = 6) -> bytes:
    """
    Make the executable of these parts: one that is common, and one for each Python.

    ``libc`` is the oldest glibc that it runs with, ``preset`` LZMA's.

    :raise ReachError: nbdtun itself is not among them.
    """
    if "nbdtun/cli/__init__.py" not in parts[COMMON]:
        raise ReachError("nbdtun's own files cannot be found, so no executable can be made of it")
    archives = {f"{name}.tar.xz": _archive(entries, preset) for name, entries in parts.items()}
    manifest = {
        "release": __version__,
        "pythons": sorted((name for name in parts if name != COMMON), key=lambda version: int(version.partition(".")[2])),
        "machine": os.uname().machine,
        "libc": libc,
        "contents": hashlib.sha256(b"".join(archives[name] for name in sorted(archives))).hexdigest(),
        "code": code(parts[COMMON].items()),
        "unpacked": 2 * sum(len(content) for entries in parts.values() for content in entries.values()),  # compiled as well
    }
    made = io.BytesIO()
    made.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED) as archive:
        texts = {"__main__.py": _source("reach/pushing", "startup"), "nbdtun_cache.py": _source("ownership", "cache")}
        for name, content in {**texts, "manifest.json": json.dumps(manifest).encode()}.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        for name, content in archives.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return made.getvalue()


def _source(room: str, module: str) -> bytes:
    return (files("nbdtun") / room / f"{module}.py").read_bytes()


def _archive(entries: Entries, preset: int) -> bytes:
    """The same bytes for the same entries."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(entries, key=lambda path: (path.rpartition(".")[2], path)):
            header = tarfile.TarInfo(path)
            header.size, header.mode = len(entries[path]), 0o644
            tar.addfile(header, io.BytesIO(entries[path]))
    return lzma.compress(made.getvalue(), preset=preset)


def main(target: str, *wheels: str) -> None:
    """Make the executable ``target`` of wheels; for `make zipapp`."""
    paths = [Path(wheel) for wheel in wheels]
    made = pack(from_wheels(paths), oldest_libc(paths), preset=9)
    make_folder(Path(target).parent)
    replace_file(Path(target), made, 0o755)


if __name__ == "__main__":
    main(*sys.argv[1:])
