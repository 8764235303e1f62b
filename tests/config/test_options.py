"""Options that several faces have are declared once, and every face says and takes the same."""

from __future__ import annotations

from typing import Any

import click
import pytest

from nbdtun.cli import command
from nbdtun.config import options
from nbdtun.config.options import LIBVIRT, MAP, Option, spelled_out
from nbdtun.daemon import dest_tap, source_tap
from nbdtun.errors import ConfigError
from nbdtun.service.tunnel.endpoint import WORDS

DECLARED = {option.name: option for option in vars(options).values() if isinstance(option, Option)}
OTHERS = {"help", "version"}
#: The options of ``nbdtun`` that have another name there.
CALLED = {"to": "connect"}


def twistd(tap: Any) -> dict[str, tuple[str, Any]]:
    """What a daemon says of each of its options, and its default."""
    made = tap.Options()
    names = {long.rstrip("=") for long in made.longOpt} - OTHERS
    return {name: (made.docs[name], made.defaults.get(name) or None) for name in names}


def nbdtun(name: str) -> dict[str, tuple[str, Any]]:
    """What a subcommand says, and its default."""
    found = [each for each in command.commands[name].params if isinstance(each, click.Option)]
    names = [each.opts[0].removeprefix("--") for each in found]
    return {
        CALLED.get(name, name): (each.help or "", each.default if isinstance(each.default, str) else None)
        for name, each in zip(names, found, strict=True)
    }


FACES = {"nbdtun-source": twistd(source_tap), "nbdtun-dest": twistd(dest_tap), "migrate": nbdtun("migrate"), "check": nbdtun("check")}


@pytest.mark.parametrize("face", FACES)
def test_what_several_faces_have_is_declared_once(face: str) -> None:
    for name, (text, default) in FACES[face].items():
        others = [other for other in FACES if other != face and name in FACES[other] and {face, other} != {"migrate", "check"}]
        assert name in DECLARED or not others, f"--{name} of {face} and {others}"
        if name in DECLARED:
            assert (text, default) == (DECLARED[name].text, DECLARED[name].default)


def test_an_endpoints_words_are_options() -> None:
    assert all(DECLARED[name] is option for name, option in WORDS.items())


@pytest.mark.parametrize("option", DECLARED.values(), ids=lambda option: option.name)
def test_a_default_can_be_read(option: Option) -> None:
    if option.default is not None:
        option.read(option.default)
    assert option.text.count("[default:") == bool(option.unset)
    assert not (option.default and option.unset)


def test_what_can_be_given_alone_gets_its_value() -> None:
    words = ["--libvirt", "web1", "--libvirt=qemu:///session", "--", "--libvirt"]
    assert spelled_out(words, [LIBVIRT, MAP]) == ["--libvirt=qemu:///system", *words[1:]]
    assert spelled_out(["--map"], [LIBVIRT, MAP]) == ["--map"]


def test_text_is_taken_as_it_is_and_a_parser_refuses() -> None:
    assert options.TLS_NAME.read("dest") == "dest"
    assert options.WINDOW.read("1MiB") == 2**20
    with pytest.raises(ConfigError, match="'much' is not a size"):
        options.WINDOW.read("much")
