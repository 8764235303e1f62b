"""A destination that ends is told from a network that fails."""

from __future__ import annotations

from tests.tunnel.stage.sockets import tcp_pair
from tests.tunnel.stage.stage import Stage


class TestHangingUp:
    def hung_up(self, stage: Stage) -> bool:
        return stage.source.runtime.contact.hung_up

    def test_a_destination_that_ends_hangs_up(self, stage: Stage) -> None:
        stage.cable.pair = tcp_pair
        stage.meet()
        assert not self.hung_up(stage)
        stage.cable.refuses = True
        stage.far.leave("its process was killed")
        stage.pass_time(1)
        assert self.hung_up(stage)
        stage.cable.refuses = False

    def test_a_firewall_that_resets_does_not(self, stage: Stage) -> None:
        stage.cable.pair = tcp_pair
        stage.meet()
        stage.cable.refuses = True
        stage.cable.line.loss = "reset"
        stage.cable.cut()
        stage.pass_time(1)
        assert stage.source.lost_for
        assert not self.hung_up(stage)
        stage.cable.refuses = False

    def test_what_ended_in_between_and_came_back_is_forgotten(self, stage: Stage) -> None:
        stage.meet()
        stage.cable.refuses = True
        stage.cable.cut()
        stage.pass_time(1)
        assert self.hung_up(stage)
        stage.cable.refuses = False
        stage.pass_time(5)
        assert not self.hung_up(stage)
        assert stage.source.ledger.whole.resumes == 1

    def test_an_end_that_hears_nothing_resets_its_connection(self, stage: Stage) -> None:
        """A firewall may let its bytes pass, and not ours: this is no end of its process."""
        stage.cable.pair = tcp_pair
        stage.meet()
        line = stage.cable.line
        line.there.stalled = True
        stage.pass_time(1.5 * stage.terms.link_timeout)
        assert line.back.torn
