"""What is seen of a block: its record, row by row, nan from the round on at which a replica diverged."""

from __future__ import annotations

import numpy as np

from simulations.arrays import means, spreads
from simulations.problem import Problem

AT_START = np.array([[0.0, np.nan, np.nan]])
"""What `windows.Window.course` is for round 0."""


def note(
    problem: Problem,
    centers: np.ndarray,
    states: np.ndarray,
    kept: np.ndarray,
    course: np.ndarray,
    diverged: np.ndarray,
    record: np.ndarray,
    first: int,
) -> None:
    """Write the observables of some rounds into the record, whose rows begin with round `first`.

    Parameters
    ----------
    centers, states : ndarray
        As in `kernels.rounds`.
    kept : int ndarray
        Which of the worker's variables `states` holds.
    course : ndarray, shape (rounds, 3)
        As in `windows.Window`.
    diverged : int ndarray, shape (lanes,)
    """
    rounds, p, d, lanes, columns = len(centers), problem.p, problem.d, len(diverged), problem.columns
    center, workers = centers.reshape(rounds, d, lanes), states.reshape(rounds, len(kept), p, d, lanes)
    record[:, :d] = center
    if columns.time >= 0:
        record[:, columns.time] = course[:, :1]
    if columns.staleness >= 0:
        record[:, columns.staleness : columns.staleness + 2] = course[:, 1:, None]
    if columns.worker_mean >= 0 or columns.spread >= 0:
        x = list(kept).index(type(problem.algorithm).worker.index("x"))
        positions = np.ascontiguousarray(workers[:, x])
    if columns.worker_mean >= 0:
        mean = np.empty((rounds, d * lanes))
        means(positions.reshape(rounds, p, d * lanes), mean)
        record[:, columns.worker_mean : columns.worker_mean + d] = mean.reshape(rounds, d, lanes)
    if columns.spread >= 0:
        value = np.empty((rounds, lanes))
        spreads(positions, center, value)
        record[:, columns.spread] = value
    if columns.loss >= 0:
        value = np.empty((rounds, lanes))
        problem.loss(center, value, problem.pieces.data)
        record[:, columns.loss] = value
    if columns.workers >= 0:
        record[:, columns.workers :] = workers.reshape(rounds, -1, lanes)
    for lane in np.flatnonzero(diverged >= 0):
        record[max(diverged[lane] - first, 0) :, :, lane] = np.nan
