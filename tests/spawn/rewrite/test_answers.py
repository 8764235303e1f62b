"""What differs between two hosts, as an operator says it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import ConfigError
from nbdtun.spawn.rewrite.answers import Answers, Mapped, Place, places, read_answers


@pytest.mark.parametrize(
    ("path", "far"),
    [
        ("/srv/vm/a", "/data/a"),
        ("/srv/vm", "/data"),
        ("/srv/vms", "/srv/vms"),
        ("/srv/vm/web/a", "/fast/a"),
        ("/a", "/a"),
    ],
)
def test_the_longest_prefix_counts(path: str, far: str) -> None:
    maps = (Mapped.parse("/srv/vm/=/data"), Mapped.parse("/srv/vm/web=/fast"))
    assert Answers(maps).far(path) == far


def test_everything_can_be_mapped() -> None:
    assert Answers((Mapped.parse("/=/mnt"),)).far("/srv/a") == "/mnt/srv/a"


@pytest.mark.parametrize("text", ["/a", "a=/b", "/a=b", ""])
def test_maps_have_whole_paths(text: str) -> None:
    with pytest.raises(ConfigError, match="does not have the form PATH=PATH"):
        Mapped.parse(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("vda=/a", Place("vda", "/a")),
        ("vda=/a,b,format=qcow2", Place("vda", "/a,b", "qcow2")),
        ("vda=/a/../b", Place("vda", "/b")),
    ],
)
def test_places(text: str, place: Place) -> None:
    assert Place.parse(text) == place


@pytest.mark.parametrize(
    ("text", "why"), [("vda", "form"), ("=/a", "form"), ("vda=a", "form"), ("vda=/a,format=vmdk", "use one of the formats")]
)
def test_places_that_are_none(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Place.parse(text)


def test_a_disk_has_one_place() -> None:
    with pytest.raises(ConfigError, match="vda has two places"):
        places([Place("vda", "/a"), Place("vda", "/b")])


def test_a_file_of_answers() -> None:
    text = "# ours\nmap /srv=/data\ndisk 'vda=/a b'  # quoted\n\nset netdev.net0.ifname=tap7\nset a.b=c\n"
    assert read_answers(text, "f") == {"map": ["/srv=/data"], "disk": ["vda=/a b"], "set": ["netdev.net0.ifname=tap7", "a.b=c"]}


@pytest.mark.parametrize("line", ["map", "x y", "map a b", "'"])
def test_a_line_that_is_no_answer(line: str) -> None:
    with pytest.raises(ConfigError, match="f, line 2: "):
        read_answers(f"\n{line}", "f")


@given(path=st.from_regex(r"(/[a-z.]{1,3}){1,4}", fullmatch=True), here=st.from_regex(r"(/[a-z]){1,3}", fullmatch=True))
def test_a_mapped_path_is_below_its_place(path: str, here: str) -> None:
    far = Answers((Mapped.parse(f"{here}=/there"),)).far(path)
    assert far == path or far.startswith("/")
    assert (far == path) == (not f"{path}/".startswith(f"{here}/"))
