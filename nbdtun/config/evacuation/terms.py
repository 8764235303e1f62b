"""The terms of an evacuation, from the values of options: over those of an edited plan, if there is one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve

from nbdtun.config.evacuation.words import words_of
from nbdtun.errors import ConfigError
from nbdtun.evacuation import plan
from nbdtun.evacuation.plan import Edited
from nbdtun.evacuation.rules import Rules
from nbdtun.evacuation.terms import AtEnd, Terms
from nbdtun.ownership.given import check_directory, read_text
from nbdtun.units import parse_rate

#: Options with paths, which a later process may read from another directory.
_PATHS: Final = ("tls_dir", "run_dir", "answers")


def edited_plan(path: str) -> Edited:
    """
    Read an edited plan.

    :raise ConfigError: it cannot be read, or is none.
    """
    return plan.read(read_text(path), path)


def make_terms(options: Mapping[str, Any], edited: Edited | None) -> Terms:
    """
    Make the terms.

    :raise ConfigError: the values do not fit.
    """
    restored = _restored(options["restore"]) if options["restore"] else ()
    rules = _rules(options, restored)
    told = {key: value for key, value in _told(options, restored).items() if value not in (None, (), "")}
    if edited is None:
        terms = Terms(**{"to": (), **told, "rules": rules})
    elif rules != Rules():
        raise ConfigError("--plan has the rules in it; leave --pin, --order and their like out")
    else:
        terms = evolve(edited.terms, **told)
    terms.check_whole()
    return terms


def make_view(options: Mapping[str, Any], *, named: bool) -> Terms:
    """
    Make the terms for a look at VMs, which moves none; ``named``: those of certain names, whose monitor may be at any path.

    :raise ConfigError: the values do not fit.
    """
    whole = {key: os.path.abspath(options[key]) for key in _PATHS if options[key]}
    words = words_of({**options, **whole})
    terms = Terms(qmp=options["qmp"] or "", libvirt=options["libvirt"] or "", to=options["to"], words=words)
    if not named:
        terms.check_many()
    return terms


def _rules(options: Mapping[str, Any], restored: tuple[str, ...]) -> Rules:
    pins, priority = dict(options["pin"]), dict(options["priority"])
    return Rules(options["keep_together"], options["keep_apart"], pins, options["order"] or restored, priority)


def _told(options: Mapping[str, Any], restored: tuple[str, ...]) -> dict[str, Any]:
    """What the options say; empty for one that says nothing."""
    whole = {key: os.path.abspath(options[key]) for key in _PATHS if options[key]}
    told = {name: options[name] for name in ("qmp", "libvirt", "to", "without", "copying", "retries", "window")}
    return told | {
        "only": options["only"] or restored,
        "restores": bool(restored and not options["only"]),
        "words": words_of({**options, **whole}),
        "bandwidth": options["bandwidth"] and parse_rate(options["bandwidth"]),
        "pause": _milliseconds(options["retry_pause"]),
        "at_end": options["at_end"] and AtEnd(options["at_end"]),
        "hooks": options["hook"] and _folder(options["hook"]),
        "hook_ms": _milliseconds(options["hook_time"]),
    }


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _folder(path: str) -> str:
    """The directory of the hooks, as an absolute path. A missing one would run no hook, in silence."""
    check_directory(path, "--hook")
    return os.path.abspath(path)


def _restored(path: str) -> tuple[str, ...]:
    """The VMs that a report says have been moved, in its order."""
    try:
        vms = tuple(row["vm"] for row in json.loads(read_text(path))["vms"] if row["state"] == "moved")
    except (ValueError, LookupError, TypeError):
        raise ConfigError(f"{path} is no report of `nbdtun evacuate --report`") from None
    if not vms:
        raise ConfigError(f"{path}: no VM has been moved")
    return vms
