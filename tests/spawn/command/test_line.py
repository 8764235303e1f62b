"""A command line as options."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import ConfigError
from nbdtun.spawn.command.line import Option, changed, parse
from nbdtun.spawn.command.options import FLAGS, KEYED, SYNONYMS, TEXTS


def test_dashes_values_and_disks() -> None:
    assert parse(["--machine", "q35", "-S", "disk.img", "-hda", "-"]) == (
        Option("machine", "q35"),
        Option("S"),
        Option("hda", "disk.img"),
        Option("hda", "-"),
    )


def test_a_short_name_is_its_option() -> None:
    assert parse(["-M", "q35"]) == (Option("machine", "q35"),)


def test_a_file_of_options_takes_its_place() -> None:
    found = parse(["-S", "-readconfig", "a.cfg", "-usb"], {"a.cfg": '[device "n0"]\ndriver = "e1000"\n'}.__getitem__)
    assert found == (Option("S"), Option("device", "id=n0,driver=e1000"), Option("usb"))


def test_set_is_carried_out() -> None:
    found = parse(["-netdev", "tap,id=n0,ifname=tap1", "-set", "netdev.n0.ifname=tap2"])
    assert found == (Option("netdev", "tap,id=n0,ifname=tap2"),)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["-m"], "-m has no value"),
        (["-nonsense"], "QEMU's option -nonsense is not known to nbdtun"),
        (["-set", "a"], "-set a: it does not have the form"),
        (["-set", "a.b=1"], "-set a.b: QEMU's command line has no such -a"),
        (["-netdev", "user,id=n", "-set", "netdev.m.x=1"], "has no such -netdev"),
    ],
)
def test_what_is_refused(words: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse(words)


@pytest.mark.parametrize(
    ("option", "setting", "value"),
    [
        (Option("netdev", "tap,id=net0"), "netdev.net0.ifname=tap7", "tap,id=net0,ifname=tap7"),
        (Option("netdev", "tap,id=a.b"), "netdev.a.b.ifname=tap7", "tap,id=a.b,ifname=tap7"),
        (Option("vnc", ":1"), "vnc.vnc=:2", ":2"),
        (Option("device", '{"driver": "e1000", "id": "n"}'), "device.n.x.y=1", '{"driver": "e1000", "id": "n", "x": {"y": "1"}}'),
        (Option("blockdev", "raw,node-name=v,file=f"), "blockdev.v.file=g", "raw,node-name=v,file=g"),
    ],
)
def test_settings(option: Option, setting: str, value: str) -> None:
    assert changed([Option("S"), option], setting, "--set") == (Option("S"), Option(option.name, value))


def test_options_are_named() -> None:
    assert Option("netdev", "tap,id=n0").where == "-netdev n0"
    assert Option("nic", "user,model=e1000").where == "-nic user"
    assert Option("S").where == "-S"
    assert Option("append", "x=1").where == "-append"


FLAG = st.sampled_from(sorted(FLAGS - SYNONYMS.keys())).map(lambda name: (f"-{name}",))
VALUED = st.tuples(
    st.sampled_from(sorted((TEXTS | KEYED.keys()) - {"set", "readconfig"} - SYNONYMS.keys())).map(lambda name: f"-{name}"),
    st.text(max_size=9),
)


@given(options=st.lists(FLAG | VALUED, max_size=8))
def test_any_line_is_written_as_it_was_read(options: list[tuple[str, ...]]) -> None:
    words = [word for option in options for word in option]
    assert [word for option in parse(words) for word in option.words] == words


@given(words=st.lists(st.text(max_size=9), max_size=8))
def test_any_words_are_options_or_refused(words: list[str]) -> None:
    try:
        found = parse(words)
    except ConfigError:
        return
    assert all(option.words for option in found)
