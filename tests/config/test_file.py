"""Configuration files: what is in them is what the command line would have; each mistake is named, with the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.config.file import ConfigFile
from nbdtun.config.options import DESTINATION, LIBVIRT, SOURCE
from tests.config.stage import refused
from tests.powers import ordinary

ALL = {option.name: option for option in (*DESTINATION, *SOURCE)}


def texts(there: Path, content: str) -> dict[str, tuple[str, ...]]:
    file = there / "dest.toml"
    file.write_text(content)
    return dict(ConfigFile.read(f"{file}", ALL.values()).texts)


def test_every_form_of_a_value(tmp_path: Path) -> None:
    content = """
        listen = "10810"            # a comment
        vm = ["*=/run/qemu/{vm}.qmp", "web1=/run/web1.qmp"]
        target = "nbd=unix:/run/nbd.sock"
        allow = []
        insecure = true
        any-purpose = false
        max-channels = 2000
        libvirt = true
    """
    assert texts(tmp_path, content) == {
        "listen": ("10810",),
        "vm": ("*=/run/qemu/{vm}.qmp", "web1=/run/web1.qmp"),
        "target": ("nbd=unix:/run/nbd.sock",),
        "allow": (),
        "insecure": ("",),
        "any-purpose": (),
        "max-channels": ("2000",),
        "libvirt": (LIBVIRT.alone,),
    }


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('tls_dir = "/pki"', "there is no option tls_dir; did you mean tls-dir?"),
        ("max-chanels = 3", "there is no option max-chanels; did you mean max-channels?"),
        ("frobnicate = 3", "there is no option frobnicate; docs/options lists them"),
        ('config = "/other.toml"', "there is no option config"),
        ("[listen]", 'listen: write listen = "ENDPOINT"'),
        ("listen = true", 'listen: write listen = "ENDPOINT"'),
        ('listen = ["1", "2"]', 'listen: write listen = "ENDPOINT"'),
        ("vm = [1979-05-27]", 'vm: write vm = ["NAME=PATH"]'),
        ("[vm]\nweb1 = '/run/web1.qmp'", 'vm: write vm = ["NAME=PATH"]'),
        ('insecure = "yes"', "insecure: write true or false"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, content: str, line: str) -> None:
    assert refused(texts, tmp_path, content).startswith(f"{tmp_path}/dest.toml: {line}")


def test_what_is_no_toml(tmp_path: Path) -> None:
    path = tmp_path / "dest.toml"
    assert "is not valid TOML: Expected newline or end of document after a statement (at line 2, column 12)" in refused(
        texts, tmp_path, "\nlisten = 10:810x"
    )
    path.write_bytes(b"listen = '\xff'")
    assert refused(ConfigFile.read, f"{path}", ALL.values()) == f"{path} cannot be read: it is not UTF-8 text"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert refused(ConfigFile.read, f"{tmp_path}/none.toml", []) == f"{tmp_path}/none.toml: No such file or directory"
    assert refused(ConfigFile.read, f"{tmp_path}", []) == f"{tmp_path}: Is a directory"
    (tmp_path / "closed").mkdir(mode=0)
    with ordinary():
        told = refused(ConfigFile.read, f"{tmp_path}/closed/dest.toml", [])
    assert told == f"{tmp_path}/closed/dest.toml: Permission denied; let this user read it, or give --config none"


def test_a_file_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dest.toml"
    path.write_text("")
    path.chmod(0o646)
    assert "everybody can write to it; it must be root's" in refused(ConfigFile.read, f"{path}", [])
    path.chmod(0o644)
    ConfigFile.read(f"{path}", [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_group_that_can_write_to_it_is_refused_unless_it_is_roots(tmp_path: Path) -> None:
    path = tmp_path / "dest.toml"
    path.write_text("")
    path.chmod(0o664)
    ConfigFile.read(f"{path}", [])
    os.chown(path, -1, 4711)
    assert "group 4711 can write to it" in refused(ConfigFile.read, f"{path}", [])
    path.chmod(0o644)
    ConfigFile.read(f"{path}", [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dest.toml"
    path.write_text("")
    os.chown(path, 4711, -1)
    assert "it belongs to user 4711" in refused(ConfigFile.read, f"{path}", [])


@given(st.dictionaries(st.sampled_from([name for name, option in ALL.items() if option.metavar]), st.text(st.characters(codec="ascii"))))
def test_any_text_is_taken_as_it_is(tmp_path_factory: pytest.TempPathFactory, wanted: dict[str, str]) -> None:
    def literal(text: str) -> str:
        return '"' + "".join(f"\\u{ord(letter):04x}" for letter in text) + '"'

    there = tmp_path_factory.getbasetemp()
    content = "\n".join(f"{name} = {literal(text)}" for name, text in wanted.items())
    assert texts(there, content) == {name: (text,) for name, text in wanted.items()}
