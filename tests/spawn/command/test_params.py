"""The values of options: read as QEMU reads them, written as they were, changed in one place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import ConfigError
from nbdtun.spawn.command.params import Params

KEYS = st.from_regex(r"[a-z][a-z-]{0,8}", fullmatch=True).filter(lambda key: not key.startswith("no"))
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
SCALARS = st.text(max_size=8) | st.integers() | st.booleans()
OBJECTS = st.dictionaries(
    KEYS, st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)), max_size=4
)


@pytest.mark.parametrize(
    ("text", "first", "key", "value"),
    [
        ("q35,accel=kvm", "type", "type", "q35"),
        ("type=q35,accel=kvm", "type", "accel", "kvm"),
        ("file=a,,b,if=virtio", "", "file", "a,b"),
        ("file=a=b", "", "file", "a=b"),
        ("socket,id=c,server", "backend", "server", "on"),
        ("socket,id=c,server,nowait", "backend", "wait", "off"),
        ("a,,b,c=d", "path", "path", "a,b"),
        ("x=1,x=2", "", "x", "2"),
        ("x=", "", "x", ""),
        ("", "", "x", ""),
        (",", "type", "x", ""),
    ],
)
def test_a_value_is_read(text: str, first: str, key: str, value: str) -> None:
    assert Params.read(text, first).get(key) == value


@pytest.mark.parametrize(
    ("text", "first"), [("q35,accel=kvm", "type"), ("file=a,,b,if=virtio", ""), ("socket,id=c,server,nowait", "backend"), ("a,,b", "path")]
)
def test_what_is_not_changed_is_written_as_it_was(text: str, first: str) -> None:
    assert str(Params.read(text, first)) == text


def test_a_key_is_changed_in_its_place() -> None:
    params = Params.read("socket,id=c,path=/a,server,nowait", "backend")
    assert str(params.set("path", "/b,c").set("wait", "off")) == "socket,id=c,path=/b,,c,server,wait=off"
    assert str(params.set("more", 1)).endswith(",more=1")
    assert str(params.drop("server", "wait")) == "socket,id=c,path=/a"
    assert str(Params.read("accel=kvm,type=q35", "type").put_first("type", "x")) == "x,accel=kvm"


def test_a_first_value_with_an_equals_sign_gets_its_key() -> None:
    assert str(Params.read("a", "path").set("path", "b=c")) == "path=b=c"


def test_what_is_below_a_key_goes_with_it() -> None:
    assert str(Params.read("a.b=1,a.c.d=2,ab=3").drop("a")) == "ab=3"


def test_json_keeps_its_types() -> None:
    text = '{"driver": "qcow2", "file": {"driver": "file", "filename": "/a", "locking": true}, "n": [1, {"x": null}], "e": {}}'
    params = Params.read(text, "driver", True)
    assert params.get("file.filename") == "/a"
    assert params.is_on("file.locking")
    assert json.loads(str(params.set("file.filename", "/b").drop("n"))) == {
        "driver": "qcow2",
        "file": {"driver": "file", "filename": "/b", "locking": True},
        "e": {},
    }
    assert json.loads(str(params.set("x.y", 1)))["x"] == {"y": 1}


@pytest.mark.parametrize("text", ["{", "{]", '{"a": }'])
def test_json_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a JSON object"):
        Params.read(text, "", True)


@given(pairs=st.lists(st.tuples(KEYS, TEXTS), max_size=5))
def test_any_pairs_come_back(pairs: list[tuple[str, str]]) -> None:
    text = ",".join(f"{key}={value.replace(',', ',,')}" for key, value in pairs)
    assert [(pair.key, pair.text) for pair in Params.read(text).pairs] == pairs
    assert str(Params.read(text)) == text


@given(value=OBJECTS)
def test_any_json_comes_back(value: dict[str, Any]) -> None:
    assert json.loads(str(Params.read(json.dumps(value), "", True))) == value


@given(text=st.text(max_size=40))
def test_any_text_means_the_same_when_it_is_written(text: str) -> None:
    once = Params.read(text, "type")
    again = Params.read(str(once), "type")
    assert [(pair.key, pair.text) for pair in again.pairs] == [(pair.key, pair.text) for pair in once.pairs]


@given(text=st.text(max_size=40), key=KEYS, value=TEXTS)
def test_a_change_changes_nothing_else(text: str, key: str, value: str) -> None:
    before = Params.read(text, "type")
    after = Params.read(str(before.set(key, value)), "type")
    assert after.get(key) == value
    assert [(p.key, p.text) for p in after.pairs if p.key != key] == [(p.key, p.text) for p in before.pairs if p.key != key]
