"""
A processor as its guest sees it, and what may differ of two.

QEMU facts: each feature, of CPUID as of the MSRs, is a property that is true or false, and tells what the guest sees once the processor is
there. ``feature-words`` has no MSRs. Several properties are second names. ``ht`` and ``cmp-legacy`` follow from the numbers of cores and
threads; 10.0 tells them so, 7.2 does not, and the guest sees them in both. QEMU compares none of it when it loads a stream: a guest that
finds a feature gone dies, if it has used it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nbdtun.migration.vm.hardware.model import Scalar

#: What is no feature: an object's states, what QEMU was asked to look after, the compatibility of machine types, what follows from others.
_NO_FEATURE = frozenset(
    {
        *("realized", "hotplugged", "hotpluggable", "start-powered-off", "check", "enforce", "migratable", "host-phys-bits"),
        *("full-cpuid-auto-level", "host-cache-info", "ht", "cmp-legacy", "sse3", "i64", "xd", "ffxsr"),
    }
)
_NO_FEATURES = ("x-", "legacy-")
#: Of these less is a failure, as of features.
LEVELS = ("level", "xlevel", "xlevel2", "phys-bits")
#: Whose kind of processor it is: a guest chooses its instructions by that.
VENDOR = ("vendor", "hv-vendor-id")
#: What programs show, and seldom rely on.
MODEL = ("family", "model", "stepping", "model-id")
VALUES = frozenset({*LEVELS, *VENDOR, *MODEL, "hv-spinlocks", "tsc-frequency"})
#: What there can be only where there is the other: QEMU itself takes it away. Two thirds of all names, and each is a question.
_PARTS = {"vmx-": "vmx", "sgx": "sgx", "avx512": "avx512f", "avx10-": "avx10", "amx-": "amx-tile"}
_PARTS_OF_SVM = frozenset(
    {
        *("npt", "lbrv", "svm-lock", "nrip-save", "tsc-scale", "vmcb-clean", "flushbyasid", "decodeassists", "pause-filter"),
        *("pfthreshold", "avic", "v-vmsave-vmload", "vgif", "svme-addr-chk", "vnmi"),
    }
)


def wanted(properties: Mapping[str, str], kvm: bool) -> frozenset[str]:
    """The names of the properties to be compared, but for those of :func:`parts`. Only KVM shows anything of its own, or Hyper-V's."""
    plain = {name for name, kind in properties.items() if kind == "bool" and not _aside(name) and not _whole(name)}
    if not kvm:
        plain = {name for name in plain if not name.startswith(("kvm", "hv-"))}
    return frozenset(plain | (VALUES & properties.keys()))


def parts(properties: Mapping[str, str], told: Mapping[str, Scalar]) -> frozenset[str]:
    """The names of the properties of which there can be any, with those features that were ``told``."""
    return frozenset(name for name, kind in properties.items() if kind == "bool" and not _aside(name) and told.get(_whole(name)) is True)


def _whole(name: str) -> str:
    """The feature that this is a part of; empty for none."""
    if name in _PARTS_OF_SVM:
        return "svm"
    whole = next((whole for prefix, whole in _PARTS.items() if name.startswith(prefix)), "")
    return "" if whole == name else whole


def _aside(name: str) -> bool:
    second = "_" in name or "." in name
    return second or name in _NO_FEATURE or name.startswith(_NO_FEATURES)


def lacking(wanted: Mapping[str, Scalar], there: Mapping[str, Scalar]) -> list[str]:
    """The features of ``wanted`` which ``there`` has not."""
    return sorted(name for name, has in wanted.items() if has is True and there.get(name) is not True)


def listed(names: Iterable[str], most: int = 16) -> str:
    """Names for one line."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
