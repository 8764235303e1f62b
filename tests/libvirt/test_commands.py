"""The commands of a migration of libvirt's cross as they were sent, and nothing else is taken."""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

import pytest
from attrs import evolve

from nbdtun.amp import CheckedCommand, Refused, Value
from nbdtun.libvirt import commands
from nbdtun.libvirt.commands import LIBVIRT, LibvirtFinish, LibvirtLook, LibvirtOutcome, LibvirtPrepare
from nbdtun.libvirt.values import Fate, Found, Image, Prepared, Wanted
from nbdtun.migration.control import commands as bare
from nbdtun.migration.finding import Finding, Level
from nbdtun.typed import as_json, of_json
from nbdtun.versions import Agreed
from tests.libvirt.stage import IMAGE, SESSION, UUID, WANTED
from tests.migration.stage.talk import Echo, Pair

FOUND = Found((Finding(Level.FAILURE, "place", "what", "remedy", "not-migratable"),), 9_000_000, 7_002_022)
PREPARED = Prepared("/run/nbdtun/libvirt/1", "libvirt.1", "memory.1", "disks.1", "session")
FATE = Fate("paused", "migration", waits=True, begun=True, kept=("/data/a",))


class Far(Echo):
    """Answers every command, and keeps what it was told."""

    @LibvirtLook.responder
    def look(self, **told: Any) -> dict[str, Any]:
        self.got.append(told)
        return {**Agreed(1).fields(), "found": FOUND}

    @LibvirtPrepare.responder
    def make(self, **told: Any) -> dict[str, Any]:
        self.got.append(told)
        return {**Agreed(1).fields(), "prepared": PREPARED}

    @LibvirtFinish.responder
    def end(self, **told: Any) -> dict[str, Any]:
        self.got.append(told)
        return {"fate": FATE}

    @LibvirtOutcome.responder
    def outcome(self, **told: Any) -> dict[str, Any]:
        self.got.append(told)
        return {"fate": FATE}


SESSIONS = {"session": SESSION, "secret": b"s" * 32}


@pytest.mark.parametrize(
    ("command", "told", "answer"),
    [
        (LibvirtLook, {**LIBVIRT.offer(), "wanted": WANTED}, {**Agreed(1).fields(), "found": FOUND}),
        (LibvirtPrepare, {**SESSIONS, **LIBVIRT.offer(), "wanted": WANTED}, {**Agreed(1).fields(), "prepared": PREPARED}),
        (LibvirtFinish, {**SESSIONS, "arrived": True}, {"fate": FATE}),
        (LibvirtOutcome, {**SESSIONS, "uuid": UUID, "end": False}, {"fate": FATE}),
    ],
)
def test_a_command_and_its_answer_cross(command: type[Any], told: dict[str, Any], answer: dict[str, Any]) -> None:
    pair = Pair(far := Far())
    assert pair.ask(command, **told) == answer
    assert far.got == [told]


def test_all_commands_have_names_of_their_own() -> None:
    """They share a control channel with those of the bare migration."""
    ours, theirs = ({one.commandName for one in vars(module).values() if _is_command(one)} for module in (commands, bare))
    assert ours
    assert not ours & theirs


def _is_command(one: object) -> bool:
    return isinstance(one, type) and issubclass(one, CheckedCommand) and one is not CheckedCommand


def test_a_domain_of_a_hundred_disks_fits() -> None:
    xml = "".join(f"<disk type='file'><source file='/data/{number:x}'/><target dev='vd{number}'/></disk>" for number in range(1000))
    wanted = evolve(WANTED, xml=xml, images=tuple(evolve(IMAGE, path=f"/data/{number:x}") for number in range(100)))
    assert Value(Wanted).fromString(Value(Wanted).toString(wanted)) == wanted


@pytest.mark.parametrize("told", [{}, {**as_json(WANTED), "more": 1}, {**as_json(WANTED), "images": [as_json(WANTED)]}])
def test_an_object_of_another_form_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=r"not a valid wanted: .* does not have the fields"):
        Value(Wanted).fromString(zlib.compress(json.dumps(told).encode()))


@pytest.mark.parametrize(("kind", "name"), [(Wanted, "Wanted"), (Found, "Found"), (Prepared, "Prepared"), (Fate, "Fate")])
def test_the_forms_that_are_documented_are_the_real_ones(kind: type[Any], name: str) -> None:
    found = re.search(rf"`\.values\.{name}`::\n\n(.*?)\n\n\S", commands.__doc__ or "", re.DOTALL)
    assert found
    value = of_json(kind, json.loads(found[1]))
    assert not isinstance(value, Wanted) or isinstance(value.images[0], Image)
