"""
The machine's type, its accelerator and its CPU.

The type is pinned to the version that runs: ``q35`` is another machine in each release. The far end must have KVM where the source does.
"""

from __future__ import annotations

from nbdtun.migration.check.iothreads import AT_ONCE
from nbdtun.spawn.command.line import Option
from nbdtun.spawn.rewrite.draft import Draft
from nbdtun.spawn.values import Machine, Path, Role

KVM = "/dev/kvm"


def machine(draft: Draft, option: Option) -> Option:
    """Rewrite a ``-machine``; the first of several has the type."""
    params = option.params
    first = next(each for each in draft.source.options if each.name == "machine")
    params = params.put_first("type", draft.source.machine) if option is first else params.drop("type")
    for key in ("dumpdtb", "memory-encryption", "confidential-guest-support", "kernel", "initrd", "dtb"):
        if key in params:
            draft.refuse(f"{key} cannot be had there")
    params = draft.placed(params, {"firmware": Role.FIRMWARE} if "/" in params.get("firmware") else {})
    draft.strict(params, ("firmware",))
    return option.with_(params)


def describe(draft: Draft) -> Machine:
    """What the far end's QEMU must know."""
    cpus = [option.value or "" for option in draft.source.options if option.name == "cpu"]
    model, _, rest = (cpus or [""])[-1].partition(",")
    if draft.source.kvm:
        draft.paths.append(Path(KVM, Role.ACCESS, "-accel kvm"))
    features = tuple(word for word in rest.split(",") if word)
    iothreads = any(option.name == "device" and _has_threads(option) for option in draft.source.options)
    return Machine(draft.source.machine, model, features, draft.source.kvm, tuple(sorted(set(draft.devices))), iothreads)


def _has_threads(device: Option) -> bool:
    """Whether its disks are an iothread's from the beginning."""
    return device.params.get("driver").startswith(AT_ONCE) and any("iothread" in pair.key for pair in device.params.pairs)
