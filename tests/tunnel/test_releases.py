"""Source and destination of different releases, with all that is between them: they find a version, or both say why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from nbdtun.tunnel.opening.commands import TUNNEL
from nbdtun.tunnel.protocol.frames import HEADER, MAX_EXTENSION, Kind, encode
from nbdtun.versions import Speaks
from tests.tunnel.stage.program import Program
from tests.tunnel.stage.stage import Stage
from tests.tunnel.stage.stranger import Stranger

LATER: dict[str, Any] = {"lowest": 1, "highest": 3, "features": "colour ghosts", "colour": "red", "x": b"\xff"}


def extension(kind: int, payload: bytes = b"") -> bytes:
    """A frame of a later release."""
    return HEADER.pack(kind, len(payload), 7) + payload


class TestALaterSource:
    def test_it_is_answered_with_the_highest_common_version(self, stage: Stage) -> None:
        answer = Stranger(stage).open(**LATER).hear_box()
        assert (answer["version"], answer["features"]) == (b"1", b"")
        greeted = Stranger(stage).ask("Greet", **LATER).hear_box()
        assert greeted == {"_answer": b"1", "version": b"1", "features": b""}

    @pytest.mark.parametrize("ask", [Stranger.open, Stranger.resume], ids=["open", "resume"])
    def test_one_that_is_too_late_is_told_so(self, stage: Stage, said: list[str], ask: Callable[..., Stranger]) -> None:
        speaks = "the source speaks versions 2 to 3 of the tunnel's protocol, the destination version 1"
        line = f"{speaks}; the destination needs a newer release of nbdtun"
        answer = ask(Stranger(stage), lowest=2, highest=3).hear_box()
        assert answer["_error_code"] == b"version"
        assert answer["_error_description"].decode() == line
        assert said == [f"refused a local peer: {line} [version]"]

    @pytest.mark.parametrize("size", [0, 1, 5000, MAX_EXTENSION])
    @pytest.mark.parametrize("kind", [128, 200, 255])
    def test_its_frames_are_passed_over(self, stage: Stage, kind: int, size: int) -> None:
        """However they arrive: none of their bytes belongs to the stream."""
        stranger = Stranger(stage).open()
        stranger.hear_box()
        stranger.say(encode(Kind.DATA, 0, b"so ") + extension(kind, b"x" * size)[: HEADER.size])
        stranger.say(b"x" * size + encode(Kind.DATA, 3, b"far"))
        assert bytes(stage.target.programs[0].got) == b"so far"
        assert Kind.RESET not in {frame[0] for frame in stranger.hear_frames()}

    @pytest.mark.parametrize(
        "frame", [extension(127), extension(9), extension(128, bytes(MAX_EXTENSION + 1))], ids=lambda frame: frame[:8].hex()
    )
    def test_others_are_a_violation(self, stage: Stage, frame: bytes) -> None:
        stranger = Stranger(stage).open()
        stranger.hear_box()
        assert stranger.say(frame).hear_frames()[-1][2].startswith(b"protocol ")


class TestALaterDestination:
    def arrive(self, stage: Stage, monkeypatch: pytest.MonkeyPatch, speaks: Speaks) -> Program:
        """A program connects to the source, while the destination ``speaks`` so."""
        monkeypatch.setattr("nbdtun.tunnel.destination.opening.TUNNEL", speaks)
        near = stage.arrive()
        stage.pass_time(1)
        return near

    def test_it_comes_down_to_the_source(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        near = self.arrive(stage, monkeypatch, evolve(TUNNEL, highest=3, features=frozenset({"ghosts"})))
        near.send(b"hello")
        stage.pass_time(1)
        assert bytes(stage.target.programs[0].got) == b"hello"

    def test_or_both_say_why_not(self, stage: Stage, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        near = self.arrive(stage, monkeypatch, evolve(TUNNEL, lowest=2, highest=3))
        speaks = "the source speaks version 1 of the tunnel's protocol, the destination versions 2 to 3"
        line = f"{speaks}; the source needs a newer release of nbdtun"
        assert near.got_end or near.gone
        assert said == [f"refused a local peer: {line} [version]", f"{line} [version]"]
