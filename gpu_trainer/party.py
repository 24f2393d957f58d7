"""What any party of a run has: its rule, the workers that it holds, a center, and where they begin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from easgd_theory.algorithm import Algorithm, as_number, as_real, given_values
from easgd_theory.schedules import RoundRobin, Schedule, Synchronous
from gpu_trainer.arithmetic import in_slices
from gpu_trainer.averaging import Averaging

GradientOf = Callable[[int, int, Tensor], Tensor]
"""The gradient's value for a worker, at its clock, at a point of shape (n,); a new tensor at every call."""


class Party(ABC):
    """Those of a run's workers that one process holds, and the center.

    Attributes
    ----------
    center : named tuple of Tensor, shape (n,)
        Its variables, named as the algorithm names them; empty for a sequential method. No tensor is ever changed in
        place.
    average : Average or None
        Over the centers so far, or over the iterates of a sequential method.
    """

    def __init__(self, algorithm: Algorithm, schedule: Schedule, start: Tensor, averaging: Averaging | None) -> None:
        self.rule, self.k = checked(algorithm, schedule)
        self.schedule, self.p = schedule, schedule.workers()
        self._begun, self.center = beginning(self.rule, start)
        self.average = None if averaging is None else averaging.begin(start)

    @abstractmethod
    def round(self, gradient: GradientOf) -> None:
        """One round of the schedule."""

    @property
    @abstractmethod
    def mine(self) -> Mapping[int, Any]:
        """The variables of the workers that are held here, by their numbers."""

    @property
    @abstractmethod
    def clock(self) -> int:
        """Gradient steps that each worker has made, at the end of a round."""

    @abstractmethod
    def restore(self, clock: int, workers: Mapping[int, Any], center: Any) -> None:
        """Go on from a state at the end of a round; `workers` has those of `mine`."""

    @property
    def latest(self) -> Tensor:
        """The x of the center, or of the one worker of a sequential method; shape (n,)."""
        return (self.center if self.rule.center else next(iter(self.mine.values()))).x

    @property
    def iterate(self) -> Tensor:
        """What the run has come to: the average where one is asked for, else `latest`."""
        return self.average.z if self.average else self.latest

    def _before_change(self) -> None:
        """The center, or a sequential method's worker, is about to change."""
        if self.average:
            self.average.see(self.latest)


def checked(algorithm: Algorithm, schedule: Schedule) -> tuple[type[Algorithm], Callable[[int], Any]]:
    """The algorithm over tensors, and its parameters as a function of the clock.

    Raises
    ------
    TypeError, ValueError
        If a parameter has no value, or the pair is not defined.
    """
    if not isinstance(algorithm, Algorithm):
        raise TypeError(f"algorithm must be an algorithm such as EASGD(eta=0.1, alpha=0.1), got {algorithm!r}")
    if not isinstance(schedule, Synchronous | RoundRobin):
        raise TypeError(f"schedule must be Synchronous or RoundRobin, got {schedule!r}")
    algorithm.check(schedule)
    schedule.workers()
    values = given_values(algorithm)

    def at(clock: int) -> Any:
        numbers = {
            name: as_number(f"{name} at clock {clock}", value(clock), "in training")
            if callable(value)
            else as_number(name, value, "in training")
            for name, value in values.items()
        }
        return algorithm.pack(numbers)

    fixed = None if any(map(callable, values.values())) else at(0)
    return in_slices(type(algorithm)), at if fixed is None else lambda clock: fixed


def check_weight_decay(value: Any) -> None:
    """Raise TypeError or ValueError unless `value` is a number of at least 0."""
    number = as_real("weight_decay", value)
    if number.ndim or number < 0:
        raise ValueError(f"weight_decay must be a number of at least 0, got {value!r}")


def beginning(rule: type[Algorithm], start: Tensor) -> tuple[Any, Any]:
    """A worker and the center at the start: every x there, the rest 0."""
    if start.ndim != 1:
        raise ValueError(f"start must be a tensor of shape (n,), got the shape {tuple(start.shape)}")
    zero = torch.zeros_like(start)
    worker, center = ([start if name == "x" else zero for name in names] for names in (rule.worker, rule.center))
    return rule.Worker(*worker), rule.Center(*center)


def steps_from(k: Callable[[int], Any], clock: int) -> Callable[[int], Any]:
    """The parameters at each step of a visit that begins at `clock`."""
    return lambda step: k(clock + step)
