"""
A processor as its guest sees it, and which properties of two processors may differ.

QEMU facts: each feature, in CPUID or the MSRs, is a boolean property, which shows the guest's view once the processor is realized.
``feature-words`` has no MSRs. Several properties are aliases. ``ht`` and ``cmp-legacy`` follow from the numbers of cores and threads; 10.0
reports them so, 7.2 does not, and the guest sees them in both. QEMU compares none of it when it loads a stream: a guest that has used a
feature and finds it gone dies.
"""

from __future__ import annotations

from collections.abc import Mapping

from nbdtun.migration.vm.hardware.model import Scalar

#: Properties that are not features: an object's states, requests to QEMU, compatibility of machine types, consequences of other properties.
_NO_FEATURE = frozenset(
    {
        *("realized", "hotplugged", "hotpluggable", "start-powered-off", "check", "enforce", "migratable", "host-phys-bits"),
        *("full-cpuid-auto-level", "host-cache-info", "ht", "cmp-legacy", "sse3", "i64", "xd", "ffxsr", "pclmuldq"),
    }
)
_NO_FEATURES = ("x-", "legacy-")
#: A lower level is a failure, like a missing feature.
LEVELS = ("level", "xlevel", "xlevel2", "phys-bits")
#: The vendor: a guest chooses its instructions by it.
VENDOR = ("vendor", "hv-vendor-id")
#: Properties that programs display, and seldom rely on.
MODEL = ("family", "model", "stepping", "model-id", "tsc-frequency", "hv-spinlocks")
VALUES = frozenset({*LEVELS, *VENDOR, *MODEL})
#: Features that need another one: QEMU itself removes them without it. They are two thirds of all names, and each costs a query.
_PARTS = {"vmx-": "vmx", "sgx": "sgx", "avx512": "avx512f", "avx10-": "avx10", "amx-": "amx-tile"}
_PARTS_OF_SVM = frozenset(
    {
        *("npt", "lbrv", "svm-lock", "nrip-save", "tsc-scale", "vmcb-clean", "flushbyasid", "decodeassists", "pause-filter"),
        *("pfthreshold", "avic", "v-vmsave-vmload", "vgif", "svme-addr-chk", "vnmi"),
    }
)


def wanted(properties: Mapping[str, str], kvm: bool) -> frozenset[str]:
    """The properties to compare, except those of :func:`parts`. Only KVM has features of its own, and Hyper-V's."""
    plain = {name for name, kind in properties.items() if kind == "bool" and not _aside(name) and not _whole(name)}
    if not kvm:
        plain = {name for name in plain if not name.startswith(("kvm", "hv-"))}
    return frozenset(plain | (VALUES & properties.keys()))


def parts(properties: Mapping[str, str], told: Mapping[str, Scalar]) -> frozenset[str]:
    """The properties that can be set, given the features in ``told``."""
    return frozenset(name for name, kind in properties.items() if kind == "bool" and not _aside(name) and told.get(_whole(name)) is True)


def _whole(name: str) -> str:
    """The feature that ``name`` depends on; empty for none."""
    if name in _PARTS_OF_SVM:
        return "svm"
    whole = next((whole for prefix, whole in _PARTS.items() if name.startswith(prefix)), "")
    return "" if whole == name else whole


def _aside(name: str) -> bool:
    second = "_" in name or "." in name
    return second or name in _NO_FEATURE or name.startswith(_NO_FEATURES)


def lacking(wanted: Mapping[str, Scalar], there: Mapping[str, Scalar]) -> list[str]:
    """The features of ``wanted`` that ``there`` lacks."""
    return sorted(name for name, has in wanted.items() if has is True and there.get(name) is not True)
