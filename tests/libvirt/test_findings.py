from __future__ import annotations

from nbdtun.libvirt import findings
from nbdtun.migration.catalogue import Kind, kinds


def test_they_are_in_the_catalogue() -> None:
    """``docs/findings`` prints it."""
    ours = {one for one in vars(findings).values() if isinstance(one, Kind)}
    assert ours
    assert ours <= set(kinds())
    assert len({kind.found for kind in ours}) == len(ours)
