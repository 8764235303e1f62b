"""What is asked of a processor, of the properties that QEMU 7.2 and 10.0 have."""

from __future__ import annotations

import pytest

from nbdtun.migration.vm.hardware.cpu import LEVELS, MODEL, VALUES, VENDOR, lacking, parts, wanted

BOOL = "bool"
PLAIN = dict.fromkeys(
    ["sse2", "aes", "sse4-1", "lahf-lm", "spec-ctrl", "rdctl-no", "hypervisor", "svm", "vmx", "avx512f", "amx-tile"], BOOL
)
KVM = dict.fromkeys(["kvmclock", "kvm-pv-eoi", "hv-time", "hv-relaxed"], BOOL)
NUMBERS = {"vendor": "string", "model-id": "string", "level": "uint32", "phys-bits": "uint32", "family": "int"}


def test_features_are_asked_and_so_are_values() -> None:
    assert wanted(PLAIN | NUMBERS, kvm=False) == (PLAIN | NUMBERS).keys()


def test_only_kvm_shows_anything_of_its_own() -> None:
    """Without it, QEMU has these properties too, and tells their defaults."""
    assert wanted(PLAIN | KVM, kvm=False) == PLAIN.keys()
    assert wanted(PLAIN | KVM, kvm=True) == (PLAIN | KVM).keys()


@pytest.mark.parametrize(
    "name",
    [
        *("lahf_lm", "sse4_1", "sse4.1", "sse3", "i64", "xd", "ffxsr"),  # second names
        *("realized", "hotplugged", "hotpluggable", "start-powered-off"),  # every device's
        *("check", "enforce", "migratable", "host-phys-bits", "host-cache-info", "full-cpuid-auto-level"),  # QEMU's own
        *("x-force-features", "x-vendor-cpuid-only", "legacy-cache", "legacy-multi-node"),  # machine types'
        *("ht", "cmp-legacy"),  # 10.0 tells them as the guest sees them, 7.2 does not
        *("avx512-fp16", "avx512bw", "amx-int8", "vmx-ept", "sgx1", "npt", "svm-lock"),  # parts, which come later
    ],
)
def test_what_is_no_feature_of_its_own(name: str) -> None:
    assert wanted({name: BOOL}, kvm=True) == frozenset()


def test_what_is_neither_true_nor_false_is_asked_only_if_it_is_known() -> None:
    unknown = {"min-level": "uint32", "feature-words": "X86CPUFeatureWordInfo", "unavailable-features": "strList", "apic-id": "uint32"}
    assert wanted(unknown, kvm=True) == frozenset()
    assert {*LEVELS, *VENDOR, *MODEL} <= VALUES


PARTS = dict.fromkeys(["vmx-ept", "vmx-vpid", "npt", "svm-lock", "avx512bw", "avx512-fp16", "amx-int8", "sgx1", "avx10-256"], BOOL)


@pytest.mark.parametrize(
    ("told", "names"),
    [
        ({}, set()),
        ({"vmx": False, "svm": False, "avx512f": False}, set()),
        ({"vmx": True}, {"vmx-ept", "vmx-vpid"}),
        ({"svm": True}, {"npt", "svm-lock"}),
        ({"avx512f": True}, {"avx512bw", "avx512-fp16"}),
        ({"amx-tile": True, "sgx": True, "avx10": True}, {"amx-int8", "sgx1", "avx10-256"}),
        ({"vmx": 1}, set()),
    ],
)
def test_parts_are_asked_where_there_is_the_whole(told: dict[str, bool | int | str], names: set[str]) -> None:
    assert parts(PLAIN | PARTS | {"svm_lock": BOOL, "avx512-text": "str"}, told) == names


def test_the_whole_is_no_part_of_itself() -> None:
    whole = dict.fromkeys(["vmx", "svm", "avx512f", "amx-tile", "sgx", "avx10"], True)
    assert parts(dict.fromkeys(whole, BOOL), whole) == frozenset()


def test_nothing_is_asked_twice_and_no_feature_never() -> None:
    """Whatever a processor is told to have, its features are those of both questions."""
    every = PLAIN | PARTS | {"sgx": BOOL, "avx10": BOOL}
    first, second = wanted(every, kvm=True), parts(every, dict.fromkeys(every, True))
    assert first & second == frozenset()
    assert first | second == every.keys()


def test_what_is_lacking_was_there_and_true() -> None:
    assert lacking({"b": True, "a": True, "c": False, "n": 1, "t": "on", "same": True}, {"b": False, "same": True}) == ["a", "b"]
