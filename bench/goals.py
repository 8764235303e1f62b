"""The goals: ratios of medians, what must be reached and what is aimed at."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.measures.cores import OURS, PLAIN, RIVALS
from bench.measures.cores import SETTING as CORES
from bench.measures.distance import FAR_AWAY, NOT_NEAR
from bench.measures.guest import CASES as GUESTS
from bench.measures.metrics import CASES
from bench.measures.migration import MIGRATE
from bench.measures.moment import setting as disks_of
from bench.measures.rationed import SETTING as RATION
from bench.measures.scaling import setting
from bench.measures.trips import LENGTH
from bench.peers import DIRECT, HAPROXY, NBDTUN_PLAIN, NBDTUN_TLS, SOCAT_LARGE, SSH, STUNNEL
from bench.samples import Samples

Verdict = Literal["aim reached", "reached", "MISSED", "not measured"]


@dataclass(frozen=True)
class Outcome:
    """A goal, and what came out."""

    goal: str
    value: float | None
    must: float
    aim: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Goal:
    """A figure, and its bounds."""

    name: str
    value: Callable[[Samples], float | None]
    must: float
    aim: float | None = None
    more_is_better: bool = True

    def outcome(self, samples: Samples) -> Outcome:
        value = self.value(samples)
        return Outcome(self.name, value, self.must, self.aim, self._verdict(value))

    def _verdict(self, value: float | None) -> Verdict:
        if value is None:
            return "not measured"
        if self.aim is not None and self._reaches(value, self.aim):
            return "aim reached"
        return "reached" if self._reaches(value, self.must) else "MISSED"

    def _reaches(self, value: float, bound: float) -> bool:
        return value >= bound if self.more_is_better else value <= bound


def ratio(measure: str, figure: str, subject: str, *others: str, setting: str = "") -> Callable[[Samples], float | None]:
    """A subject's median divided by that of another, or by the greatest of several."""

    def value(samples: Samples) -> float | None:
        own = samples.median(measure, subject, figure, setting)
        found = [samples.median(measure, other, figure, setting) for other in others]
        known = [median for median in found if median]
        return own / max(known) if own is not None and known else None

    return value


def difference(measure: str, figure: str, subject: str, other: str, setting: str) -> Callable[[Samples], float | None]:
    """The median, over the rounds, of a subject's figure less that of another in the same round."""

    def value(samples: Samples) -> float | None:
        mine, theirs = (samples.by_round(measure, name, figure, setting) for name in (subject, other))
        both = [mine[number] - theirs[number] for number in mine.keys() & theirs.keys()]
        return statistics.median(both) if both else None

    return value


def quotient(measure: str, figure: str, subject: str, other: str) -> Callable[[Samples], float | None]:
    """The median, over the rounds, of a subject's figure divided by that of another in the same round."""

    def value(samples: Samples) -> float | None:
        mine, theirs = (samples.by_round(measure, name, figure) for name in (subject, other))
        both = [mine[number] / theirs[number] for number in mine.keys() & theirs.keys() if theirs[number]]
        return statistics.median(both) if both else None

    return value


def median(measure: str, figure: str, subject: str, setting: str) -> Callable[[Samples], float | None]:
    """A figure as it is."""
    return lambda samples: samples.median(measure, subject, figure, setting)


def _compared() -> list[Goal]:
    plain, tls, socat = NBDTUN_PLAIN.name, NBDTUN_TLS.name, SOCAT_LARGE.name
    encrypted = [peer.name for peer in (SSH, STUNNEL, HAPROXY)]
    goals = []
    for way, text in (("write", "writing"), ("read", "reading")):
        rate, cost = f"{way}_mb_s", f"{way}_cpu_s_gb"
        goals += [
            Goal(f"plain, MB/s {text}, against {socat}", ratio("compare", rate, plain, socat), 1.0, 1.2),
            Goal(f"plain, CPU s/GB {text}, against {socat}", ratio("compare", cost, plain, socat), 1.2, 1.0, False),
            Goal(f"TLS, MB/s {text}, against the best of {', '.join(encrypted)}", ratio("compare", rate, tls, *encrypted), 1.0, 1.5),
            Goal(f"TLS, CPU s/GB {text}, against stunnel", ratio("compare", cost, tls, STUNNEL.name), 0.8, 0.6, False),
        ]
    goals += [
        Goal(f"plain, 4 KiB latency, against {socat}", ratio("compare", "latency_us", plain, socat), 1.3, 1.1, False),
        Goal("TLS, 4 KiB latency, against stunnel", ratio("compare", "latency_us", tls, STUNNEL.name), 1.3, 1.0, False),
    ]
    return sorted(goals, key=lambda goal: not goal.name.startswith("plain"))


def _metrics() -> list[Goal]:
    goals = []
    for off, on in ((CASES[0], CASES[1]), (CASES[2], CASES[3])):
        for way, text in (("write", "writing"), ("read", "reading")):
            rate, cost = (quotient("metrics", f"{way}_{figure}", f"{on}", f"{off}") for figure in ("mb_s", "cpu_s_gb"))
            goals += [Goal(f"{on}, MB/s {text}, against none", rate, 0.97), Goal(f"{on}, CPU s/GB {text}", cost, 1.03, None, False)]
    return goals


def _others() -> list[Goal]:
    goals = []
    for case in dict.fromkeys(f"{case}" for case in GUESTS):
        kept = ratio("guest", "share", MIGRATE, DIRECT.name, setting=case)
        goals.append(Goal(f"share of its work that a guest keeps, {case}, against {DIRECT.name}", kept, 0.95))
    for way, must in ((NBDTUN_PLAIN.name, 1.15), (NBDTUN_TLS.name, 1.25), (MIGRATE, 1.25)):
        for measure, case in (("migration", "4 GiB"), ("rationed", RATION)):
            wall = ratio(measure, "wall_s", way, DIRECT.name, setting=case)
            goals.append(Goal(f"migration of {case}, wall time of {way}, against {DIRECT.name}", wall, must, 1.1, False))
    for disks, most, aim in ((1, 15.0, 8.0), (8, 25.0, 10.0)):
        longer = difference("moment", "downtime_ms", MIGRATE, DIRECT.name, disks_of(disks))
        goals.append(Goal(f"ms of downtime more than {DIRECT.name}, {disks_of(disks)}", longer, most, aim, False))
    more = difference("trips", "trips", "nbdtun migrate", DIRECT.name, f"{LENGTH}")
    goals.append(Goal(f"round trips more than {DIRECT.name} while the guest stands still, at {LENGTH}", more, 2.0, 1.0, False))
    for peer in (NBDTUN_PLAIN.name, NBDTUN_TLS.name):
        goals += [
            *(
                Goal(f"{case} at 1 Gbit/s, share of the link, {peer}", median("distance", "share", peer, f"{case}"), 0.9)
                for case in (NOT_NEAR, FAR_AWAY)
            ),
            Goal(f"eight channels, least share of an equal one, {peer}", median("scaling", "least_share", peer, setting(8)), 0.5),
        ]
    for peer, rivals, must in ((NBDTUN_PLAIN.name, [SOCAT_LARGE.name], 1.0), (NBDTUN_TLS.name, [STUNNEL.name, HAPROXY.name], 1.5)):
        total = ratio("scaling", "total_mb_s", peer, *rivals, setting=setting(8))
        goals.append(Goal(f"eight channels, total MB/s, {peer}, against {' and '.join(rivals)}", total, must))
    return goals


def _cores() -> list[Goal]:
    one, most = OURS[0], OURS[-1]
    goals = []
    for subject in OURS[1:]:
        value = ratio("cores", "total_mb_s", subject.name, one.name, setting=CORES)
        goals.append(Goal(f"total MB/s, {subject.name}, against one", value, 0.85 * subject.count, 0.95 * subject.count))
    for subject, rival in (*((most, rival) for rival in RIVALS), (PLAIN, RIVALS[0])):
        value = ratio("cores", "mb_cpu_s", subject.name, rival.name, setting=CORES)
        goals.append(Goal(f"MB for a CPU s, {subject.name}, against {rival.name}", value, 1.0))
    return goals


GOALS = (*_compared(), *_metrics(), *_cores(), *_others())
