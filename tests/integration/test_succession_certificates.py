"""Certificates that are renewed and revoked while a daemon has an old and a new program."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.daemon import BIN
from lab.ends import Ends, passes
from lab.process import wait
from lab.programs import Programs
from tests.tls.stage.certificates import revoke_client


@pytest.mark.slow
def test_certificates_that_change_between_two_programs(
    ends: Callable[..., Ends], programs: Callable[..., Programs], tls: Path, directory: Path
) -> None:
    """Both programs end the links of one that was revoked; a renewed one brings their channels back, through the new program."""
    own = Path(shutil.copytree(tls, directory / "tls"))
    these, those = ends("--tls-dir", f"{own}", "--resume-window", "120s"), programs("run")
    channels = [these.meet()]
    those.replace()
    channels.append(these.meet())
    renew(own)
    these.cut()
    assert all(passes(*each) for each in channels)
    revoke_client(own)
    wait(lambda: linked(those) == 0, 30, "the end of the revoked one's links in both programs")
    these.dest.wait_log("refused 127.0.0.1:")
    assert linked(those) == 0
    renew(own)
    assert all(passes(*each) for each in channels)
    assert linked(those) == 2
    assert "failed" not in these.source.log()
    those.end()


def renew(own: Path) -> None:
    """New certificates of the same authority."""
    subprocess.run([BIN / "nbdtun", "certs", own, "--host", "127.0.0.1", "--force"], check=True, stdout=subprocess.DEVNULL)


def linked(those: Programs) -> int:
    """How many channels of all programs have a link now."""
    reports = [json.loads(line) for line in those.command("status", "--json").stdout.splitlines()]
    return sum(each["links"] for each in reports if each["name"] == "nbdtun-dest")
