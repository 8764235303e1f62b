"""Certificates that change while a daemon runs: each link has those of its time, and none is refused for a change that is not complete."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from nbdtun.errors import ConfigError
from nbdtun.tls import issue
from nbdtun.tls.renewal import Renewal
from nbdtun.tls.store import CA_CERT, CLIENT_CERT, CLIENT_KEY, SERVER_KEY
from tests.powers import ordinary


@pytest.fixture
def directory(tls_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tls_dir, tmp_path / "tls"))


def test_what_does_not_change_is_read_once(directory: Path, said: list[str]) -> None:
    renewal = Renewal(directory, server=True)
    assert renewal() is renewal()
    assert said == []


def test_a_change_is_noticed_by_the_next_link(directory: Path, said: list[str]) -> None:
    renewal = Renewal(directory, server=True)
    before = renewal()
    issue.make(directory, ["localhost"], force=True)
    after = renewal()
    assert after is not before
    assert renewal() is after
    assert said == [f"{directory}: the certificates have changed; new links use them"]


def test_half_a_change_waits_for_the_other_half(directory: Path, tmp_path: Path, said: list[str]) -> None:
    issue.make(tmp_path, ["localhost"])
    renewal = Renewal(directory, server=False)
    before = renewal()
    for name in (CLIENT_CERT, CLIENT_KEY):
        assert renewal() is before
        assert renewal() is before
        os.replace(tmp_path / name, directory / name)
    assert renewal() is not before
    unfit, used = said
    assert unfit == f"{directory / CLIENT_KEY}: does not belong to {directory / CLIENT_CERT}; new links still use what was read before"
    assert used == f"{directory}: the certificates have changed; new links use them"


def test_a_new_ca_is_trusted_while_our_own_key_is_out_of_reach(directory: Path, tmp_path: Path, said: list[str]) -> None:
    """As under ``twistd --uid``: the key was read before, and stays loaded."""
    issue.make(tmp_path, ["localhost"])
    renewal = Renewal(directory, server=True)
    before = {each["serialNumber"] for each in renewal().get_ca_certs()}
    (directory / SERVER_KEY).chmod(0)
    shutil.copy(tmp_path / CA_CERT, directory / CA_CERT)
    with ordinary():
        assert {each["serialNumber"] for each in renewal().get_ca_certs()}.isdisjoint(before)
    assert said == [
        f"{directory / SERVER_KEY}: Permission denied; new links still use what was read before",
        f"{directory}: the certificates have changed; new links use them",
    ]


def test_files_that_go_away_are_not_missed(directory: Path) -> None:
    renewal = Renewal(directory, server=False)
    before = renewal()
    shutil.rmtree(directory)
    assert renewal() is before


def test_there_must_be_some_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        Renewal(tmp_path / "nowhere", server=False)
