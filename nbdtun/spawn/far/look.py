"""All that is found of a plan at the far end. Nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from attrs import evolve

from nbdtun.errors import NotMigratable
from nbdtun.login import goes_with_the_session, units_end_with_the_session
from nbdtun.migration.capacity import Space, space_at, summed
from nbdtun.migration.catalogue import LACKING, OCCUPIED, SPACE, UNLIKE
from nbdtun.migration.finding import Finding
from nbdtun.spawn.far import files, images
from nbdtun.spawn.far.emulator import ability, find_emulator
from nbdtun.spawn.far.host import AS_ROOT, has_interface, is_taken, missing, own_name, standing, user_id
from nbdtun.spawn.values import MADE, Found, Image, Network, Plan
from nbdtun.units import size_text

_MAKING = {Network.TAP: "ip tuntap add {} mode tap", Network.BRIDGE: "ip link add {} type bridge"}


def look(plan: Plan) -> Found:
    """Look at a plan; this takes some seconds, and longer where large media are compared."""
    found = Found(missing=tuple(missing_of(plan)), spaces=spaces(plan.images))
    findings: list[Finding] = []
    try:
        emulator = find_emulator(plan.emulator)
        can = ability(emulator, plan.machine)
        found = evolve(found, emulator=emulator, release=can.release)
        findings += can.lacks(plan.machine)
    except NotMigratable as error:
        findings.append(LACKING.of(error))
    findings += _collected(plan)
    return evolve(found, findings=tuple(findings))


def _collected(plan: Plan) -> Iterator[Finding]:
    yield from _users(plan)
    yield from _beyond_logout(plan)
    for image in plan.images:
        try:
            yield from images.judge(image, plan.overwrite)
        except (NotMigratable, OSError) as error:
            yield LACKING(f"disk {image.node}: {error}")
    yield from _twice(plan.images)
    yield from _lacking(spaces(plan.images))
    for path in plan.paths:
        yield from files.judge(path, plan.overwrite)
    for directory in sorted({standing(each) for each in made_paths(plan)}):
        if not os.access(directory, os.W_OK | os.X_OK):
            yield LACKING(f"{directory}: {own_name()} may not make files there", f"use --map, or {AS_ROOT}")
    for interface in plan.interfaces:
        if not has_interface(interface.name, interface.kind):
            remedy = f"make it: {_MAKING[interface.kind].format(interface.name)}; or use --set {interface.setting}=NAME"
            yield LACKING(f"{interface.where}: there is no {interface.kind.value} {interface.name}", remedy)
    for port in plan.ports:
        if is_taken(port.port, udp=port.udp):
            yield OCCUPIED(f"{port.where}: port {port.port} is taken", "use --set to name another")


def made_paths(plan: Plan) -> list[str]:
    """The paths that are made, by us or by QEMU."""
    made = [path.path for path in plan.paths if path.role in MADE]
    return [*(image.path for image in plan.images if not image.device), *made]


def missing_of(plan: Plan) -> list[str]:
    """The directories that are to be made, each behind its parent."""
    return list(dict.fromkeys(directory for path in made_paths(plan) for directory in missing(path)))


def _users(plan: Plan) -> Iterator[Finding]:
    own = own_name()
    if os.geteuid() != 0 and plan.user != own:
        becomes = any(word in ("-runas", "--runas", "-run-with") for word in plan.arguments) and plan.user == "root"
        if becomes:
            yield LACKING(f"QEMU is to become another user, which {own} may not let it do", AS_ROOT)
        else:
            yield UNLIKE(f"QEMU will run as {own}, and runs as {plan.user} at the source", f"let ssh log in as that user, or {AS_ROOT}")
    elif os.geteuid() == 0 and user_id(plan.user) is None:
        yield LACKING(f"there is no user {plan.user}, who runs QEMU at the source", "make that user there")
    for owner in sorted({image.owner for image in plan.images if image.owner and os.geteuid() == 0}):
        if user_id(owner) is None:
            yield UNLIKE(f"there is no user {owner}, who owns images at the source; they will be root's")


def _beyond_logout(plan: Plan) -> Iterator[Finding]:
    if plan.unit and units_end_with_the_session():
        yield LACKING(f"a unit of {own_name()}'s ends when ssh does", "`loginctl enable-linger` there lets it go on; or leave --unit out")
    for path in made_paths(plan):
        if goes_with_the_session(path):
            yield LACKING(f"{path} is removed when ssh ends", "`loginctl enable-linger` there lets it stay; or name another with --map")


def _twice(every: Iterable[Image]) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for image in every:
        if image.path in seen:
            yield OCCUPIED(f"disk {image.node}: {image.path} is disk {seen[image.path]}'s already")
        seen[image.path] = image.node


def spaces(every: Iterable[Image]) -> tuple[Space, ...]:
    """The disk space that these images need."""
    return summed(space_at(standing(image.path), image.needed) for image in every if not image.device)


def _lacking(needed: Iterable[Space]) -> Iterator[Finding]:
    for space in needed:
        if space.lacks:
            yield SPACE(f"{space.place}: the disks need {size_text(space.needed)}, and {size_text(space.free)} are free")
