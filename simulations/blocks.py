"""A block of replicas at work: the room of its kernels, its windows of rounds one after the other."""

from __future__ import annotations

import numpy as np
from numba.core.errors import NumbaError

from simulations.arrays import LIMIT, Seen, beyond, observe
from simulations.observables import AT_START, Sheet, complete
from simulations.problem import Problem
from simulations.state import Block
from simulations.windows import Source, Window, everyone


class Room:
    """Arrays that a block's kernels work in; their contents are of no interest between the windows."""

    def __init__(self, problem: Problem, block: Block, sheet: Sheet) -> None:
        self.problem, self.block, self.record = problem, block, sheet.record
        rule, group, entries = type(problem.algorithm), problem.group, problem.d * block.lanes
        worker, size = len(rule.worker), group * entries
        coefficients = problem.pieces.coefficients
        given = np.empty((group, problem.d, block.lanes))
        if problem.pieces.gradient is None:  # else they are found in the course of it
            given[:] = coefficients[:, None]
        self.old, self.scratch = np.empty((worker, size)), np.empty((worker, entries))
        self.total, self.others, self.everyone = np.empty(entries), np.zeros(entries), np.empty(entries)
        self.points, self.given, self.where = np.empty(size), given.ravel(), np.empty(entries, dtype=np.int64)
        self.who = everyone(group, block.lanes)
        columns, iterate = problem.columns, rule.center.index("x") if rule.center else problem.x
        asked = (columns.worker_mean, columns.spread, columns.loss, columns.workers)
        self.seen = Seen(sheet.first, sheet.lane, sheet.lanes, *asked, problem.x)
        self.iterate = (block.center if rule.center else block.workers)[iterate]

    def go(self, window: Window, first: int, lost: int) -> int:
        """The rounds of a window from `first` on; returns what `kernels.rounds` does."""
        problem, state = self.problem, (self.block.workers, self.block.center)
        scalars, span = problem.pieces.scalars, (first, window.high, lost)
        sight = (self.iterate, self.record, self.seen)
        if problem.at_once:
            drawn = (window.table, window.noise, window.addresses, scalars, problem.window)
            if problem.lone:
                return problem.kernels.rounds_of_one(*state, self.given, *drawn, *span, *sight)
            return problem.kernels.rounds_at_once(*state, self.total, self.others, self.given, *drawn, *span, *sight)
        if problem.split:
            return problem.kernels.split_rounds(
                *state, self.block.known, self.block.pulled, self.total, self.others, self.everyone, self.points,
                self.given, self.who, window.order, window.rows, window.table, window.draws, window.noise, scalars,
                problem.pieces.data, problem.steps, problem.phases, window.slots, window.low, *span, *sight,
            )  # fmt: skip
        return problem.kernels.rounds(
            *state, self.old, self.scratch, self.total, self.others, self.everyone, self.points, self.given, self.who,
            self.where, window.order, window.rows, window.table, window.draws, window.noise, scalars,
            problem.pieces.data, problem.steps, problem.phases, window.low, *span, *sight,
        )  # fmt: skip


def run(problem: Problem, block: Block, first: int, last: int, sheet: Sheet) -> None:
    """Rounds first, ..., last - 1 of a block, in place; round 0 is the start, which is only recorded."""
    room, source = Room(problem, block, sheet), Source(problem, block)
    if first == 0:
        if beyond(block.workers) + beyond(block.center):
            park(block, 0)
        observe(-sheet.first, block.workers, room.iterate, sheet.record, room.seen)
        complete(problem, AT_START, block.diverged, sheet, 0, 1)
    reached = max(first, 1)
    while reached < last and block.ended.max() < 0:
        low, asked = reached, last if problem.at_once else min(reached + problem.window, last)
        window = source.draw(low, asked)
        advance(problem, block, room, window)
        reached = window.high
        if reached < asked:
            block.ended[:] = reached
        if reached > low:
            complete(problem, window.course, block.diverged, sheet, low, reached)
    sheet.part(reached, last)[:] = np.nan  # nobody was left
    source.finish()


def advance(problem: Problem, block: Block, room: Room, window: Window) -> None:
    """The rounds of one window; whenever replicas have left the limit, they are parked before it goes on."""
    reached = window.low
    while reached < window.high:
        lost = int(np.count_nonzero(block.diverged >= 0)) * (block.workers.size + block.center.size) // block.lanes
        try:
            with np.errstate(over="ignore"):  # as in `windows`
                stopped = room.go(window, reached, lost)
        except NumbaError as error:
            name = type(problem.algorithm).__name__
            raise TypeError(f"{name} must be plain arithmetic that numba compiles to be simulated") from error
        if stopped < 0:
            park(block, -stopped)
        reached = abs(stopped) + (stopped < 0)


def park(block: Block, t: int) -> None:
    """Note the round at which replicas left the limit, and keep them at nan from there on."""
    lost = np.zeros(block.lanes, dtype=bool)
    for values in (block.workers, block.center):
        with np.errstate(invalid="ignore"):
            lost |= ~(np.abs(values) <= LIMIT).reshape(-1, block.lanes).all(axis=0)
    block.diverged[lost & (block.diverged < 0)] = t
    for values in (block.workers, block.center):
        values.reshape(-1, block.lanes)[:, lost] = np.nan
