"""Options as words of a command line, and back."""

from __future__ import annotations

import pytest

from nbdtun.config import MigrateSettings
from nbdtun.config.build import settings_of
from nbdtun.config.evacuation.words import SHARED, given_by, words_of
from nbdtun.errors import ConfigError


def test_there_and_back() -> None:
    words = words_of(
        {"tls_dir": "/etc/pki", "disk": ("vda", "vdb"), "overwrite": True, "settle": "200ms", "insecure": False, "converge": None}
    )
    assert sorted(words) == sorted(["--tls-dir", "/etc/pki", "--disk", "vda", "--disk", "vdb", "--overwrite", "--settle", "200ms"])
    given = given_by(words)
    assert (given["tls_dir"], given["disk"], given["overwrite"], given["settle"]) == ("/etc/pki", ("vda", "vdb"), True, 0.2)


def test_all_else_is_as_nobody_has_given_it() -> None:
    settings = settings_of("web1", "/run/web1.qmp", "tcp:127.0.0.1:10810", given_by(()))
    assert isinstance(settings, MigrateSettings)
    assert settings == MigrateSettings(connect="tcp:127.0.0.1:10810", qmp="/run/web1.qmp", migration=settings.migration)


def test_a_default_is_no_word() -> None:
    assert words_of({"settle": "2s"}) == ()


@pytest.mark.parametrize("words", [("--nonsense", "1"), ("--settle",), ("web1",), ("--settle", "much"), ("--hold",)])
def test_what_is_no_option(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        given_by(words)


def test_what_one_vm_has_for_itself_is_not_shared() -> None:
    names = {option.name for option in SHARED}
    assert not names & {"far-qmp", "bandwidth", "window", "hold", "switchover", "libvirt", "dest-xml"}
    assert names >= {"tls-dir", "run-dir", "map", "converge", "settle", "connections", "resume-window"}
