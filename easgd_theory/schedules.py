"""Schedules: who meets the center, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np

from easgd_theory.algorithm import as_bool, as_real
from easgd_theory.times import MEMORYLESS, NO_TIME, Pause, Times


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


@dataclass(frozen=True, eq=False, repr=False)
class Asynchronous(Schedule):
    r"""Every worker computes and travels at its own speed: for simulation and training only.

    A worker sets out at time 0. It travels to the center, visits it, takes the tau gradient steps of the visit, travels
    to the center again, and so on; its visits n = 0, 1, ... are at the times

    .. math::

        T_0 = X_0, \qquad T_n = T_{n-1} + C_{(n-1)\tau} + \dots + C_{n\tau-1} + X_n

    with the times :math:`C` of its gradient steps and :math:`X` of its trips, all independent. Workers who arrive at
    the same time are served by their index. A round is p visits, whoever makes them.

    A visit is **atomic** unless `split`: all its phases happen when the worker is at the center, as in the paper. The
    order of arrival then decides everything but the time itself. With equal `Deterministic` times this is `RoundRobin`,
    with tau = 1, `Exponential` steps and no communication it is `RandomOrder` after the first round.

    In a **split** exchange a visit is two events, at different times: at its *pull* the worker gets a copy of the
    center, and with this copy takes its steps and computes its message; at its *push* the center, as it is then,
    absorbs that message. The phases of the algorithm's visit say which of the two is first, and every event takes a
    trip of its own. Steps on which the message depends lie between pull and push; any other message is sent at once and
    the steps are taken when it has arrived, as is a gradient that does not depend on the center:

    * EASGD, EAMSGD: pull, trip, push, steps, trip, pull ...;
    * DOWNPOUR, MDOWNPOUR, Local SGD, DiLoCo: push, trip, pull, steps, trip, push ...;
    * ADMM: pull, trip, push, its one gradient (which does not depend on the center), trip, pull ...; the center sums
      the latest message that it has *received* from everyone.

    Without communication time a split exchange is atomic. The new variables of a worker are seen from the pull on. A
    round is 2p events, so p pulls and p pushes but for those under way.

    Parameters
    ----------
    p : int, optional
        Number of workers, at least 1.
    tau : int, default 1
        Gradient steps of a worker per visit, at least 1.
    compute : Times, default Exponential(1.0)
        Durations of one gradient step of a worker of speed 1; their mean is positive.
    communication : Times, default Deterministic(0.0)
        Durations of one trip: there is one before every visit, in a split exchange one before every pull or push.
    speeds : float or array of shape (p,), default 1.0
        Positive; what a worker's gradient steps would take is divided by its speed.
    pauses : sequence of Pause, default ()
        Workers that pause or die; the pauses of one worker do not overlap.
    split : bool, default False
        Whether pull and push happen at different times.
    order : array of int, shape (events,), optional
        A recorded order in place of drawn times: the workers as they reached the center. In a split exchange a worker's
        entries are by turns the two events of its visits.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651, Algorithm 1: workers with clocks of their own.

    Examples
    --------
    >>> from easgd_theory import Lognormal
    >>> Asynchronous(p=2, tau=10, compute=Lognormal(0.1, shape=0.5), speeds=[1.0, 0.25])
    Asynchronous(p=2, tau=10, compute=Lognormal(mean=0.1, shape=0.5), speeds=<array of shape (2,)>)
    """

    compute: Times = MEMORYLESS
    communication: Times = NO_TIME
    speeds: Any = 1.0
    pauses: tuple[Pause, ...] = ()
    split: bool = False
    order: Any = None

    __eq__ = object.__eq__  # it holds arrays
    __hash__ = object.__hash__

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("compute", "communication"):
            if not isinstance(getattr(self, name), Times):
                raise TypeError(f"{name} must be times such as Exponential(1.0), got {getattr(self, name)!r}")
        if self.compute.mean == 0.0:
            raise ValueError("compute must have a positive mean, got 0.0: nothing would keep a worker from the center")
        object.__setattr__(self, "split", as_bool("split", self.split))
        object.__setattr__(self, "speeds", self._checked_speeds())
        object.__setattr__(self, "pauses", self._checked_pauses())
        if self.order is not None:
            object.__setattr__(self, "order", self._checked_order())

    def __repr__(self) -> str:
        shown = []
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                shown.append(f"{field.name}=<array of shape {value.shape}>")
            elif field.name in ("p", "tau") or value != field.default:
                shown.append(f"{field.name}={value!r}")
        return f"Asynchronous({', '.join(shown)})"

    def _checked_speeds(self) -> float | np.ndarray:
        speeds = as_real("speeds", self.speeds)
        if speeds.ndim and speeds.shape != (self.p,):
            raise ValueError(f"speeds must be a number or one for each of p={self.p} workers, got shape {speeds.shape}")
        if not (speeds > 0.0).all():
            raise ValueError(f"speeds must be positive, got {speeds.min()}")
        return _frozen(speeds) if speeds.ndim else float(speeds)

    def _checked_pauses(self) -> tuple[Pause, ...]:
        if not isinstance(self.pauses, tuple | list) or not all(isinstance(pause, Pause) for pause in self.pauses):
            raise TypeError(f"pauses must be a sequence such as [Pause(worker=0, start=1.0)], got {self.pauses!r}")
        pauses = tuple(sorted(self.pauses, key=lambda pause: (pause.worker, pause.start)))
        for before, after in pairwise(pauses):
            if before.worker == after.worker and after.start < before.end:
                raise ValueError(f"pauses of one worker must not overlap, got {before} and {after}")
        if pauses and (self.p is None or pauses[-1].worker >= self.p):
            raise ValueError(f"pauses must be of workers below p={self.p}, got {pauses[-1]}")
        return pauses

    def _checked_order(self) -> np.ndarray:
        order = np.asarray(self.order)
        if order.ndim != 1 or order.dtype.kind not in "iu":
            raise TypeError(f"order must be a sequence of workers, got {order.dtype} of shape {order.shape}")
        if order.size and not (self.p is not None and order.min() >= 0 and order.max() < self.p):
            raise ValueError(f"order must hold workers from 0 on, below p={self.p}, got {order.min()} to {order.max()}")
        drawn = self.pauses or np.ndim(self.speeds) or self.speeds != 1.0
        if drawn or self.compute != MEMORYLESS or self.communication != NO_TIME:
            raise ValueError(f"order must be alone, as it takes the place of all times that are drawn, got {self!r}")
        return _frozen(order.astype(np.int64))


def _frozen(array: np.ndarray) -> np.ndarray:
    """A copy that nobody can write to."""
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def _positive_integer(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return int(value)
