"""Parts of a disk that would stay behind, and be lost with the source: a failure, unless ``--leave-behind`` allows it."""

from __future__ import annotations

from collections.abc import Iterable

from nbdtun.errors import NotMigratable
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.finding import Finding
from nbdtun.migration.settings import Belonging
from nbdtun.migration.vm.belongings import Belongings

CHECK = "images"
#: The most names in one line.
MAX_NAMES = 8


def note_left_behind(checklist: Checklist, found: Iterable[Belongings], leave: frozenset[Belonging]) -> None:
    """Add findings about the parts of images besides their contents; parts in ``leave`` may stay behind."""
    before = len(checklist.findings)
    for one in found:
        name = f"disk {one.disk.nickname}"
        kept = [str(bitmap) for bitmap in one.bitmaps if bitmap.persistent]
        lost = [str(bitmap) for bitmap in one.bitmaps if not bitmap.persistent]
        _note(checklist, name, "internal snapshots", one.snapshots, Belonging.SNAPSHOTS, leave)
        _note(checklist, name, "persistent bitmaps", kept, Belonging.BITMAPS, leave)
        if lost:
            what = f"{name}: bitmaps outside its image will be lost: {_listed(lost)}"
            checklist.warn(CHECK, what, "backups that rely on them must start again with a full one")
    if len(checklist.findings) == before:
        checklist.ok(CHECK, "the images have no snapshots or bitmaps")


def _note(checklist: Checklist, disk: str, kind: str, names: Iterable[str], belonging: Belonging, leave: frozenset[Belonging]) -> None:
    listed = _listed(list(names))
    if listed and belonging in leave:
        checklist.warn(CHECK, f"{disk}: its {kind} stay behind (--leave-behind): {listed}")
    elif listed:
        remedy = f"delete them, or migrate without them: --leave-behind {belonging.value}"
        checklist.add(Finding.of(CHECK, NotMigratable(f"{disk}: its {kind} would stay behind: {listed}", remedy)))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
