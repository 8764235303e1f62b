"""Options that several faces have are declared once, and every face says and takes the same."""

from __future__ import annotations

from typing import Any

import click
import pytest

from nbdtun.cli import command
from nbdtun.config import capacity, options
from nbdtun.config.option import Option
from nbdtun.daemon import dest_tap, source_tap
from nbdtun.service.tunnel.endpoint import WORDS

DECLARED = {option.name: option for option in (vars(options) | vars(capacity)).values() if isinstance(option, Option)}
OTHERS = {"help", "version"}
#: The options of ``nbdtun`` that have another name there.
CALLED = {"to": "connect"}


def twistd(tap: Any) -> dict[str, str]:
    """What a daemon says of each of its options, and its default."""
    made = tap.Options()
    names = {long.rstrip("=") for long in made.longOpt} - OTHERS
    return {name: made.docs[name] for name in names}


def nbdtun(name: str) -> dict[str, str]:
    """What a subcommand says, and its default."""
    found = [each for each in command.commands[name].params if isinstance(each, click.Option)]
    names = [each.opts[0].removeprefix("--") for each in found]
    defaults = [f" [default: {each.default}]" if isinstance(each.default, str) else "" for each in found]
    return {CALLED.get(name, name): f"{each.help}{default}" for name, each, default in zip(names, found, defaults, strict=True)}


FACES = {"nbdtun-source": twistd(source_tap), "nbdtun-dest": twistd(dest_tap), "migrate": nbdtun("migrate"), "check": nbdtun("check")}


@pytest.mark.parametrize("face", FACES)
def test_what_several_faces_have_is_declared_once(face: str) -> None:
    for name, text in FACES[face].items():
        others = [other for other in FACES if other != face and name in FACES[other] and {face, other} != {"migrate", "check"}]
        assert name in DECLARED or not others, f"--{name} of {face} and {others}"
        if name in DECLARED:
            assert text == DECLARED[name].described


def test_an_endpoints_words_are_options() -> None:
    assert all(DECLARED[name] is option for name, option in WORDS.items())


@pytest.mark.parametrize("option", DECLARED.values(), ids=lambda option: option.name)
def test_a_default_can_be_read(option: Option) -> None:
    if option.default is not None:
        option.read(option.default)
    assert option.text.count("[default:") == bool(option.unset)
    assert option.described.count("[default:") == bool(option.unset or option.default)
    assert not (option.default and option.unset)
