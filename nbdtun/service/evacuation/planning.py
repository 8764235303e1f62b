"""The plan of an evacuation: the VMs of this host, the destinations that can take them, and where each goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredSemaphore

from nbdtun.deferreds import gather
from nbdtun.errors import ConfigError, NotMigratable
from nbdtun.evacuation.placement import Placed, Room, Wanted, place
from nbdtun.evacuation.plan import Plan, in_order
from nbdtun.evacuation.rules import Rules
from nbdtun.evacuation.terms import Terms
from nbdtun.evacuation.values import Move
from nbdtun.process import Reactor
from nbdtun.service.evacuation.fitness import Examiner, Fitness
from nbdtun.service.evacuation.places import Places
from nbdtun.service.evacuation.survey import AT_ONCE, Seen, survey
from nbdtun.service.evacuation.whereabouts import Whereabouts


async def plan(
    reactor: Reactor, terms: Terms, listed: Sequence[str] | None = None, *, measure: bool = False, hopeful: bool = False
) -> Plan:
    """
    Plan it; nothing is changed. ``listed`` are the VMs that an edited plan has, None without one. ``measure`` adds forecasts, and takes
    some seconds for each destination. ``hopeful``: a VM that no destination takes, or that has a rule about its place, may go to one whose
    reason against it may pass.

    :raise NbdtunError: the VMs of this host cannot be found out, or a rule names none of them.
    """
    places = Places(terms)
    seen = [each for each in await survey(reactor, terms) if each.has_guest]
    if listed is not None:
        seen = _only(seen, listed)
    _check_rules(terms.rules, seen, listed)
    examiner = Examiner(reactor, terms, places, measure=measure)
    turns = DeferredSemaphore(AT_ONCE)

    def examine(each: Seen) -> Deferred[Fitness]:
        return turns.run(lambda: Deferred.fromCoroutine(examiner.examine(each)))

    able = [each for each in seen if each.wrong is None]
    found = dict(zip((each.vm for each in able), await gather([examine(each) for each in able]), strict=True))
    if hopeful:
        ruled = terms.rules.named()
        found = {vm: fitness.hopeful if vm in ruled or not fitness.fits else fitness for vm, fitness in found.items()}
    far = Whereabouts(reactor, places)
    rooms = await gather(Deferred.fromCoroutine(_room(far, able, found, to)) for to in terms.to)
    placed = _placed(able, found, rooms, terms.rules)
    return Plan(terms, in_order([_move(each, found.get(each.vm, Fitness()), placed, terms, examiner) for each in seen], terms.rules))


def _only(seen: Sequence[Seen], listed: Sequence[str]) -> list[Seen]:
    """Those that an edited plan lists; one that is not here any more cannot be moved."""
    here = {each.vm: each for each in seen}
    return [here.get(vm) or Seen(vm, "", wrong=NotMigratable(f"there is no VM {vm} on this host, or it does not run")) for vm in listed]


def _check_rules(rules: Rules, seen: Sequence[Seen], listed: Sequence[str] | None) -> None:
    unknown = sorted(rules.named() - {each.vm for each in seen} - set(listed or ()))
    if unknown:
        raise ConfigError(f"a rule is about {', '.join(unknown)}, and there is no such VM here")


async def _room(far: Whereabouts, able: Sequence[Seen], found: Mapping[str, Fitness], to: str) -> Room:
    """What a destination has left, by what it tells itself."""
    vm = next((each for each in able if to in found[each.vm].fits), None)
    return Room(to) if vm is None else Room(to, memory=await far.memory(vm.vm, vm.place, to))


def _placed(able: Sequence[Seen], found: Mapping[str, Fitness], rooms: Sequence[Room], rules: Rules) -> Placed:
    fit = {each: found[each.vm] for each in able if found[each.vm].fits}
    return place([Wanted(each.vm, each.memory, each.disks, fitness.fits, fitness.spaces) for each, fitness in fit.items()], rooms, rules)


def _move(seen: Seen, fitness: Fitness, placed: Placed, terms: Terms, examiner: Examiner) -> Move:
    move = Move(seen.vm, seen.place, memory=seen.memory, disks=seen.disks)
    if seen.wrong is not None:
        return evolve(move, refused=str(seen.wrong), code=seen.wrong.code)
    if not fitness.fits:
        return evolve(move, code=next(iter(fitness.refused.values()))[0], refused=_each(fitness.refused))
    if seen.vm in placed.refused:
        return evolve(move, code="placement", refused=placed.refused[seen.vm])
    to = placed.to[seen.vm]
    expected = examiner.foresee(seen, to)
    if expected is not None and expected.total is not None and expected.downtime is not None:
        move = evolve(move, seconds=round(expected.total), downtime=round(expected.downtime * 1000))
    return evolve(move, to=to, fits=_fits(seen.vm, to, fitness, terms.rules), warnings=fitness.warnings.get(to, ()))


def _fits(vm: str, to: str, fitness: Fitness, rules: Rules) -> tuple[str, ...]:
    """The destinations that it may go to after a failure: a VM with a rule about its place has one alone."""
    bound = vm in rules.pins or any(vm in group for group in (*rules.together, *rules.apart))
    return (to,) if bound else (to, *(other for other in fitness.fits if other != to))


def _each(refused: Mapping[str, tuple[str, str]]) -> str:
    """The reasons of all destinations; one that all have is told once."""
    reasons = {reason for _, reason in refused.values()}
    return reasons.pop() if len(reasons) == 1 else "; ".join(f"{to}: {reason}" for to, (_, reason) in refused.items())
