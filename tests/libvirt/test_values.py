from __future__ import annotations

import pytest

from nbdtun.libvirt.values import Fate, Found, mode_of
from nbdtun.migration.finding import Finding, Level


def test_only_a_failure_is_in_the_way() -> None:
    assert Found().fit
    assert Found((Finding(Level.WARNING, "place", "what"),)).fit
    assert not Found((Finding(Level.WARNING, "place", "what"), Finding(Level.FAILURE, "place", "what"))).fit


def test_texts_of_the_other_end_do_nothing_to_a_terminal() -> None:
    (finding,) = Found((Finding(Level.FAILURE, "place", "no\x1b[2Jbridge", "make\nit", "not-migratable"),)).findings
    assert (finding.what, finding.remedy) == ("no?[2Jbridge", "make it")
    assert Fate("run\x1bning", "a\tb") == Fate("run?ning", "a b")


@pytest.mark.parametrize(
    ("uri", "mode"),
    [("qemu:///system", "system"), ("qemu:///session", "session"), ("qemu+unix:///session?socket=/a/system", "session")],
)
def test_the_mode_of_a_libvirt(uri: str, mode: str) -> None:
    assert mode_of(uri) == mode
