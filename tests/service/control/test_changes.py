"""What was set by hand: what of it still holds, and what a new program must change to go on with it."""

from __future__ import annotations

import json

from nbdtun.service.control.changes import Changes, Kept, Memory
from nbdtun.service.control.commands import NO_LIMIT, ChangedVMs
from nbdtun.typed import as_json, of_json


def vms(add: tuple[str, ...], remove: tuple[str, ...] = ()) -> Changes:
    return Changes(vms=ChangedVMs(add, remove))


def test_the_last_word_counts() -> None:
    memory = Memory(1000)
    assert memory.kept == Kept(1000)
    memory.set(Changes({"bandwidth": 5000}))
    memory.set(vms(("web1=/a", "db*=/{vm}"), ("old",)))
    memory.set(vms(("old=/o", "web2=/b"), ("web1", "db*")))
    memory.set(Changes({"bandwidth": NO_LIMIT}))
    memory.set(Changes(file=True))
    kept = memory.kept
    assert kept == Kept(1000, {"bandwidth": NO_LIMIT}, {"old": "old=/o", "web2": "web2=/b", "web1": "", "db*": ""})
    assert of_json(Kept, json.loads(json.dumps(as_json(kept)))) == kept
    assert Memory(1000).changes_of(kept) == Changes({"bandwidth": NO_LIMIT}, ChangedVMs(("old=/o", "web2=/b"), ("web1", "db*")))


def test_other_options_take_the_place_of_a_limit_that_was_set() -> None:
    memory = Memory(1000)
    memory.set(Changes({"bandwidth": 5000}))
    assert Memory(2000).changes_of(memory.kept) == Changes()
    memory.configure(3000)
    assert memory.kept == Kept(3000)
