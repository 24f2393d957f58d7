"""All workers in one process, stepping by a schedule: deterministic, and as many as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

import torch
from torch import Tensor

from easgd_theory.algorithm import Algorithm, as_number, as_real, given_values
from easgd_theory.schedules import RoundRobin, Schedule, Synchronous
from easgd_theory.visit import Gradient, Visit, exchange
from gpu_trainer.arithmetic import in_slices

GradientOf = Callable[[int, int, Tensor], Tensor]
"""The gradient's value for a worker, at its clock, at a point of shape (n,); a new tensor at every call."""


class Crew:
    """The workers and the center of a run, in one process.

    Parameters
    ----------
    algorithm : Algorithm
        All parameters given: numbers, or functions of the worker's clock, the number of gradient steps that it has
        made.
    schedule : Synchronous or RoundRobin
    start : Tensor, shape (n,)
        Where every x begins, those of the workers and that of the center; the other variables begin at 0.

    Attributes
    ----------
    workers : list of named tuple of Tensor, shape (n,)
        Each worker's variables, named as the algorithm names them. No tensor is ever changed in place.
    center : named tuple of Tensor, shape (n,)
        The center's; empty for a sequential method.
    clocks : list of int
        Gradient steps that each worker has made.

    Examples
    --------
    >>> from easgd_theory import EASGD, Synchronous
    >>> crew = Crew(EASGD(eta=0.5, alpha=0.1), Synchronous(p=4), torch.ones(1))
    >>> for _ in range(2):
    ...     crew.round(lambda worker, clock, point: point)  # of the objective x^2 / 2
    >>> round(crew.iterate.item(), 6)
    0.8
    """

    def __init__(self, algorithm: Algorithm, schedule: Schedule, start: Tensor) -> None:
        self.rule, self.k = checked(algorithm, schedule)
        self.schedule, self.p = schedule, schedule.workers()
        worker, self.center = beginning(self.rule, start)
        self.workers = [worker] * self.p
        self.clocks = [0] * self.p

    @property
    def iterate(self) -> Tensor:
        """The x of the center, or of the one worker of a sequential method; shape (n,)."""
        return (self.center if self.rule.center else self.workers[0]).x

    def round(self, gradient: GradientOf) -> None:
        """One round of the schedule."""
        for active in self.schedule.ticks():
            self.tick(active, gradient)

    def tick(self, active: Iterable[int], gradient: GradientOf) -> None:
        """The `active` workers meet the center together, and take their tau steps."""
        tau = self.schedule.tau
        visits = {i: Visit(self.rule, steps_from(self.k, self.clocks[i]), tau, self.workers[i]) for i in active}
        gradients = {i: _counting(gradient, i, self.clocks[i]) for i in visits}
        k = self.k(self.clocks[next(iter(visits))])
        self.center = exchange(self.rule, k, visits, self.workers, self.center, gradients)
        for i, visit in visits.items():
            self.workers[i] = visit.worker
            self.clocks[i] += tau


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


def _counting(gradient: GradientOf, worker: int, clock: int) -> Gradient:
    """The gradient of one worker during a visit that begins at `clock`."""
    clocks: Iterator[int] = count(clock)
    return lambda point: gradient(worker, next(clocks), point)
