"""The lists of a plan, as they are filled."""

from __future__ import annotations

import pytest

from nbdtun.spawn.command.line import Option
from nbdtun.spawn.command.params import Params
from nbdtun.spawn.rewrite.draft import Draft
from nbdtun.spawn.values import Path, Port, Role
from tests.spawn.rewrite.stage import answers, source


@pytest.fixture
def draft() -> Draft:
    made = Draft(source(""), answers(maps=("/srv=/data",)))
    made.option = Option("chardev", "file,id=c")
    return made


def test_a_path_is_placed_and_noted(draft: Draft) -> None:
    assert draft.place("./x/../a", Role.LOG) == "/data/a"
    assert draft.paths == [Path("/data/a", Role.LOG, "-chardev c", "/srv/a")]


def test_keys_are_placed(draft: Draft) -> None:
    assert str(draft.placed(Params.read("path=a,other=/b"), {"path": Role.LOG, "gone": Role.LOG})) == "path=/data/a,other=/b"


def test_it_is_strict(draft: Draft) -> None:
    draft.strict(Params.read("a=/b,fd=1,path=/c,x.fds.0=3,d=e"), ("path",))
    assert [finding.what for finding in draft.findings] == [
        "-chardev c: a=/b is a path in a place that is not known to nbdtun",
        "-chardev c: fd=1 is a descriptor that another program passed to QEMU",
        "-chardev c: x.fds.0=3 is a descriptor that another program passed to QEMU",
    ]


@pytest.mark.parametrize(("port", "found"), [("7", [Port("h", 7, "-chardev c")]), ("", []), ("x", []), ("0", []), ("65536", [])])
def test_ports(draft: Draft, port: str, found: list[Port]) -> None:
    draft.listen("h", port)
    assert draft.ports == found
