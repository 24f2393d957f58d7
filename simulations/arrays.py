"""Loops over arrays that have nothing to do with any rule: compiled once, and kept on disk."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

LIMIT = 1e150
"""A variable beyond this has diverged; its square is still a number."""

U = np.uint64  # an index that numba need not ask whether it is negative: else a loop is no vector loop

_compiled = njit(cache=True, nogil=True, error_model="numpy")
_inlined = njit(cache=True, nogil=True, error_model="numpy", forceinline=True)  # where calling takes longer than doing


class Seen(NamedTuple):
    """Where a block's part of the record is, and what is written there.

    Its first round, its first replica and how many; the first columns of the workers' mean, their spread, the loss and
    all the workers' variables, or -1; and which of these variables is x. Here, beside the loops that take it: numba
    keeps them as long as this file is what it is.
    """

    first: int
    lane: int
    lanes: int
    mean: int
    spread: int
    loss: int
    workers: int
    x: int


@_inlined
def copy(source, first, target):
    """As many elements of each variable as the target has, from the first on."""
    for v in range(target.shape[0]):
        for e in range(target.shape[1]):
            target[v, e] = source[v, np.uint64(first) + np.uint64(e)]


@_inlined
def place(source, first, target):
    """The reverse of `copy`."""
    for v in range(source.shape[0]):
        for e in range(source.shape[1]):
            target[v, np.uint64(first) + np.uint64(e)] = source[v, e]


@_compiled
def find(order, q, where):
    """Where the elements of the one worker that visits lie among all; each lane may have another visitor."""
    lanes = order.shape[1]
    for j in range(where.size // lanes):
        for r in range(lanes):
            where[j * lanes + r] = order[q, r] * where.size + j * lanes + r


@_compiled
def fetch(workers, where, new):
    """The variables of the visitor."""
    for v in range(new.shape[0]):
        for e in range(where.size):
            new[v, e] = workers[v, where[e]]


@_compiled
def put_back(new, where, workers):
    """The reverse of `fetch`."""
    for v in range(new.shape[0]):
        for e in range(where.size):
            workers[v, where[e]] = new[v, e]


@_inlined
def beyond(values):
    """How many values are beyond the limit, or no numbers."""
    count = 0
    for v in range(values.shape[0]):
        for e in range(values.shape[1]):
            count += not abs(values[v, e]) <= LIMIT
    return count


@_compiled
def count_events(order, events, numbers):
    """Number the events of each worker, in the order given; `events` holds how many there were before."""
    for q in range(order.size):
        numbers[q] = events[order[q]]
        events[order[q]] += 1


@_compiled
def delays(order, pulls, pushes, pushed, seen, per_round, out):
    """How many messages of others a worker's message finds absorbed since it last pulled: mean and maximum by round.

    Parameters
    ----------
    order : int array, shape (events,)
    pulls, pushes : bool arrays, shape (events,)
        What an event is; both, in an atomic exchange, where the pull counts for the next message.
    pushed : int
        Messages absorbed before.
    seen : int array, shape (p,)
        Messages absorbed when a worker last pulled; brought up to date.
    out : float array, shape (rounds, 2)
        Filled; nan where nothing was absorbed.
    """
    for t in range(out.shape[0]):
        total, largest, count = 0, 0, 0
        for q in range(t * per_round, (t + 1) * per_round):
            if pushes[q]:
                delay = pushed - seen[order[q]]
                total, largest, count, pushed = total + delay, max(largest, delay), count + 1, pushed + 1
            if pulls[q]:
                seen[order[q]] = pushed
        out[t, 0] = total / count if count else np.nan
        out[t, 1] = largest if count else np.nan


@_inlined
def mean_of(values, first, step, count):
    """Mean of `count` values: from `first` on, `step` apart."""
    total, q = 0.0, U(first)
    for _ in range(count):
        total += values[q]
        q += U(step)
    return total / count


@_inlined
def squares_of(values, first, step, count, centers):
    """Sum of the squares of such values less the centers, which are taken again and again."""
    total, q, e = 0.0, U(first), U(first)
    for _ in range(count):
        total += (values[q] - centers[e]) ** 2
        q += U(step)
        e = e + U(step) if e + U(step) < U(centers.size) else U(first)
    return total


@_inlined
def observe(row, workers, iterate, record, seen):
    """Write what is seen of the iterate and of the workers into a row of the record; of the loss nothing."""
    out = record[row]
    write(iterate, out, 0, seen)
    if seen.mean >= 0:
        write_mean(workers[seen.x], iterate.size, out, seen)
    if seen.spread >= 0:
        write_spread(workers[seen.x], iterate, out, seen)
    if seen.workers >= 0:
        for v in range(workers.shape[0]):
            write(workers[v], out, seen.workers + v * (workers.shape[1] // seen.lanes), seen)


@_compiled
def write(values, out, column, seen):
    """Values into the columns from `column` on, shape (columns, replicas); of an entry the lane is the last index."""
    e = U(0)
    for j in range(values.size // seen.lanes):
        for r in range(seen.lanes):
            out[column + j, U(seen.lane) + U(r)] = values[e + U(r)]
        e += U(seen.lanes)


@_compiled
def write_mean(x, entries, out, seen):
    """Means over the workers of the variable x, shape (workers * entries,); the longer axis is the inner loop."""
    p, lane, lanes, e = x.size // entries, U(seen.lane), seen.lanes, U(0)
    for j in range(entries // lanes):
        row = out[seen.mean + j]
        if entries < p:
            for r in range(lanes):
                row[lane + U(r)] = mean_of(x, e + U(r), entries, p)
        else:
            for r in range(lanes):
                row[lane + U(r)] = 0.0
            for i in range(p):
                q = U(i) * U(entries) + e
                for r in range(lanes):
                    row[lane + U(r)] += x[q + U(r)]
            for r in range(lanes):
                row[lane + U(r)] /= p
        e += U(lanes)


@_compiled
def write_spread(x, centers, out, seen):
    """The mean over the workers of the squared distance of x from the centers, shape (entries,)."""
    p, lane, lanes, row = x.size // centers.size, U(seen.lane), seen.lanes, out[seen.spread]
    if lanes < p:
        for r in range(lanes):
            row[lane + U(r)] = squares_of(x, r, lanes, x.size // lanes, centers) / p
    else:
        for r in range(lanes):
            row[lane + U(r)] = 0.0
        for n in range(x.size // lanes):
            q = U(n) * U(lanes)
            e = q % U(centers.size)
            for r in range(lanes):
                row[lane + U(r)] += (x[q + U(r)] - centers[e + U(r)]) ** 2
        for r in range(lanes):
            row[lane + U(r)] /= p


@_compiled
def moments_over_lanes(record, count, mean, square):
    """Welford's sums over the last axis of a record, without nan."""
    for t in range(record.shape[0]):
        for i in range(record.shape[1]):
            values = record[t, i]
            total, number = 0.0, 0
            for r in range(values.size):
                if values[r] == values[r]:
                    total += values[r]
                    number += 1
            if number:
                middle = total / number
                deviation = 0.0
                for r in range(values.size):
                    if values[r] == values[r]:
                        deviation += (values[r] - middle) ** 2
                count[t, i], mean[t, i], square[t, i] = number, middle, deviation


@_compiled
def merge_moments(count, mean, square, more_count, more_mean, more_square):
    """Take more values into the sums (Chan, Golub, LeVeque 1983)."""
    for t in range(count.shape[0]):
        for i in range(count.shape[1]):
            total = count[t, i] + more_count[t, i]
            if more_count[t, i] > 0.0:
                step = more_mean[t, i] - mean[t, i]
                share = more_count[t, i] / total
                square[t, i] += more_square[t, i] + step * (count[t, i] * share) * step  # 0 where there was nothing
                mean[t, i] += step * share
                count[t, i] = total
