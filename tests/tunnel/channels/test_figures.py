"""What a channel has done, in figures."""

from __future__ import annotations

from nbdtun.tunnel.channels.figures import Figures, in_bytes, lost_for
from tests.tunnel.stage.stage import Stage


def test_the_end_of_a_stream_is_no_byte() -> None:
    assert [in_bytes(7, None), in_bytes(7, 7), in_bytes(8, 7)] == [7, 7, 7]


def test_the_oldest_outage_counts() -> None:
    assert lost_for([], 10.0) is None
    assert lost_for([Figures(linked=True)], 10.0) is None
    assert lost_for([Figures(since=7.0), Figures(), Figures(since=4.0)], 10.0) == 6.0


def test_both_ends_agree(stage: Stage) -> None:
    """Also after a link was lost, and where there is none now."""
    near, far = stage.meet()
    near.send(b"there")
    far.send(b"back")
    stage.pass_time(1)
    assert (stage.near.figures.sent, stage.near.figures.received) == (stage.far.figures.received, stage.far.figures.sent) == (5, 4)
    assert stage.near.figures.linked
    assert stage.near.figures.since is None
    assert stage.near.figures.window == stage.terms.window
    stage.cable.refuses = True
    stage.cable.cut()
    near.send(b"more")
    stage.pass_time(1)
    lost = stage.near.figures
    assert (lost.linked, lost.since is None, lost.kept >= 4) == (False, False, True)
    stage.cable.refuses = False
    stage.pass_time(5)
    assert (stage.near.figures.resumes, stage.near.figures.sent, stage.near.figures.linked) == (1, 9, True)
