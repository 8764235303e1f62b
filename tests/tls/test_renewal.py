"""Certificates that change while a daemon runs: each link has those of its time, and none is refused for a change that is not complete."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from nbdtun.errors import ConfigError
from nbdtun.tls import issue
from nbdtun.tls.contexts import client_context, server_context
from nbdtun.tls.files import CA_CRL, CLIENT_CERT, CLIENT_KEY
from nbdtun.tls.renewal import Renewal


@pytest.fixture
def directory(tls_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tls_dir, tmp_path / "tls"))


def test_what_does_not_change_is_read_once(directory: Path, said: list[str]) -> None:
    secrets = Renewal(server_context, directory)
    assert secrets() is secrets()
    assert said == []


def test_a_change_is_noticed_by_the_next_link(directory: Path, said: list[str]) -> None:
    secrets = Renewal(server_context, directory)
    before = secrets()
    issue.make(directory, ["localhost"], force=True)
    after = secrets()
    assert after is not before
    assert secrets() is after
    assert said == [f"{directory}: the certificates have changed; new links use them"]


def test_a_revocation_list_that_comes_and_goes_is_a_change(directory: Path) -> None:
    secrets = Renewal(server_context, directory)
    before = secrets()
    (directory / CA_CRL).write_text("no list")
    assert secrets() is before
    (directory / CA_CRL).unlink()
    assert secrets() is not before


def test_half_a_change_waits_for_the_other_half(directory: Path, tmp_path: Path, said: list[str]) -> None:
    issue.make(tmp_path, ["localhost"])
    secrets = Renewal(client_context, directory)
    before = secrets()
    for name in (CLIENT_CERT, CLIENT_KEY):
        assert secrets() is before
        assert secrets() is before
        os.replace(tmp_path / name, directory / name)
    assert secrets() is not before
    unfit, used = said
    assert unfit.startswith(f"{directory / CLIENT_KEY}: does not belong to {directory / CLIENT_CERT}; new links still use")
    assert used == f"{directory}: the certificates have changed; new links use them"


def test_files_that_go_away_are_not_missed(directory: Path) -> None:
    secrets = Renewal(client_context, directory)
    before = secrets()
    shutil.rmtree(directory)
    assert secrets() is before


def test_there_must_be_some_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        Renewal(client_context, tmp_path / "nowhere")
