"""Puts a trouble to `nbdtun check` and to `nbdtun migrate`: they say the same, and nothing is begun."""

from __future__ import annotations

import json
import re
import subprocess

from lab.crossing import Crossing
from lab.daemon import BIN
from lab.pair import Pair


def both(crossing: Crossing, *more: str, arguments: list[str] | None = None) -> list[str]:
    """The failures, in the words of both, which are the same; so are their statuses, and nothing is begun."""
    words = arguments or crossing.arguments(*more)
    checked = subprocess.run([BIN / "nbdtun", "check", *words, "--json", "--no-measure"], capture_output=True, text=True, timeout=120)
    assert checked.stdout, checked.stderr
    found = [one for one in json.loads(checked.stdout)["findings"] if one["level"] == "failure"]
    lines = [one["what"] + (f"; {one['remedy']}" if one["remedy"] else "") for one in found]
    assert lines, checked.stdout
    before = _seen(crossing.pair)
    migrated = subprocess.run([BIN / "nbdtun", "migrate", *words, "--progress", "json"], capture_output=True, text=True, timeout=120)
    last = migrated.stderr.splitlines()[-1]
    assert _without_ports(last) == _without_ports(f"nbdtun: {'; '.join(lines)} [{found[0]['code']}]")
    assert migrated.returncode == checked.returncode
    assert json.loads(migrated.stdout.splitlines()[-1])["phase"] == "failed"
    assert _seen(crossing.pair) == before
    return lines


def _without_ports(line: str) -> str:
    """The destination tells from which port it was connected to, which is another one each time."""
    return re.sub(r"(?<=[^:/]127\.0\.0\.1:)\d+", "PORT", line)


def _seen(pair: Pair) -> list[object]:
    """What a migration would change first, at those ends that live."""
    return [(vm.status(), vm.leftovers()) for vm in (pair.source, pair.destination) if vm.running()]
