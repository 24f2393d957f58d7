"""All workers in one process, stepping by a schedule: deterministic, and as many as memory allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any

from torch import Tensor

from easgd_theory.algorithm import Algorithm
from easgd_theory.schedules import Schedule
from easgd_theory.visit import Gradient, Visit, exchange
from gpu_trainer.averaging import Averaging
from gpu_trainer.party import GradientOf, Party, steps_from


class Crew(Party):
    """The workers and the center of a run, in one process.

    Parameters
    ----------
    algorithm : Algorithm
        All parameters given: numbers, or functions of the worker's clock, the number of gradient steps that it has
        made.
    schedule : Synchronous or RoundRobin
    start : Tensor, shape (n,)
        Where every x begins, those of the workers and that of the center; the other variables begin at 0.
    averaging : Averaging, optional
        What average of the center is kept.

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
    >>> import torch
    >>> from easgd_theory import EASGD, Synchronous
    >>> crew = Crew(EASGD(eta=0.5, alpha=0.1), Synchronous(p=4), torch.ones(1))
    >>> for _ in range(2):
    ...     crew.round(lambda worker, clock, point: point)  # of the objective x^2 / 2
    >>> round(crew.iterate.item(), 6)
    0.8
    """

    def __init__(
        self, algorithm: Algorithm, schedule: Schedule, start: Tensor, averaging: Averaging | None = None
    ) -> None:
        super().__init__(algorithm, schedule, start, averaging)
        self.workers = [self._begun] * self.p
        self.clocks = [0] * self.p

    @property
    def mine(self) -> dict[int, Any]:
        """All workers' variables, by their numbers."""
        return dict(enumerate(self.workers))

    @property
    def clock(self) -> int:
        """Gradient steps that each worker has made, at the end of a round."""
        return self.clocks[0]

    def restore(self, clock: int, workers: Mapping[int, Any], center: Any) -> None:
        """Go on from a state at the end of a round."""
        self.clocks = [clock] * self.p
        self.workers, self.center = [workers[i] for i in range(self.p)], center

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
        self._before_change()
        self.center = exchange(self.rule, k, visits, self.workers, self.center, gradients)
        for i, visit in visits.items():
            self.workers[i] = visit.worker
            self.clocks[i] += tau


def _counting(gradient: GradientOf, worker: int, clock: int) -> Gradient:
    """The gradient of one worker during a visit that begins at `clock`."""
    clocks: Iterator[int] = count(clock)
    return lambda point: gradient(worker, next(clocks), point)
