"""The state of a block of replicas, and the random numbers of a window of its rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simulations.kernels import Draws
from simulations.problem import Problem
from simulations.streams import WORKER_BITS, draw_order, fill_by_visit, fill_in_pairs, lay_out

_TILE = 1024  # addresses of draws that are laid out at least


@dataclass(frozen=True, eq=False)
class Block:
    """The state of some replicas ("lanes"), from replica `first` on.

    Attributes
    ----------
    workers : ndarray, shape (variables, p * d * lanes)
    center : ndarray, shape (variables, d * lanes)
    diverged : int ndarray, shape (lanes,)
        The round, or -1.
    clocks : int ndarray, shape (p, lanes)
        Gradient steps that each worker has made, where the order of visits is drawn; else empty.
    """

    first: int
    workers: np.ndarray
    center: np.ndarray
    diverged: np.ndarray
    clocks: np.ndarray

    @property
    def lanes(self) -> int:
        return len(self.diverged)


class Window(NamedTuple):
    """All that the rounds low, ..., high - 1 need, as `kernels.rounds` describes it."""

    low: int
    high: int
    draws: Draws
    noise: np.ndarray
    order: np.ndarray
    rows: np.ndarray
    table: np.ndarray


class Source:
    """Draws the windows of a block."""

    def __init__(self, problem: Problem, block: Block) -> None:
        self.problem, self.block = problem, block
        self.shapes = np.array(problem.pieces.variates)
        self.entries = problem.d * block.lanes  # of one variable of one worker
        per_round = problem.tau * self.shapes.size * problem.p * self.entries
        room = problem.window * per_round + 2 * per_round // problem.tau  # evaluations come in pairs
        self.noise = np.empty(room) if room else np.zeros(problem.p * self.entries)
        self.order = np.repeat(np.arange(problem.p)[:, None], block.lanes, axis=1)
        if room and not problem.drawn:
            evaluation = self.shapes.size * problem.p * self.entries
            self.pairs = -(-_TILE // evaluation)
            self.addresses = lay_out(self.shapes, self.pairs, problem.p, problem.d, block.lanes)

    def draw(self, low: int, high: int) -> Window:
        """The window of the rounds low, ..., high - 1, from 1 on; its arrays serve until the next one is drawn."""
        with np.errstate(over="ignore"):  # random bits overflow, and without numba it is NumPy that does it
            return self._by_visit(low, high) if self.problem.drawn else self._by_clock(low, high)

    def _by_clock(self, low: int, high: int) -> Window:
        problem, tau, variates = self.problem, self.problem.tau, self.shapes.size
        start, end = (low - 1) * tau, (high - 1) * tau
        rows, table = np.zeros(1, dtype=np.int64), problem.parameters.rows(start, end)
        if problem.parameters.vary:
            rows = np.repeat(np.arange(high - low) * tau, problem.p // problem.group)
        draws = Draws(False, 0, 0, 0, 0, 0)
        if variates:
            size, origin = problem.p * self.entries, start - start % 2
            half = (end - origin + 1) // 2 * variates * size
            pair = variates * problem.d
            blocks, stream = (self.pairs * pair, origin // 2 * pair), self.block.first << WORKER_BITS
            fill_in_pairs(self.noise[: 2 * half], *self.addresses, *map(np.uint64, (*blocks, stream, problem.seed)))
            visit = self.entries if problem.group < problem.p else 0
            draws = Draws(False, visit, half, variates * size, size if variates > 1 else 0, origin)
        return Window(low, high, draws, self.noise, self.order, rows, table)

    def _by_visit(self, low: int, high: int) -> Window:
        problem, block, tau, variates = self.problem, self.block, self.problem.tau, self.shapes.size
        order = np.empty(((high - low) * problem.p, block.lanes), dtype=np.int64)
        evaluations = np.empty_like(order)
        seed, tick = np.uint64(problem.seed), (low - 1) * problem.p
        draw_order(order, block.clocks, evaluations, seed, tick, block.first, problem.p, tau)
        rows = evaluations[:, 0] - evaluations[:, 0].min()
        table = problem.parameters.rows(int(evaluations[:, 0].min()), int(evaluations[:, 0].max()) + tau)
        draws = Draws(True, 0, 0, 0, 0, 0)
        if variates:
            one = variates * self.entries
            part = self.noise[: len(order) * tau * one]
            fill_by_visit(part, order, evaluations, self.shapes, problem.d, tau, block.first, seed)
            draws = Draws(True, tau * one, one, 2 * one, self.entries if variates > 1 else 0, 0)
        return Window(low, high, draws, self.noise, order, rows, table)
