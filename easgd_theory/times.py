"""How long a gradient step or a trip to the center takes, in simulated seconds, and when workers pause."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from easgd_theory.algorithm import as_real


def as_number(name: str, value: Any) -> float:
    """`value` as one finite float, or one sentence saying why not."""
    number = as_real(name, value)
    if number.ndim:
        raise ValueError(f"{name} must be one number, got an array of shape {number.shape}")
    return float(number)


@dataclass(frozen=True)
class Times:
    """Base of the distributions: independent durations of a given mean, in seconds, at least 0."""

    mean: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", as_number("mean", self.mean))
        if self.mean < 0.0:
            raise ValueError(f"mean must be at least 0 seconds, got {self.mean}")

    def _check_shape(self, shape: Any, low: float) -> None:
        object.__setattr__(self, "shape", as_number("shape", shape))
        if not as_number("shape", shape) > low:
            raise ValueError(f"shape must be above {low:g} for {type(self).__name__}, got {shape}")


@dataclass(frozen=True)
class Deterministic(Times):
    """Always the same duration.

    Parameters
    ----------
    mean : float
        The duration in seconds, at least 0.

    Attributes
    ----------
    mean : float

    Examples
    --------
    >>> Deterministic(0.5)
    Deterministic(mean=0.5)
    """


@dataclass(frozen=True)
class Exponential(Times):
    r"""Exponential durations, without memory: of the density :math:`e^{-t/m}/m`.

    Parameters
    ----------
    mean : float
        Mean m in seconds, at least 0.

    Attributes
    ----------
    mean : float

    Examples
    --------
    >>> Exponential(2)
    Exponential(mean=2.0)
    """


@dataclass(frozen=True)
class Lognormal(Times):
    r"""Lognormal durations: :math:`m\,e^{sz - s^2/2}` with z standard normal.

    Parameters
    ----------
    mean : float
        Mean m in seconds, at least 0.
    shape : float
        Standard deviation s of the logarithm, positive.

    Attributes
    ----------
    mean, shape : float

    Examples
    --------
    >>> Lognormal(1.0, shape=0.5)
    Lognormal(mean=1.0, shape=0.5)
    """

    shape: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_shape(self.shape, 0.0)


@dataclass(frozen=True)
class Pareto(Times):
    r"""Pareto durations, with a heavy tail: :math:`P(T > t) = (t_0/t)^a` from :math:`t_0 = m(a-1)/a` on.

    Parameters
    ----------
    mean : float
        Mean m in seconds, at least 0.
    shape : float
        The tail's exponent a, above 1; up to 2 the variance is infinite.

    Attributes
    ----------
    mean, shape : float

    Examples
    --------
    >>> Pareto(1.0, shape=1.5)
    Pareto(mean=1.0, shape=1.5)
    """

    shape: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_shape(self.shape, 1.0)


MEMORYLESS = Exponential(1.0)
NO_TIME = Deterministic(0.0)


@dataclass(frozen=True)
class Pause:
    """A worker that does nothing for a while, or for ever: it neither computes nor communicates.

    Parameters
    ----------
    worker : int
        Its index, from 0 on.
    start : float
        Simulated seconds, at least 0. What would have been finished at that time or later is finished that much later
        as the pause is long.
    end : float, default inf
        Simulated seconds, after the start. inf: the worker dies; what it had under way never arrives.

    Attributes
    ----------
    worker, start, end

    Examples
    --------
    >>> Pause(worker=3, start=10.0, end=25.0).end
    25.0
    """

    worker: int
    start: float
    end: float = math.inf

    def __post_init__(self) -> None:
        if isinstance(self.worker, bool) or not isinstance(self.worker, Integral):
            raise TypeError(f"worker must be a whole number, got {self.worker!r}")
        object.__setattr__(self, "worker", int(self.worker))
        object.__setattr__(self, "start", as_number("start", self.start))
        if self.end != math.inf:
            object.__setattr__(self, "end", as_number("end", self.end))
        if self.worker < 0:
            raise ValueError(f"worker must be at least 0, got {self.worker}")
        if not 0.0 <= self.start < self.end:
            raise ValueError(f"start must be at least 0 and before the end {self.end}, got {self.start}")
