"""Processors compared: a feature less is a failure, one more a warning."""

from __future__ import annotations

import pytest
from attrs import evolve

from nbdtun.migration.vm.hardware import processors
from nbdtun.migration.vm.hardware.model import Hardware
from tests.migration.vm.hardware.stage import HERE, cpu, lines


def told(there: Hardware, here: Hardware) -> list[tuple[str, str]]:
    return [(level, what) for level, _, what in lines(processors.compare(there, here))]


@pytest.mark.parametrize(
    ("there", "here", "level", "what"),
    [
        (cpu(aes=True), HERE, "failure", "the destination's CPU lacks aes"),
        (cpu(avx=True), HERE, "failure", "the destination's CPU lacks avx"),  # which an older QEMU there does not even know
        (HERE, cpu(aes=True), "warning", "the destination's CPU has aes, which the source's lacks"),
        (HERE, cpu(avx=True), "warning", "the destination's CPU has avx, which the source's lacks"),
        (HERE, cpu(vendor="AuthenticAMD"), "failure", "the CPU's vendor is GenuineIntel at the source and AuthenticAMD at the destination"),
        (HERE, cpu(model=27), "warning", "the CPU's model is 26 at the source and 27 at the destination"),
        (HERE, cpu(phys_bits=39), "failure", "the CPU's phys-bits is 40 at the source and 39 at the destination"),
        (HERE, cpu(phys_bits=41), "warning", "the CPU's phys-bits is 40 at the source and 41 at the destination"),
        (HERE, cpu(level=4), "failure", "the CPU's level is 11 at the source and 4 at the destination"),
        (
            *(cpu(hv_vendor_id="Microsoft Hv"), cpu(hv_vendor_id="KVMKVMKVM"), "failure"),
            "the CPU's hv-vendor-id is Microsoft Hv at the source and KVMKVMKVM at the destination",
        ),
    ],
)
def test_one_difference(there: Hardware, here: Hardware, level: str, what: str) -> None:
    assert told(there, here) == [(level, what)]


@pytest.mark.parametrize(
    "here",
    [cpu(), cpu(avx=False), cpu(hv_vendor_id=""), cpu(xlevel=5), evolve(HERE, cpu={}), evolve(HERE, processors=())],
)
def test_what_only_one_end_tells_is_no_difference(here: Hardware) -> None:
    assert told(HERE, here) == told(here, HERE) == []


def test_a_feature_is_true_and_nothing_else() -> None:
    """A number that a property may become is no feature; a feature that is a 1 is none either."""
    assert told(cpu(family=6, hv_spinlocks=4294967295), HERE) == []
    assert told(cpu(aes=True), cpu(aes=1)) == [("failure", "the destination's CPU lacks aes")]


def test_other_models_are_named_once_with_what_is_missing() -> None:
    (lacks,) = processors.compare(cpu(type="Haswell-v4-x86_64-cpu", aes=True, avx2=True), HERE)
    assert lacks.what == "the destination's CPU lacks aes, avx2 (-cpu Haswell-v4 at the source, Nehalem there)"
    assert lacks.remedy == "start the destination with -cpu Haswell-v4 and the source's features"
    assert (lacks.check, lacks.name) == ("cpu", "cpu")


def test_another_model_with_the_same_features_is_none() -> None:
    assert told(HERE, cpu(type="Westmere-x86_64-cpu")) == []


@pytest.mark.parametrize(
    ("kind", "model"),
    [("Nehalem-x86_64-cpu", "Nehalem"), ("Haswell-noTSX-IBRS-x86_64-cpu", "Haswell-noTSX-IBRS"), ("max-x86_64-cpu", "max"), ("", "")],
)
def test_a_model_is_called_as_the_option_takes_it(kind: str, model: str) -> None:
    assert processors.model(evolve(HERE, cpu={"type": kind})) == model


def test_both_ways_at_once() -> None:
    assert [level for level, _ in told(cpu(aes=True), cpu(avx=True, vendor="x", family=1, model=3))] == [
        *("failure", "failure", "warning", "warning"),
    ]


@pytest.mark.parametrize(
    ("there", "here", "what"),
    [
        (("core 0",), ("core 0", "core 1"), "there are 1 CPUs at the source and 2 at the destination (at the destination only: core 1)"),
        (
            *(("core 0",), ("core 0", "core 1 (empty)")),
            "there are 1 CPUs at the source and 1 of 2 at the destination (at the destination only: core 1 (empty))",
        ),
        (
            *(("core 0", "core 1"), ("core 0", "core 1 (empty)")),
            "there are 2 CPUs at the source and 1 of 2 at the destination "
            "(at the source only: core 1; at the destination only: core 1 (empty))",
        ),
        (
            *(("core 0", "socket 1"), ("core 0", "core 1")),
            "there are 2 CPUs at the source and 2 at the destination (at the source only: socket 1; at the destination only: core 1)",
        ),
        (
            *(tuple(f"core {number}" for number in range(9)), ("core 0",)),
            "there are 9 CPUs at the source and 1 at the destination (at the source only: core 1, core 2, core 3, core 4 and 4 more)",
        ),
    ],
)
def test_other_numbers_of_processors(there: tuple[str, ...], here: tuple[str, ...], what: str) -> None:
    (found,) = processors.compare(evolve(HERE, processors=there), evolve(HERE, processors=here))
    assert (found.level.value, found.name, found.what) == ("failure", "smp", what)
    assert found.remedy == "start the destination with the same -smp, and plug in the same CPUs"
