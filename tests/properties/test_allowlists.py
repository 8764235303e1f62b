"""Nothing of a source's choosing reaches a monitor or the file system, except in the forms that were checked."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.test.iosim import FakeTransport, connect

from nbdtun.errors import TargetUnknown
from nbdtun.migration.control.channel import Control
from nbdtun.migration.control.commands import MIGRATION, Abort, Listen, Prepare, Query, Settle
from nbdtun.migration.destination.control import DestinationControl
from nbdtun.migration.vm.hardware.model import Device
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.destination.targets import Targets
from tests.fuzz.targets import SESSION, staged
from tests.migration.stage.machines import HARDWARE
from tests.migration.stage.paper_qemu import PaperQemu
from tests.migration.stage.stage import Stage as PaperStage
from tests.tunnel.stage.stranger import Stranger

MARK = "m4rk"
"""Stands in everything that the source says; so it can be found again wherever that went."""

SAID = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=20).map(lambda text: f"{MARK}{text}")
PATHS = st.sampled_from([f"/{MARK}", f"../{MARK}", f"unix:/{MARK}", f"{MARK}\0", f'{MARK}","x":"', f"/proc/self/{MARK}"])

_touched: list[str] = []


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event.partition(".")[0] in ("open", "os", "socket", "shutil", "subprocess", "pathlib") and MARK in repr(arguments):
        _touched.append(f"{event} {arguments!r}")


sys.addaudithook(_audit)


class Overheard:
    """All that QEMUs on paper are told meanwhile."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.told: list[str] = []
        answer = PaperQemu._answer

        def listening(qemu: PaperQemu, command: str, arguments: dict[str, Any]) -> Any:
            self.told.append(json.dumps([command, arguments]))
            return answer(qemu, command, arguments)

        patch.setattr(PaperQemu, "_answer", listening)


def _ask(vm: str, machine: str, disks: list[Mapping[str, Any]]) -> PaperStage:
    """A source that says these things wherever it can."""
    stage = PaperStage(disks={"vda": 1 << 21})
    server, client = DestinationControl(stage.daemon), Control(stage.clock)
    ends = FakeTransport(server, isServer=True), FakeTransport(client, isServer=False)
    pump = connect(server, ends[0], client, ends[1])
    devices = (Device(f"board/{machine}", machine, machine, {machine: machine}),) if machine else ()
    prepare = {
        **MIGRATION.offer(),
        "session": SESSION,
        "vm": vm,
        "hardware": evolve(HARDWARE, devices=devices),
        "disks": disks,
        "bitmaps": [],
        "allowed": [],
    }
    asked: list[tuple[Any, dict[str, Any]]] = [
        (Prepare, prepare),
        (Query, {"session": SESSION, "vm": vm}),
        (Listen, {"session": SESSION, "bitmaps": []}),
        (Abort, {"session": SESSION}),
        (Settle, {"vm": vm}),
    ]
    for command, arguments in asked:
        Deferred.fromCoroutine(client.ask(command, seconds=10, **arguments)).addErrback(lambda _: None)
        for _ in range(60):
            pump.flush()
            stage.clock.advance(0.01)
    client.hang_up()
    pump.flush()
    stage.clock.pump([0.5] * 60)
    return stage


WORD = st.one_of(SAID, PATHS)
_MORE = {"format": "raw", "place": "", "serial": "", "image": "", "cache": ""}
_DISK = {"size": st.just(1 << 20), "format": WORD, "place": WORD, "serial": WORD, "image": WORD, "cache": WORD}


@settings(max_examples=40)
@given(
    st.one_of(st.just("web1"), WORD),
    st.one_of(st.just(""), WORD),
    st.lists(st.fixed_dictionaries({"node": WORD, "device": WORD, "qdev": st.one_of(st.just("vda-dev"), WORD), **_DISK})),
)
def test_no_word_of_a_source_reaches_a_monitor_or_a_file(vm: str, machine: str, disks: list[Mapping[str, Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        overheard = Overheard(patch)
        stage = _ask(vm, machine, disks)
    assert [told for told in overheard.told if MARK in told] == []
    assert not stage.egresses
    assert not stage.admitted
    assert _touched == []


def test_the_words_of_an_honest_source_do_not_either_but_its_session_does() -> None:
    """So the property above holds for a conversation that got all the way."""
    with pytest.MonkeyPatch.context() as patch:
        overheard = Overheard(patch)
        _ask("web1", "", [{"node": f"{MARK}-node", "device": MARK, "qdev": "vda-dev", "size": 1 << 20, **_MORE}])
    assert [told for told in overheard.told if MARK in told] == []
    exported = [told for told in overheard.told if "block-export-add" in told]
    assert len(exported) == 1
    assert f"nbdtun-{SESSION[:16]}-0" in exported[0]
    assert any("migrate-incoming" in told for told in overheard.told)


@settings(max_examples=40)
@given(WORD)
def test_no_target_that_is_not_listed_is_connected_to(name: str) -> None:
    with staged() as stage:
        answer = Stranger(stage).open(target=name).hear_box()
        assert answer["_error_code"] == (b"target-unknown" if name.isprintable() else b"protocol")
        assert not stage.target.programs
    with pytest.raises(TargetUnknown):
        Targets().find(name, Caller("a local peer", "local"))
    assert _touched == []
