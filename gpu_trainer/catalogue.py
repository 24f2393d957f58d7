"""The cases of the map and of growth: algorithms, schedules, parameters on both sides of stability, eigenvectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from easgd_theory import ADMM, DOWNPOUR, EAMSGD, EASGD, MDOWNPOUR, DiLoCo, LocalSGD
from easgd_theory.algorithm import Algorithm
from easgd_theory.schedules import RoundRobin, Schedule, Synchronous
from gpu_trainer.sweeps import Row

SCALED: tuple[tuple[Algorithm, Algorithm], ...] = (
    (EASGD(eta=0.5, alpha=0.1), EASGD(eta=1.9, alpha=0.3)),
    (EAMSGD(eta=0.3, alpha=0.1, delta=0.5), EAMSGD(eta=1.5, alpha=0.4, delta=0.9)),
    (ADMM(eta=0.5, rho=1.0), ADMM(eta=3.0, rho=0.1)),
    (DOWNPOUR(eta=0.05), DOWNPOUR(eta=2.1)),
    (MDOWNPOUR(eta=0.05, delta=0.5), MDOWNPOUR(eta=1.5, delta=0.9)),
    (LocalSGD(eta=0.05), LocalSGD(eta=2.2)),
    (DiLoCo(eta=0.02, nu=0.7, mu=0.5), DiLoCo(eta=0.5, nu=2.5, mu=0.9)),
)
"""Of each algorithm a rule that is stable at all curvatures up to 1, and one that at 1 mostly is not.

For up to eight workers and four steps, in both schemes.
"""


def at_curvature(rule: Algorithm, h: float) -> Algorithm:
    """The rule that does at curvature h what `rule` does at 1: its rate is divided by h, its penalty multiplied."""
    units = {"eta": 1 / h, "rho": h}
    changed = {name: getattr(rule, name) * units[name] for name in rule.parameters() if name in units}
    return replace(rule, **changed)  # type: ignore[type-var]


def written(rule: Algorithm) -> str:
    """The parameters of a rule, such as ``eta=0.5 alpha=0.1``."""
    return " ".join(f"{name}={getattr(rule, name):.9g}" for name in rule.parameters())


@dataclass(frozen=True, eq=False)
class ModeCase:
    """A rule and a schedule along one eigenvector.

    Attributes
    ----------
    rule : Algorithm
        With its parameters in units in which h_max is 1.
    schedule : Synchronous or RoundRobin
    eigenvector : str
        One of `gpu_trainer.site.EIGENVECTORS`.
    """

    rule: Algorithm
    schedule: Schedule
    eigenvector: str

    def columns(self) -> Row:
        """What tells this case from the others."""
        return {
            "algorithm": type(self.rule).__name__,
            "schedule": type(self.schedule).__name__,
            "p": self.schedule.workers(),
            "tau": self.schedule.tau,
            "in_units_of_h_max": written(self.rule),
            "eigenvector": self.eigenvector,
        }


def map_cases(workers: Sequence[int], periods: Sequence[int], eigenvectors: Sequence[str]) -> list[ModeCase]:
    """Every algorithm on every schedule where it is defined, along each eigenvector; the two rules by turns."""
    return [
        ModeCase(rules[(turn + number) % 2], schedule, eigenvector)
        for rules in SCALED
        for turn, schedule in enumerate(_schedules(rules[0], workers, periods))
        for number, eigenvector in enumerate(eigenvectors)
    ]


def growth_cases(workers: Sequence[int], periods: Sequence[int]) -> list[ModeCase]:
    """The same with both rules along the top eigenvector, and with the stable one along the middle.

    Along any but the top, a rule that is not stable there lets the top take over, from rounding alone.
    """
    return [
        ModeCase(rule, schedule, eigenvector)
        for rules in SCALED
        for schedule in _schedules(rules[0], workers, periods)
        for rule, eigenvector in ((rules[0], "top"), (rules[1], "top"), (rules[0], "middle"))
    ]


def _schedules(rule: Algorithm, workers: Sequence[int], periods: Sequence[int]) -> Iterator[Schedule]:
    for kind, p, tau in product((Synchronous, RoundRobin), workers, periods):
        if tau == 1 or "tau" not in rule.requires_one:
            yield kind(p=p, tau=tau)
