"""What local programs can open is bounded, for each user and in all."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable

import pytest

from nbdtun.errors import TooManyChannels
from nbdtun.tunnel.settings import LocalLimits
from nbdtun.tunnel.source.local_users import LocalUsers
from tests.tunnel.stage.sockets import tcp_pair
from tests.tunnel.stage.stage import Stage

ME = f"uid {os.geteuid()}"


def test_each_user_has_a_limit_and_all_have_one() -> None:
    users = LocalUsers(LocalLimits(channels=3, channels_per_user=2))
    (unix, _), (tcp, _) = socket.socketpair(), tcp_pair()
    assert [users.enter(unix), users.enter(unix)] == [ME, ME]
    with pytest.raises(TooManyChannels, match=r"limit of 2 channels for one local user \(--max-channels-per-user\)"):
        users.enter(unix)
    assert users.enter(tcp) == "TCP clients"
    with pytest.raises(TooManyChannels, match=r"limit of 3 channels \(--max-channels\)"):
        users.enter(tcp)
    users.leave(ME)
    assert users.enter(unix) == ME
    for user in (ME, ME, "TCP clients"):
        users.leave(user)
    assert repr(users) == "<LocalUsers {}>"


def test_those_in_another_process_of_the_daemon_count() -> None:
    users, (unix, _) = LocalUsers(LocalLimits(channels=3, channels_per_user=2)), socket.socketpair()
    users.elsewhere = Counter({ME: 1})
    users.enter(unix)
    with pytest.raises(TooManyChannels, match="limit of 2 channels for one local user"):
        users.enter(unix)
    users.elsewhere = Counter({"TCP clients": 2})
    with pytest.raises(TooManyChannels, match="limit of 3 channels"):
        users.enter(unix)


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to become another user")
def test_the_kernel_says_who_has_connected() -> None:
    """Whatever the process has become since, such as a setuid program of root's."""
    users, (unix, other) = LocalUsers(LocalLimits()), socket.socketpair()
    os.seteuid(65534)
    try:
        assert users.enter(unix) == ME
    finally:
        os.seteuid(0)
        unix.close()
        other.close()


class TestAtASource:
    @pytest.fixture
    def stage(self, make_stage: Callable[..., Stage]) -> Stage:
        stage = make_stage()
        stage.source.users = LocalUsers(LocalLimits(channels=9, channels_per_user=2))
        return stage

    def test_one_more_is_refused_at_once(self, stage: Stage, said: list[str]) -> None:
        stage.meet()
        near, far = stage.meet()
        refused = stage.arrive()
        stage.rest()
        assert refused.got_end
        assert len(stage.source.channels) == 2
        line = f"refused {ME}: this source has reached its limit of 2 channels for one local user (--max-channels-per-user)"
        assert said[-1] == f"{line} [too-many-channels]"
        near.shut()
        far.shut()
        stage.pass_time(1)
        stage.meet()

    def test_the_log_is_not_flooded(self, stage: Stage, said: list[str]) -> None:
        for _ in range(2):
            stage.meet()
        said.clear()
        for _ in range(100):
            stage.arrive()
        stage.rest()
        assert len(said) == 5

    def test_one_that_cannot_be_opened_is_not_counted(self, stage: Stage) -> None:
        stage.target.refuse("no")
        for _ in range(5):
            stage.arrive()
            stage.pass_time(1)
        assert repr(stage.source.users) == "<LocalUsers {}>"
        assert len(stage.near_programs) == 5

    def test_those_that_are_being_opened_count(self, stage: Stage) -> None:
        stage.cable.swallows = True
        programs = [stage.arrive() for _ in range(5)]
        stage.rest()
        assert [each.got_end for each in programs] == [False, False, True, True, True]
        stage.pass_time(30)
        assert repr(stage.source.users) == "<LocalUsers {}>"
