"""The shared table of cases: every algorithm on every schedule on which it is defined, on both sides of stability.

Whatever runs an algorithm (maps, pencils, simulators, trainers) is held against `naive` over this one table:

    @pytest.mark.parametrize("case", CASES)
    def test_mine(case): ...

`CASES` holds one `pytest.param` per case; `select` picks some of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import naive
import numpy as np
import pytest

from easgd_theory import (
    ADMM,
    DOWNPOUR,
    EAMSGD,
    EASGD,
    MDOWNPOUR,
    MSGD,
    SGD,
    DiLoCo,
    LocalSGD,
    Lookahead,
    RoundRobin,
    Synchronous,
)

WORKERS = (1, 2, 3, 5, 8)
PERIODS = (1, 3)
SCHEDULES = (Synchronous, RoundRobin)

_NAIVE_ALGORITHM = {LocalSGD: "local_sgd"}  # elsewhere the class's name in lower case
_NAIVE_SCHEDULE = {Synchronous: "synchronous", RoundRobin: "round_robin"}


@dataclass(frozen=True)
class Case:
    """One algorithm with all its values, on one schedule and one curvature.

    Attributes
    ----------
    algorithm : Algorithm
        Every parameter is a float.
    schedule : Synchronous or RoundRobin
    h : float
        Curvature.
    point : str
        Name of the parameter point, unique within an algorithm.
    """

    algorithm: Any
    schedule: Any
    h: float
    point: str

    @property
    def key(self) -> tuple[str, str]:
        """Key of the round in `naive.ROUNDS`."""
        kind = type(self.algorithm)
        return _NAIVE_ALGORITHM.get(kind, kind.__name__.lower()), _NAIVE_SCHEDULE[type(self.schedule)]

    @property
    def id(self) -> str:
        return f"{'-'.join(self.key)}-p{self.schedule.p}-tau{self.schedule.tau}-{self.point}"

    @property
    def step(self) -> Callable[..., list]:
        """The naive round: ``step(state, **arguments)``."""
        return naive.ROUNDS[self.key][0]

    @property
    def arguments(self) -> dict[str, Any]:
        """What the naive round takes beside the state: p, tau, h, the parameters and the options."""
        names = (*self.algorithm.parameters(), *self.algorithm.options())
        values = {name: getattr(self.algorithm, name) for name in names}
        return {"p": self.schedule.p, "tau": self.schedule.tau, "h": self.h, **values}

    @property
    def naive_size(self) -> int:
        return naive.ROUNDS[self.key][1](self.schedule.p)

    def naive_matrix(self) -> np.ndarray:
        """Matrix of one round in the naive layout; shape (naive_size, naive_size)."""
        return naive.round_matrix(self.step, self.naive_size, **self.arguments)

    @property
    def same_layout(self) -> bool:
        """Whether the naive state is ours, variable by variable."""
        return type(self.algorithm) not in _LAYOUTS

    def embedding(self) -> np.ndarray:
        """The matrix T that writes a naive state in our layout; shape (our size, naive_size).

        Both states carry the same information, hence ``ours @ T == T @ naive`` for the matrices of a round, although
        ours may hold a variable more (`MDOWNPOUR`, `Lookahead`).
        """
        layout = _LAYOUTS.get(type(self.algorithm))
        identity = np.eye(self.naive_size)
        return identity if layout is None else np.array(layout(list(identity), self.schedule.p, self.h))

    def start(self, seed: int = 0) -> np.ndarray:
        """A random state in the naive layout."""
        return np.random.default_rng(seed).standard_normal(self.naive_size)


def _from_gradient_point(state: list, p: int, h: float) -> list:
    """MDOWNPOUR: the naive (x1, ..., xp, center, m); ours keeps the gradient beside the pulled x."""
    return [row for x in state[:p] for row in (x, h * x)] + state[p:]


def _from_pulled_center(state: list, p: int, h: float) -> list:
    """Local SGD, DiLoCo: the naive (x1, y1, ..., center, ...); ours keeps the displacement v = x - y."""
    return [row for x, y in zip(state[0 : 2 * p : 2], state[1 : 2 * p : 2], strict=True) for row in (x, x - y)] + (
        state[2 * p :]
    )


def _from_fast_and_slow(state: list, p: int, h: float) -> list:
    """Lookahead: the naive (fast, slow); ours keeps the displacement from slow as well."""
    fast, slow = state
    return [fast, fast - slow, slow]


_LAYOUTS = {
    MDOWNPOUR: _from_gradient_point,
    LocalSGD: _from_pulled_center,
    DiLoCo: _from_pulled_center,
    Lookahead: _from_fast_and_slow,
}

# (point, algorithm, h). "calm" converges and "wild" diverges for every p and tau of the table.
_POINTS = [
    ("calm", EASGD(eta=0.3, alpha=0.2), 1.0),
    ("fast", EASGD(eta=0.35, alpha=0.6), 4.0),
    ("wild", EASGD(eta=1.9, alpha=1.3), 1.2),
    ("saddle", EASGD(eta=0.1, alpha=0.3), -0.5),
    ("calm", EAMSGD(eta=0.2, alpha=0.1, delta=0.9), 1.5),
    ("fast", EAMSGD(eta=0.4, alpha=0.7, delta=0.5), 2.0),
    ("wild", EAMSGD(eta=1.5, alpha=1.2, delta=0.8), 1.0),
    ("saddle", EAMSGD(eta=0.1, alpha=0.2, delta=0.9), -0.5),
    ("calm", ADMM(eta=0.1, rho=1.0), 1.0),
    ("figure1", ADMM(eta=0.001, rho=2.5), 1.0),
    ("wild", ADMM(eta=2.0, rho=0.4), 2.0),
    ("saddle", ADMM(eta=0.1, rho=1.0), -0.5),
    ("calm", DOWNPOUR(eta=0.05), 1.0),
    ("fast", DOWNPOUR(eta=0.25), 1.5),
    ("wild", DOWNPOUR(eta=1.5), 1.5),
    ("saddle", DOWNPOUR(eta=0.05), -0.5),
    ("calm", MDOWNPOUR(eta=0.01, delta=0.3), 1.0),
    ("fast", MDOWNPOUR(eta=0.1, delta=0.9), 1.5),
    ("wild", MDOWNPOUR(eta=3.0, delta=0.9), 2.0),
    ("calm_nesterov", MDOWNPOUR(eta=0.01, delta=0.3, nesterov=True), 1.0),
    ("wild_nesterov", MDOWNPOUR(eta=3.0, delta=0.9, nesterov=True), 2.0),
    ("calm", LocalSGD(eta=0.05), 1.0),
    ("fast", LocalSGD(eta=0.6), 1.5),
    ("wild", LocalSGD(eta=1.5), 1.5),
    ("calm", DiLoCo(eta=0.02, nu=0.7, mu=0.2), 1.0),
    ("fast", DiLoCo(eta=0.5, nu=0.7, mu=0.9), 1.5),
    ("wild", DiLoCo(eta=2.0, nu=1.5, mu=0.9), 1.5),
    ("calm", Lookahead(eta=0.3, alpha=0.5), 1.0),
    ("fast", Lookahead(eta=1.4, alpha=0.8), 1.2),
    ("wild", Lookahead(eta=1.5, alpha=0.8), 2.0),
    ("calm", SGD(eta=0.3), 1.0),
    ("wild", SGD(eta=1.5), 1.5),
    ("calm", MSGD(eta=0.3, delta=0.9), 1.0),
    ("wild", MSGD(eta=1.5, delta=0.9), 1.0),
]


def _all() -> Iterator[Case]:
    for point, algorithm, h in _POINTS:
        for kind in SCHEDULES:
            for p in (1,) if "p" in algorithm.requires_one else WORKERS:
                for tau in (1,) if "tau" in algorithm.requires_one else PERIODS:
                    yield Case(algorithm, kind(p=p, tau=tau), h, point)


CASES = [pytest.param(case, id=case.id) for case in _all()]


def select(keep: Callable[[Case], bool]) -> list:
    """The `pytest.param` of the cases that `keep` accepts."""
    return [param for param in CASES if keep(param.values[0])]
