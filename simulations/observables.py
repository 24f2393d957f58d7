"""What is seen of a block: its record, row by row, nan from the round on at which a replica diverged."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulations.problem import Problem

AT_START = np.array([[0.0, np.nan, np.nan]])
"""What `windows.Window.course` is for round 0."""


_TOGETHER = 2**16  # coordinates of which the loss is found at a time


class Sheet(NamedTuple):
    """A block's part of a record: its rows begin with round `first`, the block's replicas with `lane`.

    The whole `record`, of shape (rounds, columns, replicas), is contiguous, as the compiled loops want it.
    """

    record: np.ndarray
    first: int
    lane: int
    lanes: int

    def part(self, low: int, high: int) -> np.ndarray:
        """The rows low, ..., high - 1 of the block; a view of shape (rounds, columns, lanes)."""
        return self.record[low - self.first : high - self.first, :, self.lane : self.lane + self.lanes]


def complete(problem: Problem, course: np.ndarray, diverged: np.ndarray, sheet: Sheet, low: int, high: int) -> None:
    """Write what remains of the rounds low, ..., high - 1: times, the loss, and who has diverged.

    Parameters
    ----------
    course : ndarray, shape (rounds, 3)
        As in `windows.Window`.
    diverged : int ndarray, shape (lanes,)
    """
    columns, rows = problem.columns, sheet.part(low, high)
    if columns.time >= 0:
        rows[:, columns.time] = course[:, :1]
    if columns.staleness >= 0:
        rows[:, columns.staleness : columns.staleness + 2] = course[:, 1:, None]
    if columns.loss >= 0 and (low == 0 or not problem.lone):  # whose kernel writes it itself
        together = max(1, _TOGETHER // (problem.d * sheet.lanes))
        for part in (rows[t : t + together] for t in range(0, len(rows), together)):
            # Rounds and lanes as one long axis, which is the inner loop.
            points = np.ascontiguousarray(part[:, : problem.d].transpose(1, 0, 2)).reshape(1, problem.d, -1)
            value = np.empty((1, points.shape[2]))
            with np.errstate(over="ignore"):  # as in `windows`
                problem.kernels.losses(points, value, problem.pieces.coefficients, problem.pieces.data)
            part[:, columns.loss] = value.reshape(len(part), sheet.lanes)
    if diverged.max() >= 0:
        for lane in np.flatnonzero(diverged >= 0):
            rows[max(diverged[lane] - low, 0) :, :, lane] = np.nan
