from __future__ import annotations

from pathlib import Path

import pytest

from nbdtun.errors import NotMigratable
from nbdtun.ownership.images import MadeFile
from nbdtun.spawn.far.record import Record, Recorded

MADE = Recorded("/run/vm.qmp", ("/a", "/a/b"), (MadeFile("/a/b/disk", 1, 2),), ("/a/b/log",), "1 2 3", "nbdtun-web1", "1 9 9")


def test_a_record_outlives_its_process(tmp_path: Path) -> None:
    path = tmp_path / "state/web1.made"
    Record(path).write(MADE)
    assert Record(path).read() == MADE


NONSENSE = [b"", b"[]", b"{}", b"\xff", b'{"qmp": 1}', b'{"qmp": "q", "images": [{"path": "p"}]}', b'{"qmp": "q", "left": [1]}']


@pytest.mark.parametrize("content", NONSENSE)
def test_nonsense_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "made").write_bytes(content)
    with pytest.raises(NotMigratable, match="made, the record of an earlier migration, cannot be read"):
        Record(tmp_path / "made").read()
