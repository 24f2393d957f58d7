"""Who reaches the center, and when.

What a worker does at the center has no influence on when it comes back. So nothing needs a queue: the events of a slab
of time are drawn worker by worker, and then sorted. That is O(1) draws and O(log) comparisons an event, in memory that
is read in order, and it makes no difference to the result where the slabs end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from easgd_theory import visit
from easgd_theory.schedules import Asynchronous
from easgd_theory.times import Deterministic, Exponential, Lognormal, Pareto, Times
from simulations.arrays import count_events
from simulations.clocks import (
    DETERMINISTIC,
    EXPONENTIAL,
    FULL,
    LOGNORMAL,
    NUMBER_BITS,
    PARETO,
    Course,
    Law,
    draw_events,
    first_events,
)
from simulations.compilation import kept
from simulations.problem import Problem
from simulations.state import Block

_KINDS = {Deterministic: DETERMINISTIC, Exponential: EXPONENTIAL, Lognormal: LOGNORMAL, Pareto: PARETO}
_SLAB = 2**13  # events, or one of each worker if they are more
_ROOM = 4  # times as many find room


class Events(NamedTuple):
    """Events in the order in which they happen: whose they are, their numbers among the worker's own, and times."""

    order: np.ndarray
    numbers: np.ndarray
    times: np.ndarray


class Arrivals:
    """The events of a block, which is of one replica, from its present state on."""

    def __init__(self, problem: Problem, schedule: Asynchronous, block: Block) -> None:
        self._schedule, self._block = schedule, block
        self._course = _course(problem, schedule)
        self._place = block.first, np.uint64(problem.seed)
        self._due, self._events = block.due[:, 0].copy(), block.events[:, 0].copy()
        self._taken = int(self._events.sum())
        if self._taken == 0 and schedule.order is None:
            with np.errstate(over="ignore"):  # as in `windows`
                kept(first_events)(self._due, *self._place, self._course)
        self._size = max(problem.p, min(_SLAB, problem.events * problem.rounds))
        trips, steps = schedule.communication.mean * (1 + problem.split), problem.tau * schedule.compute.mean
        rate = np.sum(1.0 / (trips + steps / self._course.speeds)) * (1 + problem.split)
        self._width = self._size / float(rate)
        self._times, self._codes = np.empty(_ROOM * self._size), np.empty(_ROOM * self._size, np.uint64)
        self._ahead = Events(*(np.empty(0, dtype) for dtype in (np.int64, np.int64, float)))

    def take(self, count: int) -> Events:
        """The next events, as many as there are up to `count`."""
        if self._schedule.order is not None:
            return self._recorded(self._schedule.order[self._taken : self._taken + count])
        parts, known = [self._ahead], self._ahead.order.size
        while known < count and (low := self._due.min()) < np.inf:
            parts.append(self._slab(low))
            known += parts[-1].order.size
        every = Events(*map(np.concatenate, zip(*parts, strict=True)))
        self._ahead = Events(*(array[count:] for array in every))
        return Events(*(array[:count] for array in every))

    def give_back(self) -> None:
        """Leave in the block's state what has been taken and no more: the slab that was begun is drawn anew then."""
        order, numbers, times = (array[::-1] for array in self._ahead)
        self._due[order], self._events[order] = times, numbers  # of several events of one worker the first stays
        self._block.due[:, 0], self._block.events[:, 0] = self._due, self._events

    def _recorded(self, order: np.ndarray) -> Events:
        numbers = np.empty_like(order)
        count_events(order, self._events, numbers)
        self._taken += order.size
        return Events(order, numbers, np.full(order.size, np.nan))

    def _slab(self, low: float) -> Events:
        """All events from the time `low`, which is the next, until so much later that they should be `_size` many."""
        draw = kept(draw_events)
        while True:
            until = max(low + self._width, float(np.nextafter(low, np.inf)))
            due, events = self._due.copy(), self._events.copy()
            filled = draw(due, events, until, *self._place, self._course, self._times, self._codes)
            if filled != FULL:
                break
            if low + self._width <= low:
                raise ValueError(f"compute must be longer than the rounding of the time, which has reached {low} s")
            self._width /= _ROOM
        self._due, self._events = due, events
        if filled < self._size // 2:
            self._width *= 2.0
        return _in_order(self._times[:filled], self._codes[:filled])


def _in_order(times: np.ndarray, codes: np.ndarray) -> Events:
    """Events by time; at equal times by worker and number, as their codes are."""
    by_time = np.argsort(times)
    in_order = times[by_time]
    if (in_order[1:] == in_order[:-1]).any():
        by_time = np.lexsort((codes, times))
    codes = codes[by_time].view(np.int64)
    return Events(codes >> NUMBER_BITS, codes & (2**NUMBER_BITS - 1), in_order)


def pulls_first(problem: Problem) -> bool:
    """Whether a visit's first event is the pull."""
    return visit.phases(type(problem.algorithm))[0] == "meet"


def _course(problem: Problem, schedule: Asynchronous) -> Course:
    pauses, p = schedule.pauses, problem.p
    begin = np.searchsorted([pause.worker for pause in pauses], np.arange(p + 1)) if pauses else np.empty(0, np.int64)
    between = _steps_between(problem) if problem.split else 0
    return Course(
        law_of(schedule.compute),
        law_of(schedule.communication),
        int(problem.split),
        (between, problem.tau - between),
        np.broadcast_to(np.asarray(schedule.speeds, float), (p,)).copy(),
        begin,
        np.array([pause.start for pause in pauses]),
        np.array([pause.end for pause in pauses]),
    )


def _steps_between(problem: Problem) -> int:
    """Gradient steps of a split exchange between pull and push."""
    rule = type(problem.algorithm)
    if not visit.message_reads_steps(rule):
        return 0
    return problem.tau if visit.gradient_reads_center(rule) else problem.tau - 1


def law_of(times: Times) -> Law:
    """A distribution as the loops take it."""
    return Law(_KINDS[type(times)], times.mean, getattr(times, "shape", 0.0))
