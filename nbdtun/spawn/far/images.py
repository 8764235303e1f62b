"""
Images at the far end: what is there, and how they are made, by ``qemu-img``.

``qemu-img info`` takes the lock that keeps others from writing, so it fails on an image that another QEMU writes to. A new image is made
through its descriptor: its name may lead elsewhere by then.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

from nbdtun.errors import NotMigratable
from nbdtun.migration.catalogue import LACKING, OCCUPIED
from nbdtun.migration.finding import Finding
from nbdtun.ownership.images import MadeFile, give, make_file, open_file, remove_made
from nbdtun.spawn.content import identity
from nbdtun.spawn.far.host import AS_ROOT, group_id, user_id
from nbdtun.spawn.values import Image
from nbdtun.units import size_text

SECONDS: Final = 60
#: Of a block device without data, so many pieces of this size are read, evenly spread.
_PIECES, _PIECE = 256, 64 * 1024
UNCHANGED: Final = (-1, -1)

#: QEMU's words for an image that another one uses (block/file-posix.c); a path may have "lock" in it, too.
LOCKED: Final = re.compile(r'Failed to get (shared )?"\w+" lock')


def judge(image: Image, overwrite: bool) -> Iterator[Finding]:
    """Yield what is in the way of making an image, or of using the one that is there."""
    name = f"disk {image.node}: {image.path}"
    try:
        found = os.stat(image.path)
    except FileNotFoundError:
        if image.device:
            volume = _volume(image.path)
            hint = f"make it: lvcreate -L {-(-image.size // 1024)}k -n {volume[1]} {volume[0]}" if volume else "make it, or use --disk"
            yield LACKING(f"{name} is not there, and nbdtun makes no block devices", hint)
        return
    except OSError as error:
        yield LACKING(f"{name} cannot be looked at: {error.strerror}")
        return
    if is_same(image, found):
        what = f"{name} is the source's own image: both hosts see the same file"
        yield OCCUPIED(what, f"name another place: --disk {image.node}=PATH")
        return
    yield from _judge_there(image, found, overwrite, name)


def _judge_there(image: Image, found: os.stat_result, overwrite: bool, name: str) -> Iterator[Finding]:
    is_device = stat.S_ISBLK(found.st_mode)
    if not (is_device or stat.S_ISREG(found.st_mode)):
        yield OCCUPIED(f"{name} is neither a file nor a block device")
        return
    if not os.access(image.path, os.R_OK | os.W_OK):
        yield LACKING(f"{name} may not be written to by this user", AS_ROOT)
        return
    if may_be_same(image, found):
        yield OCCUPIED(
            f"{name} may be the source's own image: no file can be made beside that one, to see", "use --disk to name another place"
        )
        return
    if is_device and device_size(image.path) < image.size:
        small = f"{name} has {size_text(device_size(image.path))}, less than the {size_text(image.size)} of the source"
        yield LACKING(small, "enlarge it")
    if found.st_size == 0 and not is_device:
        return
    told, why = inspect(image.path)
    if LOCKED.search(why):
        yield OCCUPIED(f"{name} is in use by another QEMU", "end it, or name another place with --disk")
    elif not overwrite and not is_blank(image, told, is_device):
        yield OCCUPIED(f"{name} is there already, and not empty", "give its content up with --overwrite, or name another place with --disk")


def is_same(image: Image, found: os.stat_result) -> bool:
    """Whether the file, or block device, that was ``found`` is the image at the source."""
    if stat.S_ISBLK(found.st_mode):
        return bool(image.twin.identity) and identity(found.st_rdev) == image.twin.identity
    real = os.path.realpath(image.path)
    beside = image.twin.nonce and os.path.lexists(os.path.join(os.path.dirname(real), image.twin.nonce))
    return bool(beside) and (os.path.basename(real) == image.twin.name or found.st_ino == image.twin.inode)


def may_be_same(image: Image, found: os.stat_result) -> bool:
    """Whether the file that was ``found`` may be the image at the source, beside which no file could be made that would tell."""
    return stat.S_ISREG(found.st_mode) and bool(found.st_size and image.twin.name and not image.twin.nonce)


def inspect(path: str) -> tuple[dict[str, Any], str]:
    """What ``qemu-img info`` tells of an image; or nothing, and why not."""
    done = _run("info", "--output=json", path)
    if done.returncode:
        return {}, done.stderr.decode(errors="replace").strip()
    told: dict[str, Any] = json.loads(done.stdout)
    return told, ""


def is_blank(image: Image, told: dict[str, Any], is_device: bool) -> bool:
    """Whether an image that is there holds nothing."""
    if is_device:
        return not _has_data(image.path)
    if (
        told.get("format") != image.format
        or told.get("virtual-size") != image.size
        or told.get("backing-filename")
        or told.get("snapshots")
    ):
        return False
    done = _run("map", "--output=json", "-f", image.format, image.path)
    return not done.returncode and _is_zero(image.path, json.loads(done.stdout))


def holds_nothing(path: str, *, seen: bool) -> bool:
    """Whether a file that was made as an image holds nothing, and no QEMU has it open; one that was ``seen`` may hold something."""
    if os.path.getsize(path) == 0:
        return True
    told, _ = inspect(path)  # fails for one that is open
    done = _run("map", "--output=json", "-f", str(told.get("format")), path) if told else None
    if done is None or done.returncode or told.get("snapshots"):
        return False
    return seen or _is_zero(path, json.loads(done.stdout))


def _is_zero(path: str, extents: list[dict[str, Any]]) -> bool:
    """
    Whether a map has no data but zeros. ``qemu-img create`` itself writes zeros at the beginning of a raw file, to learn the alignment that
    its file system wants (block/file-posix.c, allocate_first_block).
    """
    data = [each for each in extents if each.get("data") and not each.get("zero")]
    if sum(each["length"] for each in data) > _PIECE or not all("offset" in each for each in data):
        return False
    with open(path, "rb") as file:
        for each in data:
            file.seek(each["offset"])
            if any(file.read(each["length"])):
                return False
    return True


def _has_data(path: str) -> bool:
    """Whether the beginning, the end, or a piece between them is not zero."""
    size, nothing = device_size(path), bytes(_PIECE)
    with open(path, "rb") as file:
        for number in range(_PIECES):
            file.seek(max(0, size - _PIECE) * number // (_PIECES - 1))
            piece = file.read(_PIECE)
            if piece != nothing[: len(piece)]:
                return True
    return False


def device_size(path: str) -> int:
    """The size of a block device; 0 if it cannot be read."""
    with suppress(OSError), open(path, "rb") as file:
        return file.seek(0, os.SEEK_END)
    return 0


def make_image(image: Image, overwrite: bool = False, tell: Callable[[MadeFile], object] = lambda made: None) -> MadeFile | None:
    """
    Make an image, or write a new one over what is there; returns the file that was made, None for one that was there.

    What is there is judged again: it may have come since the plan was looked at, which takes minutes where large media are compared.
    ``tell`` is called with a new file before anything is in it.

    :raise NotMigratable: it cannot be made; nothing is left of it.
    """
    made: MadeFile | None = None
    if os.path.lexists(image.path):
        for finding in judge(image, overwrite):
            raise NotMigratable(finding.what, finding.remedy)
    try:
        if os.path.lexists(image.path):
            descriptor = open_file(image.path)
        else:
            descriptor, made = make_file(image.path)
        try:
            if made is not None:
                tell(made)
            _create(image, descriptor)
            if made is not None:
                give(descriptor, _owner(image), image.mode)
        finally:
            os.close(descriptor)
    except (OSError, NotMigratable) as error:
        if made is not None:
            remove_made(made)
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise NotMigratable(f"disk {image.node}: {image.path} cannot be made: {why}") from None
    return made


def _create(image: Image, descriptor: int) -> None:
    if image.device and image.format == "raw":
        return
    options = ",".join(f"{name}={value}" for name, value in image.options.items())
    backing = ["-b", image.backing, "-F", image.backing_format] if image.backing else []
    words = ["-q", "-f", image.format, *backing, *(["-o", options] if options else []), f"/proc/self/fd/{descriptor}", f"{image.size}"]
    done = _run("create", *words, keep=descriptor)
    if done.returncode:
        raise NotMigratable(done.stderr.decode(errors="replace").strip().removeprefix(f"qemu-img: /proc/self/fd/{descriptor}: "))


def _owner(image: Image) -> tuple[int, int]:
    """The owner's ids, where this process may give it away, and they are known here."""
    if os.geteuid() != 0:
        return UNCHANGED
    user, group = user_id(image.owner), group_id(image.group)
    return (-1 if user is None or not image.owner else user, -1 if group is None or not image.group else group)


def _run(*words: str, keep: int | None = None) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("qemu-img")
    if program is None:
        raise NotMigratable("qemu-img is not there", "install it: qemu-utils, or qemu-img")
    try:
        return subprocess.run(
            [program, *words], capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL, pass_fds=() if keep is None else (keep,)
        )
    except subprocess.TimeoutExpired:
        raise NotMigratable(f"qemu-img {words[0]} has not ended for {SECONDS} s") from None


def _volume(path: str) -> tuple[str, str] | None:
    """The group and the name of a logical volume; None if it does not look like one."""
    parts = path.split("/")
    return (parts[2], parts[3]) if len(parts) == 4 and parts[2] not in ("disk", "mapper", "zvol") else None
