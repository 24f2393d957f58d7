"""Schedules: who meets the center, and when."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral


@dataclass(frozen=True)
class Schedule:
    """What every schedule has: the number of workers and the communication period.

    Attributes
    ----------
    p : int or None
        Number of workers, at least 1. None: any number (`stability_condition` only).
    tau : int
        Gradient steps of a worker per exchange with the center, at least 1.
    """

    p: int | None = None
    tau: int = 1

    def __post_init__(self) -> None:
        if self.p is not None:
            object.__setattr__(self, "p", _positive_integer("p", self.p))
        object.__setattr__(self, "tau", _positive_integer("tau", self.tau))

    def workers(self) -> int:
        """The number of workers; raises TypeError where none was given."""
        if self.p is None:
            raise TypeError(f"{type(self).__name__} needs a value for p, the number of workers")
        return self.p

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
    p : int, optional
        Number of workers, at least 1.
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

    def ticks(self) -> list[range]:
        return [range(i, i + 1) for i in range(self.workers())]


def _positive_integer(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return int(value)
