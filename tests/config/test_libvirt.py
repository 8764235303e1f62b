"""The settings of a migration that libvirt does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nbdtun.config.libvirt import SESSION, SYSTEM, DomainSettings, check_uri, read_xml
from nbdtun.errors import ConfigError
from nbdtun.libvirt.values import mode_of
from nbdtun.migration.settings import HOLD, Belonging, MigrationSettings
from nbdtun.spawn.rewrite.answers import Answers, Mapped


def settings(vm: str = "web1", **more: Any) -> DomainSettings:
    return DomainSettings(connect="127.0.0.1:10810", migration=MigrationSettings(vm=vm), **more)


@pytest.mark.parametrize("uri", [SYSTEM, SESSION, "qemu+unix:///system?socket=/run/other-sock"])
def test_the_uris_of_this_host_are_taken(uri: str) -> None:
    assert check_uri(uri) == uri
    assert mode_of(uri) in ("system", "session")


@pytest.mark.parametrize("uri", ["", "web1", "qemu+ssh://dest/system", "qemu://dest/system", "xen:///system", "qemu:///embed?root=/x"])
def test_those_of_others_are_not(uri: str) -> None:
    with pytest.raises(ConfigError, match="not the URI of a libvirt of this host"):
        check_uri(uri)


def test_it_is_the_systems_if_nothing_is_said() -> None:
    assert settings().uri == SYSTEM


def test_the_whole_xml_has_no_maps_beside_it() -> None:
    with pytest.raises(ConfigError, match="leave --map out"):
        settings(dest_xml="<domain/>", answers=Answers(maps=(Mapped("br0", "br1"),)))


def test_answers_about_a_command_line_are_refused() -> None:
    with pytest.raises(ConfigError, match="use --map or --dest-xml"):
        settings(answers=Answers(settings=("vnc.vnc=:7",)))


def test_differences_between_two_qemus_are_refused() -> None:
    for more in ({"allowed": ("cpu",)}, {"leave_behind": frozenset({Belonging.SNAPSHOTS})}, {"switchover": HOLD}):
        with pytest.raises(ConfigError, match="for VMs without libvirt"):
            DomainSettings(connect="127.0.0.1:10810", migration=MigrationSettings(vm="web1", **more))


def test_a_name_that_cannot_name_a_socket_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a valid name"):
        settings("../web1")


def test_a_file_of_xml_is_read(tmp_path: Path) -> None:
    (tmp_path / "web1.xml").write_text("<domain/>")
    assert read_xml(f"{tmp_path}/web1.xml") == "<domain/>"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_xml(f"{tmp_path}/gone")
