"""One worker in a process of its own: what it does in a round, over `torch.distributed`.

Every process keeps the center. A message travels, each process absorbs it, and the centers stay equal: to the bit,
because all of them add up the same numbers in the same way.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from easgd_theory.algorithm import Algorithm
from easgd_theory.schedules import Schedule, Synchronous
from easgd_theory.visit import Point, Pull, Push, Visit, message
from gpu_trainer.crew import beginning, checked, steps_from

Points = Generator[Tensor, Tensor, None]
"""Yields the points at which a gradient is due, and is sent its value."""


class Group:
    """The processes that train together, one worker each.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup, optional
        By default all processes; a single one where `torch.distributed` has not been initialized.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self._group = group
        alone = not dist.is_initialized()
        self.rank = 0 if alone else dist.get_rank(group)
        self.size = 1 if alone else dist.get_world_size(group)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes, in a new tensor."""
        total = values.clone()
        if self.size > 1:
            dist.all_reduce(total, group=self._group)
        return total

    def broadcast(self, values: Tensor, source: int) -> Tensor:
        """What `source` gives, in every process; the others give a tensor of the same shape."""
        if self.size == 1:
            return values
        received = values.clone() if source == self.rank else torch.empty_like(values)
        dist.broadcast(received, group=self._group, group_src=source)
        return received


class Member:
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
    clock : int
        Gradient steps that the worker has made.
    """

    def __init__(self, algorithm: Algorithm, schedule: Schedule, start: Tensor, group: Group) -> None:
        self.rule, self.k = checked(algorithm, schedule)
        if schedule.workers() != group.size:
            raise ValueError(f"p must be the number of processes, {group.size}, got {schedule.p}")
        self.schedule, self.group = schedule, group
        self.worker, self.center = beginning(self.rule, group.broadcast(start, 0))
        self.clock = 0

    def points(self) -> Points:
        """One round, as a generator of the points where a gradient is due."""
        visit = Visit(self.rule, steps_from(self.k, self.clock), self.schedule.tau, self.worker)
        if isinstance(self.schedule, Synchronous):
            yield from self._to_push(visit)
            if isinstance(visit.request, Push):
                self._absorb(self.group.sum(visit.request.message), self.group.size)
                visit.answer()
        else:
            yield from self._gradients(visit)
            for visitor in range(self.group.size):
                yield from self._turn(visit, visitor)
        yield from self._to_push(visit)
        self.worker = visit.worker
        self.clock += self.schedule.tau

    def _turn(self, visit: Visit, visitor: int) -> Points:
        """A worker's turn at the center; what it need not do there it does before or after, beside the others."""
        mine = visitor == self.group.rank
        if mine:
            yield from self._to_push(visit)
        if not self.rule.center:
            return
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
