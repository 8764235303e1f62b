# Copyright (c) 2026 The nbdtun authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""The parameters of an evacuation, and how they become words of nbdtun's command line."""

from __future__ import annotations

from ansible_collections.nbdtun.migration.plugins.module_utils import options
from ansible_collections.nbdtun.migration.plugins.module_utils.options import word

OWN = dict(
    to=dict(type="list", elements="str", required=True),
    only=dict(type="list", elements="str", default=[]),
    without=dict(type="list", elements="str", default=[]),
    restore=dict(type="dict"),
    report=dict(type="path"),
    copying=dict(type="int"),
    retries=dict(type="int"),
    retry_pause=dict(type="str"),
    keep_together=dict(type="list", elements="list", default=[]),
    keep_apart=dict(type="list", elements="list", default=[]),
    pin=dict(type="dict", default={}),
    order=dict(type="list", elements="str", default=[]),
    priority=dict(type="dict", default={}),
    window=dict(type="str"),
    at_end=dict(type="str", choices=["pause", "roll-back"]),
    hook=dict(type="path"),
    hook_time=dict(type="str"),
    journal=dict(type="path"),
)

_PLAIN = ("copying", "retries", "retry_pause", "window", "at_end", "hook", "hook_time")


def words(params):
    """The words of C(nbdtun evacuate) that say what is moved, where and when."""
    found = options.whose(params) + [word(name, each) for name in ("to", "only", "without") for each in params[name]]
    found += [word(name, params[name]) for name in _PLAIN if params[name] is not None]
    found += [word(name, ",".join(str(vm) for vm in group)) for name in ("keep_together", "keep_apart") for group in params[name]]
    found += [word(name, f"{vm}={told}") for name in ("pin", "priority") for vm, told in sorted(params[name].items())]
    if params["order"]:
        found.append(word("order", ",".join(params["order"])))
    return found + options.way(params) + options.pace(params) + options.end(params)
