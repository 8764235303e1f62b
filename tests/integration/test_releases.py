"""One end of a later release, which tells more than the other one knows: real daemons, with QEMUs, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from lab.crossing import Crossing
from lab.disks import MIB
from lab.pair import Pair, Plan
from tests.integration.outcome import arrived, stayed

SMALL = Plan(32 * MIB)
Later = Callable[..., AbstractContextManager[None]]


@pytest.mark.parametrize("end", ["source", "destination"])
def test_a_vm_moves_from_one_release_to_another(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], later: Later, end: str
) -> None:
    """Its link is cut once on the way, so that channels are resumed as well."""
    pair = pairs(SMALL)
    if end == "destination":
        with later():
            crossing = crossings(pair, cable=True)
        attempt = crossing.migrate("--bandwidth", "16MiB")
    else:
        crossing = crossings(pair, cable=True)
        with later():
            attempt = crossing.migrate("--bandwidth", "16MiB")
    attempt.wait_copied(4 * MIB)
    crossing.cable.cut()
    shown = crossing.command("status", far=end == "destination")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "cannot be read" not in shown.stdout
    assert attempt.wait_exit(120) == 0, attempt.log()
    arrived(crossing)


def test_releases_that_have_no_version_in_common(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], later: Later) -> None:
    """Both ends say it in one line, and which of them is the older one; so does the local control socket."""
    with later(2):
        crossing = crossings(pairs(SMALL))
    attempt = crossing.migrate()
    assert attempt.wait_exit(30) == 1
    speaks = "the source speaks version 1 of the tunnel's protocol, the destination versions 2 to 3"
    line = f"{speaks}; the source needs a newer release of nbdtun"
    assert attempt.complaints() == [f"nbdtun: {line}"]
    assert f": {line} [version]" in crossing.daemon.log()
    shown = crossing.command("status", far=True)
    assert shown.returncode == 0
    assert "the command speaks version 1 of the control socket's protocol, process " in shown.stdout
    assert "the command needs a newer release of nbdtun" in shown.stdout
    stayed(crossing)
