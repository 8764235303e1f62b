"""Which VM goes where."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.evacuation.placement import Room, Wanted, place
from nbdtun.evacuation.rules import Rules
from nbdtun.migration.capacity import Space

GIB = 1 << 30
HOSTS = ("hv2", "hv3", "hv4")


def vm(name: str, memory: int = 1, disks: int = 10, fits: tuple[str, ...] = HOSTS) -> Wanted:
    return Wanted(name, memory * GIB, disks * GIB, fits)


def stored(name: str, **needed: int) -> Wanted:
    """One that needs so many GiB of each destination's /srv, where 10 are free."""
    return evolve(vm(name), spaces={to: (Space("1", "/srv", gib * GIB, 10 * GIB),) for to, gib in needed.items()})


def test_the_load_is_shared() -> None:
    placed = place([vm(name) for name in "abcdef"], [Room("hv2"), Room("hv3")], Rules())
    assert sorted(placed.to.values()) == ["hv2"] * 3 + ["hv3"] * 3


def test_the_one_with_the_most_memory_left() -> None:
    placed = place([vm("a", 4), vm("b", 1)], [Room("hv2", 8 * GIB), Room("hv3", 6 * GIB)], Rules())
    assert placed.to == {"a": "hv2", "b": "hv3"}


def test_what_does_not_fit_has_a_reason_for_each_destination() -> None:
    rooms = [Room("hv2", 2 * GIB), Room("hv3", 8 * GIB)]
    placed = place([evolve(stored("a", hv3=12), memory=4 * GIB), evolve(stored("b", hv3=11), fits=("hv3",))], rooms, Rules())
    assert placed.to == {}
    assert placed.refused["a"] == (
        "hv2 has 2 GiB of memory free, and would need 4 GiB; hv3 has 10 GiB free at /srv, and the disks would need 12 GiB"
    )
    assert placed.refused["b"].startswith("it cannot go to hv2; hv3 has 10 GiB")


def test_disk_space_is_summed_over_the_vms_of_a_destination() -> None:
    vms = [stored(name, hv2=4, hv3=6) for name in "abcd"]
    placed = place(vms, [Room("hv2"), Room("hv3")], Rules())
    assert sorted(placed.to.values()) == ["hv2", "hv2", "hv3"]
    (reason,) = placed.refused.values()
    assert reason == (
        "hv2 has 10 GiB free at /srv, and the disks would need 12 GiB; hv3 has 10 GiB free at /srv, and the disks would need 12 GiB"
    )


def test_memory_is_summed_as_well() -> None:
    placed = place([vm(name, 4) for name in "abc"], [Room("hv2", 9 * GIB)], Rules())
    assert sorted(placed.to) == ["a", "b"]
    assert placed.refused == {"c": "hv2 has 9 GiB of memory free, and would need 12 GiB"}


def test_rules_of_the_operator() -> None:
    rules = Rules(together=(("a", "b"),), apart=(("a", "c"),), pins={"b": "hv3"})
    placed = place([vm(name) for name in "abc"], [Room("hv2"), Room("hv3")], rules)
    assert placed.to == {"a": "hv3", "b": "hv3", "c": "hv2"}
    alone = place([vm(name) for name in "abc"], [Room("hv3")], rules)
    assert alone.to == {"a": "hv3", "b": "hv3"}
    assert alone.refused == {"c": "c must not be with a at hv3"}


NAMES = st.sampled_from("abcdefgh")
GROUPS = st.lists(st.lists(NAMES, min_size=2, max_size=3, unique=True).map(tuple), max_size=2).map(tuple)


@given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(0, 20), st.sets(st.sampled_from(HOSTS), min_size=1)), min_size=1, max_size=8),
    st.lists(st.one_of(st.just(-1), st.integers(0, 20)), min_size=3, max_size=3),
    GROUPS,
    GROUPS,
    st.dictionaries(NAMES, st.sampled_from(HOSTS), max_size=2),
)
def test_no_rule_is_ever_broken(
    sizes: list[tuple[int, int, set[str]]],
    free: list[int],
    together: tuple[tuple[str, ...], ...],
    apart: tuple[tuple[str, ...], ...],
    pins: dict[str, str],
) -> None:
    vms = [vm(name, memory, disks, tuple(sorted(fits))) for name, (memory, disks, fits) in zip("abcdefgh", sizes, strict=False)]
    rooms = [Room(to, room * GIB if room >= 0 else -1) for to, room in zip(HOSTS, free, strict=True)]
    placed = place(vms, rooms, Rules(together, apart, pins))
    assert placed.to.keys() | placed.refused.keys() == {each.vm for each in vms}
    assert not placed.to.keys() & placed.refused.keys()
    for each in vms:
        to = placed.to.get(each.vm)
        assert to is None or (to in each.fits and pins.get(each.vm, to) == to)
    for room in rooms:
        taken = sum(each.memory for each in vms if placed.to.get(each.vm) == room.to)
        assert room.memory < 0 or taken <= room.memory
    for group in together:
        assert len({placed.to.get(name) for name in group if name in placed.to or name in placed.refused}) <= 1
    for group in apart:
        hosts = [placed.to[name] for name in group if name in placed.to]
        assert len(hosts) == len(set(hosts))
    assert all(placed.refused.values())
