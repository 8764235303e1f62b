"""The whole: from a QEMU at the source, and the operator's answers, to a plan for the destination."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from attrs import evolve

from nbdtun.errors import ConfigError
from nbdtun.migration.catalogue import UNPLANNED
from nbdtun.migration.finding import Finding
from nbdtun.spawn.command.hidden import Hiding
from nbdtun.spawn.command.line import Option, changed
from nbdtun.spawn.rewrite import characters, disks, machine, networks, objects, others, remote
from nbdtun.spawn.rewrite.answers import Answers
from nbdtun.spawn.rewrite.draft import Draft
from nbdtun.spawn.rewrite.others import KEPT, LEFT_OUT, REFUSED, Rule
from nbdtun.spawn.rewrite.source import Source
from nbdtun.spawn.values import Plan, Role

RULES: Final[Mapping[str, Rule]] = {
    **others.RULES,
    **dict.fromkeys(("drive", *remote.SHORTHANDS), disks.drive),
    **dict.fromkeys(characters.WORDS, characters.word),
    **dict.fromkeys(("netdev", "nic", "net"), networks.network),
    "chardev": characters.chardev,
    "device": objects.device,
    "machine": machine.machine,
    "object": objects.object_,
}
#: Options that show the guest's screen somewhere.
_SCREENS: Final = frozenset({"display", "vnc", "spice", "nographic"})
#: With these, QEMU begins as root, and becomes another user by itself.
_BECOMES: Final = frozenset({"runas", "run-with"})


def plan(source: Source, answers: Answers) -> Plan:
    """
    Plan a destination. What cannot be had is a finding.

    :raise ConfigError: an answer names an option that the command line does not have.
    """
    emulator, options = _answered(source, answers)
    draft = Draft(evolve(source, options=options), answers)
    words = _rewritten(draft)
    qmp = _monitor(draft, words)
    _refuse_plugged(draft)
    _refuse_unused(draft)
    becomes = any(option.name == "runas" or (option.name == "run-with" and "user" in option.params) for option in options)
    described = machine.describe(draft)
    return Plan(
        vm=source.vm,
        emulator=emulator,
        arguments=(*words, "-S", "-incoming", "defer"),
        qmp=qmp,
        machine=described,
        user="root" if becomes else source.user,
        images=tuple(draft.images),
        paths=tuple(dict.fromkeys(draft.paths)),
        interfaces=tuple(draft.interfaces),
        ports=tuple(draft.ports),
        overwrite=answers.overwrite,
        unit=answers.unit,
        findings=tuple(_shown(draft.findings, options)),
    )


def _shown(findings: Iterable[Finding], options: tuple[Option, ...]) -> Iterable[Finding]:
    """The findings without the secrets of the command line: they are printed, and logged."""
    hide = Hiding(options)
    return (evolve(finding, what=hide(finding.what), remedy=hide(finding.remedy)) for finding in findings)


def _answered(source: Source, answers: Answers) -> tuple[str, tuple[Option, ...]]:
    """The emulator and the options with the operator's settings."""
    emulator, options = answers.far(source.emulator), source.options
    for setting in answers.settings:
        target, _, value = setting.partition("=")
        if target == "emulator":
            emulator = value
        else:
            options = changed(options, setting, "--set")
    return emulator, options


def _rewritten(draft: Draft) -> list[str]:
    """The words of all options but those for an incoming migration."""
    names = [option.name for option in draft.source.options]
    blockdevs = disks.Blockdevs(draft).rewrite()
    words: list[str] = []
    for option in draft.source.options:
        draft.option = option
        done = blockdevs[option.id] if option.name == "blockdev" else _one(draft, option)
        words += () if done is None else done.words
    if "machine" not in names:
        words = ["-machine", draft.source.machine, *words]
    if not _SCREENS & set(names):
        words += ["-display", "none"]
    return words


def _one(draft: Draft, option: Option) -> Option | None:
    name = option.name
    if name in KEPT:
        return option
    if name in LEFT_OUT:
        return None
    if name in RULES:
        try:
            return RULES[name](draft, option)
        except ConfigError as error:
            draft.findings.append(UNPLANNED(f"{option.where}: {error.what}", error.remedy or None))
            return option
    draft.refuse(REFUSED.get(name, "it is not known to nbdtun"))
    return option


def _monitor(draft: Draft, words: list[str]) -> str:
    """The destination's monitor: that which the source was reached by, or one that is added."""
    far = draft.answers.far(draft.source.qmp)
    draft.option = Option("qmp", draft.source.qmp)
    if not any(path.path == far and path.role is Role.SOCKET for path in draft.paths):
        words += ["-qmp", f"unix:{draft.place(draft.source.qmp, Role.SOCKET).replace(',', ',,')},server=on,wait=off"]
    return far


def _refuse_plugged(draft: Draft) -> None:
    """Refuse what has come or gone since QEMU's start."""
    begun = {option.id for option in draft.source.options if option.name in ("device", "tpmdev") and option.id}
    for name in sorted(draft.source.plugged - begun):
        draft.option = Option("device", f"id={name}")
        draft.refuse("it was plugged in since QEMU's start", "unplug it, or start the destination by hand")
    gone = sorted(each.id for each in draft.source.options if each.name == "device" and each.id and each.id not in draft.source.plugged)
    for name in gone:
        draft.option = Option("device", f"id={name}")
        draft.refuse("it was unplugged since QEMU's start", "start the destination by hand")


def _refuse_unused(draft: Draft) -> None:
    """Refuse answers for disks that are not there."""
    _none_left(draft.answers.disks, {name for node in draft.source.nodes for name in (node.name, node.device, *_ident(node.qdev))})


def _ident(qdev: str) -> Iterable[str]:
    return [qdev, *([qdev.split("/")[3]] if qdev.startswith("/machine/peripheral/") else [])]


def _none_left(given: Iterable[str], known: set[str]) -> None:
    for name in given:
        if name not in known:
            raise ConfigError(f"--disk {name}: QEMU has no disk of that name")
