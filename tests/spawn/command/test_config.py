"""The files of -readconfig."""

from __future__ import annotations

import pytest

from nbdtun.errors import ConfigError
from nbdtun.spawn.command.config import words

TEXT = """
# a machine
[machine]
  type = "q35"
[memory]
  size = "64M"
[drive "a,b"]
  file = "/srv/a,b.img"
  if = "none"
[device]
  driver = "virtio-blk-pci"
"""


def test_groups_are_options() -> None:
    assert list(words(TEXT, "vm.cfg")) == [
        ("machine", "type=q35"),
        ("m", "size=64M"),
        ("drive", "id=a,,b,file=/srv/a,,b.img,if=none"),
        ("device", "driver=virtio-blk-pci"),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[x]\n", r"the group \[x\] is not known"),
        ("a = 1", "line 1 is not known"),
        ("[machine]\n\nnonsense", "line 3 is not known to nbdtun: nonsense"),
    ],
)
def test_others_are_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"-readconfig vm.cfg: {why}"):
        list(words(text, "vm.cfg"))
