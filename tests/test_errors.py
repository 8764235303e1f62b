"""Errors as data: each has a code of its own, which never changes, and which the documentation explains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nbdtun import errors
from nbdtun.errors import (
    CommandFailed,
    MigrationError,
    MirrorFailed,
    NbdtunError,
    TunnelError,
    VersionMismatch,
    error_of,
    printable,
    tree,
    wire_errors,
)

CODES = {
    "failed": "NbdtunError",
    "config": "ConfigError",
    "journal": "JournalFailed",
    "reach": "ReachError",
    "not-installed": "NotInstalled",
    "wrong-code": "WrongCode",
    "tunnel": "TunnelError",
    "tls": "TLSError",
    "not-allowed": "NotAllowed",
    "version": "VersionMismatch",
    "target-unknown": "TargetUnknown",
    "target-unreachable": "TargetUnreachable",
    "too-many-channels": "TooManyChannels",
    "shutting-down": "ShuttingDown",
    "resume-refused": "ResumeRefused",
    "complete": "AlreadyComplete",
    "link-lost": "LinkLost",
    "no-answer": "NoAnswer",
    "unreachable": "Unreachable",
    "host-unknown": "HostUnknown",
    "far-end-gone": "FarEndGone",
    "protocol": "ProtocolViolation",
    "reset": "ChannelReset",
    "migration": "MigrationError",
    "vm-unknown": "VMUnknown",
    "monitor": "MonitorError",
    "monitor-lost": "MonitorLost",
    "command": "CommandFailed",
    "libvirt": "LibvirtError",
    "not-migratable": "NotMigratable",
    "disk-mismatch": "DiskMismatch",
    "mirror": "MirrorFailed",
    "memory": "MemoryFailed",
    "timeout": "TimedOut",
    "stall": "Stalled",
    "too-late": "TooLate",
    "destination": "DestinationFailed",
    "too-many-arrivals": "TooManyArrivals",
    "hook": "HookFailed",
    "guest-lost": "GuestLost",
    "unknown": "OutcomeUnknown",
}
"""Programs depend on these: a line may be added, none changed."""

DOCS = (Path(__file__).parent.parent / "docs/errors.rst").read_text()
HEAD = errors.__doc__ or ""


def test_the_codes_are_those_that_were_promised() -> None:
    every = list(tree(NbdtunError))
    assert {error.code: error.__name__ for error in every} == CODES
    assert len(every) == len(CODES), "two errors share a code"
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", error.code) for error in every)
    assert all("code" in vars(error) for error in every), "an error has its parent's code"


def test_the_documentation_explains_each_and_no_other() -> None:
    rows = re.findall(r"^   \* - ``([a-z-]+)``\n     - (.+)\n     - (.+)$", DOCS, re.MULTILINE)
    assert sorted(code for code, _, _ in rows) == sorted(CODES)
    assert all(len(meaning) > 15 and len(remedy) > 10 for _, meaning, remedy in rows)


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = re.findall(r"[├└]── (\w+)", HEAD)
    assert sorted(drawn) == sorted(error.__name__ for error in tree(NbdtunError) if error is not NbdtunError)


@pytest.mark.parametrize("error", list(tree(NbdtunError)))
def test_an_error_comes_over_the_wire_as_what_it_was(error: type[NbdtunError]) -> None:
    assert wire_errors()[error] == error.code.encode()
    again = error_of(error.code, "vda: no space left", NbdtunError, MirrorFailed)
    assert type(again) is error
    assert again.line == f"vda: no space left [{error.code}]"


def test_a_code_that_is_none_or_is_not_among_those_that_may_come() -> None:
    assert type(error_of("nonsense", "why", NbdtunError, MirrorFailed)) is MirrorFailed
    assert type(error_of("mirror", "why", TunnelError, VersionMismatch)) is VersionMismatch
    assert type(error_of("mirror", "why", MigrationError, MigrationError)) is MirrorFailed
    assert error_of("command", "why", NbdtunError, NbdtunError).args == CommandFailed("why").args


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\n  lines\tand a tab", "two lines and a tab"),
        ("\x1b[31mred\x07 \u202egnirts\x9b", "?[31mred? ?gnirts?"),
        ("a surrogate \ud800", "a surrogate ?"),
        ("x" * 5000, "x" * 4000 + "..."),
    ],
)
def test_somebody_elses_text_is_a_part_of_one_line(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert MirrorFailed(text).line == f"{shown} [mirror]"


@pytest.mark.parametrize("error", list(tree(NbdtunError)))
def test_no_error_has_a_text_that_is_more_than_one_line(error: type[NbdtunError]) -> None:
    """Whoever prints, logs or sends it need not think of that."""
    hostile = error("no\x1b]0;owned\x07\x1b[2J\n2026-11-29 [nbdtun] all is well")
    assert str(hostile) == hostile.what == "no?]0;owned??[2J 2026-11-29 [nbdtun] all is well"
    assert hostile.args == (str(hostile),)


def test_a_remedy_is_a_part_of_the_line() -> None:
    error = MirrorFailed("full\n", "make\x1broom")
    assert (str(error), error.remedy) == ("full; make?room", "make?room")


def test_an_error_can_be_raised_again_without_its_past() -> None:
    error = CommandFailed("QEMU refused it", "DeviceNotFound")
    for _ in range(3):
        with pytest.raises(CommandFailed) as caught:
            raise error.again()
        assert len(caught.traceback) == 1
        assert (caught.value.line, caught.value.kind) == (error.line, error.kind)
