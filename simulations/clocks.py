"""When workers reach the center: loops that draw the events of a slab of time, worker by worker.

They call loops of another file, whose changes numba does not notice: `compilation.kept` keeps them on disk.
"""

from __future__ import annotations

from math import exp, log
from typing import NamedTuple

import numpy as np
from numba import njit

from simulations.streams import COMMUNICATION, COMPUTE, normals_of, stream_of, uniform, words_at

DETERMINISTIC, EXPONENTIAL, LOGNORMAL, PARETO = range(4)
NUMBER_BITS = 40  # of an event's code: the worker has the others
FULL = -1

_compiled = njit(nogil=True, error_model="numpy")
_TOGETHER = 512  # workers whose durations are drawn at a time


class Law(NamedTuple):
    """A distribution of durations, its kind being one of those above."""

    kind: int
    mean: float
    shape: float


class Course(NamedTuple):
    """How the events of a worker follow each other.

    Attributes
    ----------
    compute, trip : Law
    split : int
        1 if a visit is two events, else 0.
    steps : tuple of int
        Gradient steps between the two events of a visit, and after its last event.
    speeds : float array, shape (p,)
    begin : int array, shape (p + 1,), or (0,) where nobody pauses
        The pauses of worker i are those from begin[i] to begin[i + 1] - 1.
    starts, ends : float arrays
        Of the pauses.
    """

    compute: Law
    trip: Law
    split: int
    steps: tuple[int, int]
    speeds: np.ndarray
    begin: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


@_compiled
def durations(
    law: Law,
    purpose: np.uint64,
    seed: np.uint64,
    number: np.ndarray,
    stream: np.ndarray,
    bits: np.ndarray,
    out: np.ndarray,
) -> None:
    """The durations of these numbers in these streams."""
    if law.kind == DETERMINISTIC:
        out[:] = law.mean
        return
    words_at(number, stream, seed, purpose, bits)
    if law.kind == LOGNORMAL:
        normals_of(bits, number, stream, seed, purpose, out)
    for e in range(out.size):
        if law.kind == LOGNORMAL:
            out[e] = law.mean * exp(law.shape * out[e] - 0.5 * law.shape**2)
        elif law.kind == EXPONENTIAL:
            out[e] = -law.mean * log(uniform(bits[e]))
        else:
            scale = law.mean * (law.shape - 1.0) / law.shape
            out[e] = scale * exp(-log(uniform(bits[e])) / law.shape)


@_compiled
def finish(start: float, duration: float, worker: int, course: Course) -> float:
    """When a worker is done with what it begins at the time `start`, its pauses included."""
    end = start + duration
    if course.begin.size:
        for k in range(course.begin[worker], course.begin[worker + 1]):
            if start <= course.starts[k] <= end:
                end += course.ends[k] - course.starts[k]
    return end


@_compiled
def first_events(due: np.ndarray, replica: int, seed: np.uint64, course: Course) -> None:
    """When each worker reaches the center for the first time."""
    p = due.size
    number, stream, bits = np.zeros(p, np.uint64), np.empty(p, np.uint64), np.empty(p, np.uint64)
    for i in range(p):
        stream[i] = stream_of(replica, i)
    durations(course.trip, COMMUNICATION, seed, number, stream, bits, due)
    for i in range(p):
        due[i] = finish(0.0, due[i], i, course)


@_compiled
def draw_events(
    due: np.ndarray,
    events: np.ndarray,
    until: float,
    replica: int,
    seed: np.uint64,
    course: Course,
    times: np.ndarray,
    codes: np.ndarray,
) -> int:
    """All events before the time `until`, in no particular order; returns how many there are.

    It returns FULL where there are more than `times` has room for; then `due` and `events` are of no use any more.

    Parameters
    ----------
    due : float array, shape (p,)
        When each worker's next event is; brought up to `until`.
    events : int array, shape (p,)
        The number of that event among the worker's own; brought up to date.
    times : float array
    codes : uint64 array
        Filled: of an event its time, and the worker and the number in one word.
    """
    who, after = np.empty(_TOGETHER, np.int64), np.empty(_TOGETHER)
    number, stream = np.empty(_TOGETHER, np.uint64), np.empty(_TOGETHER, np.uint64)
    bits, taken = np.empty(_TOGETHER, np.uint64), np.empty(_TOGETHER)
    filled = 0
    for low in range(0, due.size, _TOGETHER):
        n = 0
        for i in range(low, min(low + _TOGETHER, due.size)):
            who[n] = i
            n += due[i] < until
        while n > 0:
            if filled + n > times.size:
                return FULL
            for e in range(n):
                i = who[e]
                times[filled + e], codes[filled + e] = due[i], np.uint64((i << NUMBER_BITS) | events[i])
                stream[e] = stream_of(replica, i)
            filled += n
            _compute(who[:n], events, seed, course, number[:n], stream[:n], bits[:n], taken[:n], after[:n])
            for e in range(n):
                number[e] = np.uint64(events[who[e]] + 1)
            durations(course.trip, COMMUNICATION, seed, number[:n], stream[:n], bits[:n], taken[:n])
            left = 0
            for e in range(n):
                i = who[e]
                due[i] = finish(due[i], after[e] + taken[e], i, course)
                events[i] += 1
                who[left] = i
                left += due[i] < until
            n = left
    return filled


@_compiled
def _compute(
    who: np.ndarray,
    events: np.ndarray,
    seed: np.uint64,
    course: Course,
    number: np.ndarray,
    stream: np.ndarray,
    bits: np.ndarray,
    taken: np.ndarray,
    total: np.ndarray,
) -> None:
    """How long each of these workers computes after its present event."""
    between, after = course.steps
    total[:] = 0.0
    for step in range(max(between, after)):
        for e in range(who.size):
            event = events[who[e]]
            done = between if event & course.split == course.split else 0  # is it the visit's last?
            number[e] = np.uint64((event >> course.split) * (between + after) + done + step)
        durations(course.compute, COMPUTE, seed, number, stream, bits, taken)
        for e in range(who.size):
            steps = after if events[who[e]] & course.split == course.split else between
            if step < steps:
                total[e] += taken[e] / course.speeds[who[e]]
