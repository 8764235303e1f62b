"""Hosts with several VMs, which `fleets` makes: the words of the tests that empty them."""

from __future__ import annotations

from collections.abc import Callable

from lab.fleet import Fleet

QUICK = ("--retry-pause", "500ms")

Fleets = Callable[..., Fleet]
