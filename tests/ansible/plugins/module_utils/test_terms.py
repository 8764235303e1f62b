"""The parameters of an evacuation as words."""

from __future__ import annotations

from typing import Any

from ansible_collections.nbdtun.migration.plugins.module_utils import options, terms

NONE: dict[str, Any] = {name: told.get("default") for name, told in {**options.HOST, **options.WAY, **options.MOVE, **terms.OWN}.items()}


def test_none_and_all() -> None:
    assert terms.words({**NONE, "to": ["hv2"]}) == ["--qmp=/run/qemu/{vm}.qmp", "--to=hv2"]
    told = {
        **NONE,
        "libvirt": "qemu:///system",
        "to": ["hv2", "hv3"],
        "only": ["web*"],
        "without": ["web9"],
        "retries": 0,
        "at_end": "roll-back",
        "keep_together": [["a", "b"]],
        "pin": {"a": "hv2"},
        "priority": {"b": 3},
        "order": ["b", "a"],
        "bandwidth": "1Gbit/s",
        "options": {"connections": 2},
    }
    assert terms.words(told) == [
        *("--libvirt=qemu:///system", "--to=hv2", "--to=hv3", "--only=web*", "--without=web9", "--retries=0", "--at-end=roll-back"),
        *("--keep-together=a,b", "--pin=a=hv2", "--priority=b=3", "--order=b,a", "--connections=2", "--bandwidth=1Gbit/s"),
    ]
