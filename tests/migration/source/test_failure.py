"""The error of a failed migration: the cause, and all that an operator has to know besides."""

from __future__ import annotations

import pytest

from nbdtun.errors import DestinationFailed, MemoryFailed, MigrationError, MirrorFailed
from nbdtun.migration.source.failure import failure_of

CAUSE = MemoryFailed("the memory did not arrive")


@pytest.mark.parametrize(
    ("diagnosis", "left", "text"),
    [
        ("", [], "the memory did not arrive"),
        ("its disk is full", [], "the memory did not arrive; at the destination: its disk is full"),
        ("did not arrive", [], "the memory did not arrive"),
        ("", ["vda could not be removed"], "the memory did not arrive; vda could not be removed"),
    ],
)
def test_it_has_the_cause_and_what_more_is_known(diagnosis: str, left: list[str], text: str) -> None:
    failure = failure_of(CAUSE, diagnosis, left)
    assert isinstance(failure, MemoryFailed)
    assert str(failure) == text


def test_a_disk_that_was_cut_off_is_not_the_cause() -> None:
    failure = failure_of(
        MirrorFailed("disk vda: its connection was closed"), "web1 at the destination: the machine has changed", ["x is left"]
    )
    assert type(failure) is DestinationFailed
    assert str(failure) == "web1 at the destination: the machine has changed; x is left"


def test_a_bug_is_called_one() -> None:
    failure = failure_of(KeyError("x"), "", ["a socket is left"])
    assert type(failure) is MigrationError
    assert str(failure) == "a bug in nbdtun: KeyError('x'); a socket is left"
