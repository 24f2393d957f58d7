"""What a window of rounds of a block of replicas needs: its random numbers, and who visits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulations.arrays import delays
from simulations.arrivals import Arrivals, Events, pulls_first
from simulations.kernels import Draws
from simulations.problem import Problem
from simulations.state import Block
from simulations.streams import Addresses, addresses_of, draw_order, fill_by_clock, fill_by_visit


class Window(NamedTuple):
    """All that the rounds low, ..., high - 1 need, as `kernels.rounds` and `kernels.rounds_at_once` describe it.

    `slots` are those of `kernels.split_rounds`, and `course` is what is known of the rounds beforehand: the time at the
    end of each, mean and maximum of the staleness; shape (rounds, 3), or (0, 3).
    """

    low: int
    high: int
    draws: Draws
    noise: np.ndarray
    order: np.ndarray
    rows: np.ndarray
    table: np.ndarray
    addresses: Addresses
    slots: np.ndarray = np.empty(0, dtype=np.int64)
    course: np.ndarray = np.empty((0, 3))


def everyone(workers: int, lanes: int) -> np.ndarray:
    """The number of each worker, in each lane; shape (workers, lanes)."""
    numbers = np.empty((workers, lanes), dtype=np.int64)
    numbers[:] = np.arange(workers)[:, None]
    return numbers


class Source:
    """Draws the windows of a block."""

    def __init__(self, problem: Problem, block: Block) -> None:
        self.problem, self.block = problem, block
        self.shapes = np.array(problem.pieces.variates)
        self.entries = problem.d * block.lanes  # of one variable of one worker
        per_round = problem.tau * self.shapes.size * problem.p * self.entries
        # Evaluations come in pairs; of pulls and pushes not quite half are pulls.
        room = problem.window * per_round + max(2 * per_round // problem.tau, problem.split * per_round)
        self.noise = np.empty(room) if room else np.zeros(problem.p * self.entries)
        self.order = everyone(problem.p, block.lanes)
        schedule = problem.asynchronous
        self.arrivals, self.pushed = None, 0
        if schedule is not None:
            self.arrivals = Arrivals(problem, schedule, block)
            events = (block.events + (not pulls_first(problem))) >> 1 if problem.split else block.events
            self.pushed = int(np.sum(events))
        by_clock = self.shapes[:0] if problem.drawn else self.shapes
        self.addresses = addresses_of(by_clock, problem.p, problem.d, block.lanes, block.first, problem.seed)

    def draw(self, low: int, high: int) -> Window:
        """The window of the rounds low, ..., high - 1, from 1 on; its arrays serve until the next one is drawn.

        It is shorter where there are no more events.
        """
        with np.errstate(over="ignore"):  # random bits overflow, and without numba it is NumPy that does it
            if self.arrivals is not None:
                return self._by_event(low, self.arrivals.take((high - low) * self.problem.events))
            return self._at_random(low, high) if self.problem.drawn else self._by_clock(low, high)

    def finish(self) -> None:
        """Leave the block's state as it is after the last window."""
        if self.arrivals is not None:
            self.arrivals.give_back()

    def _by_clock(self, low: int, high: int) -> Window:
        problem, tau, variates = self.problem, self.problem.tau, self.shapes.size
        start, end = (low - 1) * tau, (high - 1) * tau
        rows, table = np.zeros(1, dtype=np.int64), problem.parameters.rows(start, end)
        if problem.parameters.vary:
            rows = np.repeat(np.arange(high - low) * tau, problem.p // problem.group)
        draws = Draws(False, 0, 0, 0, 0, 0)
        if variates and not problem.at_once:  # whose kernels draw for themselves
            origin, odd = fill_by_clock(self.noise, start, end, self.addresses)
            visit = self.entries * (problem.group < problem.p)
            draws = Draws(False, visit, odd, self.addresses.draws, self.addresses.variate, origin)
        return Window(low, high, draws, self.noise, self.order, rows, table, self.addresses)

    def _at_random(self, low: int, high: int) -> Window:
        problem, block, tau = self.problem, self.block, self.problem.tau
        order = np.empty(((high - low) * problem.p, block.lanes), dtype=np.int64)
        evaluations = np.empty_like(order)
        seed, tick = np.uint64(problem.seed), (low - 1) * problem.p
        draw_order(order, block.clocks, evaluations, seed, tick, block.first, problem.p, tau)
        draws = self._fill(order, evaluations)
        return Window(low, high, draws, self.noise, order, *self._parameters(evaluations[:, 0]), self.addresses)

    def _by_event(self, low: int, events: Events) -> Window:
        problem, per_round = self.problem, self.problem.events
        rounds = len(events.order) // per_round
        order, numbers, times = (array[: rounds * per_round] for array in events)
        evaluations = (numbers >> problem.split) * problem.tau
        pulls = pushes = np.ones(len(order), dtype=bool)
        if problem.split:
            pulls = numbers % 2 == (0 if pulls_first(problem) else 1)
            pushes = ~pulls
        draws = self._fill(order[pulls][:, None], evaluations[pulls][:, None])
        slots = np.where(pulls, np.cumsum(pulls) - 1, -1) if problem.split else np.empty(0, dtype=np.int64)
        course = np.full((rounds, 3), np.nan)
        course[:, 0] = times[per_round - 1 :: per_round]
        if problem.columns.staleness >= 0:
            delays(order, pulls, pushes, self.pushed, self.block.seen[:, 0], per_round, course[:, 1:])
            self.pushed += int(np.count_nonzero(pushes))
        named = (order[:, None], *self._parameters(evaluations), self.addresses)
        return Window(low, low + rounds, draws, self.noise, *named, slots, course)

    def _fill(self, order: np.ndarray, evaluations: np.ndarray) -> Draws:
        """Draw the noise of visits in this order."""
        problem, variates, tau = self.problem, self.shapes.size, self.problem.tau
        if not variates:
            return Draws(True, 0, 0, 0, 0, 0)
        one = variates * self.entries
        part, seed = self.noise[: len(order) * tau * one], np.uint64(problem.seed)
        fill_by_visit(part, order, evaluations, self.shapes, problem.d, tau, self.block.first, seed)
        return Draws(True, tau * one, one, 2 * one, self.entries if variates > 1 else 0, 0)

    def _parameters(self, evaluations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The table of parameters, and the row at which each visit begins, whose first evaluations these are."""
        if not self.problem.parameters.vary or not evaluations.size:
            return np.zeros(1, dtype=np.int64), self.problem.parameters.rows(0, 1)
        first = int(evaluations.min())
        return evaluations - first, self.problem.parameters.rows(first, int(evaluations.max()) + self.problem.tau)
