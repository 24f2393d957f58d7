"""Schedules: who meets the center, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import ClassVar


@dataclass(frozen=True)
class Schedule:
    """What every schedule has: the number of workers and the communication period.

    Attributes
    ----------
    p : int, inf or None
        Number of workers, at least 1. None: any number (`stability_condition` only). inf: the limit of infinitely many,
        where the schedule has one.
    tau : int
        Gradient steps of a worker per exchange with the center, at least 1.
    """

    p: int | float | None = None
    tau: int = 1

    has_limit: ClassVar[bool] = False
    """Whether p = inf has a meaning: the limit of infinitely many workers."""

    def __post_init__(self) -> None:
        if isinstance(self.p, Real) and self.p == math.inf:
            if not self.has_limit:
                raise ValueError(f"p must be finite for {type(self).__name__}, got inf: only RoundRobin has that limit")
            object.__setattr__(self, "p", math.inf)
        elif self.p is not None:
            object.__setattr__(self, "p", _positive_integer("p", self.p))
        object.__setattr__(self, "tau", _positive_integer("tau", self.tau))

    @property
    def infinite(self) -> bool:
        """Whether p is inf: no round is run, spectra are the limits of those at growing p."""
        return self.p == math.inf

    def workers(self) -> int:
        """The number of workers; raises TypeError where none was given, ValueError where it is inf."""
        if self.p is None:
            raise TypeError(f"{type(self).__name__} needs a value for p, the number of workers")
        if self.infinite:
            raise ValueError(
                "p must be a whole number here, got inf: infinitely many workers have no round, only the limits that "
                "spectral_radius, is_stable, stable_intervals, critical_value and stability_map compute"
            )
        return int(self.p)

    def ticks(self) -> list[range]:
        """One round as a list of ticks; a tick is the range of workers that meet the center together."""
        raise TypeError(f"{type(self).__name__} has no fixed round")


@dataclass(frozen=True)
class Synchronous(Schedule):
    """All p workers meet the center together. A round is one exchange and its tau gradient steps.

    Parameters
    ----------
    p : int, optional
        Number of workers, at least 1.
    tau : int, default 1
        Gradient steps of a worker per exchange, at least 1.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651, eqs. 5 and 6.

    Examples
    --------
    >>> Synchronous(p=4, tau=10).ticks()
    [range(0, 4)]
    """

    def ticks(self) -> list[range]:
        return [range(self.workers())]


@dataclass(frozen=True)
class RoundRobin(Schedule):
    """Tick t wakes worker t mod p. A round is p ticks: one visit, with its tau gradient steps, of each worker.

    Parameters
    ----------
    p : int or inf, optional
        Number of workers, at least 1. ``math.inf`` stands for the limit of infinitely many workers (docs/limit.md).
    tau : int, default 1
        Gradient steps of a worker per exchange, at least 1.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651, Section 4.

    Examples
    --------
    >>> RoundRobin(p=3).ticks()
    [range(0, 1), range(1, 2), range(2, 3)]
    """

    has_limit: ClassVar[bool] = True

    def ticks(self) -> list[range]:
        return [range(i, i + 1) for i in range(self.workers())]


@dataclass(frozen=True)
class RandomOrder(Schedule):
    """Each tick wakes a worker drawn uniformly, independent of all others. A round is p ticks.

    Parameters
    ----------
    p : int, optional
        Number of workers, at least 1.
    tau : int, default 1
        Gradient steps of a worker per exchange, at least 1.

    References
    ----------
    Boyd, Ghosh, Prabhakar, Shah (2006), Randomized gossip algorithms: the model of uniformly random wake-ups.

    Examples
    --------
    >>> RandomOrder(p=3).workers()
    3
    """


def _positive_integer(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return int(value)
