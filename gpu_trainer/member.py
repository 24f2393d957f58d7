"""One worker in a process of its own: what it does in a round, over `torch.distributed`.

Every process keeps the center. A message travels, each process absorbs it, and the centers stay equal: to the bit,
because all of them add up the same numbers in the same way.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from itertools import count
from typing import Any

from torch import Tensor

from easgd_theory.algorithm import Algorithm
from easgd_theory.schedules import Schedule, Synchronous
from easgd_theory.visit import Point, Pull, Push, Visit, message
from gpu_trainer.averaging import Averaging
from gpu_trainer.group import Group
from gpu_trainer.party import GradientOf, Party, steps_from

Points = Generator[Tensor, Tensor, None]
"""Yields the points at which a gradient is due, and is sent its value."""


class Member(Party):
    """One worker, and its copy of the center.

    Parameters
    ----------
    algorithm, schedule
        As for `Crew`; the schedule's p is the size of the group.
    start : Tensor, shape (n,)
        Where every x begins: in all processes where it begins in the first one.
    group : Group

    Attributes
    ----------
    worker, center : named tuple of Tensor, shape (n,)
        Their variables; no tensor is ever changed in place.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        schedule: Schedule,
        start: Tensor,
        group: Group,
        averaging: Averaging | None = None,
    ) -> None:
        super().__init__(algorithm, schedule, group.broadcast(start, 0), averaging)
        if self.p != group.size:
            raise ValueError(f"p must be the number of processes, {group.size}, got {schedule.p}")
        self.group = group
        self.worker = self._begun
        self._clock = 0

    @property
    def mine(self) -> dict[int, Any]:
        """The one worker's variables, by its number."""
        return {self.group.rank: self.worker}

    @property
    def clock(self) -> int:
        """Gradient steps that the worker has made."""
        return self._clock

    def restore(self, clock: int, workers: Mapping[int, Any], center: Any) -> None:
        """Go on from a state at the end of a round."""
        self._clock, self.worker, self.center = clock, workers[self.group.rank], center

    def round(self, gradient: GradientOf) -> None:
        """One round of the schedule; every process must take part."""
        points, clocks, value = self.points(), count(self.clock), None
        while True:
            try:
                point = next(points) if value is None else points.send(value)
            except StopIteration:
                return
            value = gradient(self.group.rank, next(clocks), point)

    def points(self) -> Points:
        """One round, as a generator of the points where a gradient is due."""
        if not self.rule.center:
            self._before_change()
        visit = Visit(self.rule, steps_from(self.k, self.clock), self.schedule.tau, self.worker)
        if isinstance(self.schedule, Synchronous):
            yield from self._to_push(visit)
            if isinstance(visit.request, Push):
                with self.group.exchanging():
                    self._absorb(self.group.sum(visit.request.message), self.group.size)
                visit.answer()
        else:
            yield from self._gradients(visit)
            for visitor in range(self.group.size):
                yield from self._turn(visit, visitor)
        yield from self._to_push(visit)
        self.worker = visit.worker
        self._clock += self.schedule.tau

    def _turn(self, visit: Visit, visitor: int) -> Points:
        """A worker's turn at the center; what it need not do there it does before or after, beside the others."""
        mine = visitor == self.group.rank
        if mine:
            yield from self._to_push(visit)
        if not self.rule.center:
            return
        with self.group.exchanging():
            if self.rule.gather == "all":
                total = self.group.sum(self._message(visit))
            else:
                total = self.group.broadcast(self._message(visit) if mine else self.center[0], visitor)
            self._absorb(total, 1)
        if mine:
            visit.answer()
            if isinstance(visit.request, Pull):
                visit.answer(self.center)
            if self.rule.gather == "all":  # the others' turns read what it becomes
                yield from self._to_push(visit)

    def _message(self, visit: Visit) -> Any:
        """What this worker sends in its own turn or, where the center reads all workers, in another's."""
        if isinstance(visit.request, Push):
            return visit.request.message
        return message(self.rule, self.k(self.clock), visit.worker, visit.worker, self.center)

    def _absorb(self, total: Tensor, visitors: int) -> None:
        self._before_change()
        center = self.rule.absorb(self.center, total, self.k(self.clock), visitors, self.group.size)
        self.center = self.rule.Center(*center)

    def _to_push(self, visit: Visit) -> Points:
        """Go on to the next push, or to the end."""
        while isinstance(visit.request, Point | Pull):
            if isinstance(visit.request, Pull):
                visit.answer(self.center)
            yield from self._gradients(visit)

    @staticmethod
    def _gradients(visit: Visit) -> Points:
        while isinstance(visit.request, Point):
            visit.answer((yield visit.request.value))
