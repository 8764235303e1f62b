"""What the process of a migration is told: words that its command understands as they are meant."""

from __future__ import annotations

from typing import Any

import pytest

from nbdtun.cli.migrate import command
from nbdtun.evacuation.terms import Terms
from nbdtun.service.evacuation.places import Places

SHARED = ("--tls-dir", "/etc/pki/qemu", "--map", "/srv=/data", "--map", "/a=/b", "--settle", "2s", "--overwrite")


@pytest.mark.parametrize(
    ("place", "whose", "expected"),
    [
        ("/run/web1.qmp", {"qmp": "/run/{vm}.qmp"}, {"qmp": "/run/web1.qmp", "libvirt": None}),
        ("7c6d", {"libvirt": "qemu:///session"}, {"qmp": None, "libvirt": "qemu:///session"}),
    ],
)
def test_its_words(place: str, whose: dict[str, Any], expected: dict[str, Any]) -> None:
    places = Places(Terms(**whose, to=("ssh://hv2", "ssh://hv3"), words=SHARED))
    told = command.make_context("migrate", places.words("web1", place, "ssh://hv3")).params
    assert expected.items() <= told.items()
    assert (told["vm"], told["connect"], told["tls_dir"], told["overwrite"]) == ("web1", "ssh://hv3", "/etc/pki/qemu", True)
