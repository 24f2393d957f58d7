"""How fast asynchronous runs are, by events: beside a loop over a heap in Python, and the floor of the random numbers.

    python benchmarks/events.py

An event is one worker's visit: EASGD with d = 1, tau = 1 and gradient noise, one replica (so one thread), lognormal
times of steps and trips. The floor draws the same numbers, two times and one normal an event, in the same blocks, and
does nothing else. Times are medians of calls that take turns.
"""

import heapq
import time

import numpy as np

from easgd_theory import EASGD, Asynchronous, Lognormal
from simulations import Quadratic, simulate
from simulations.arrivals import law_of
from simulations.clocks import durations
from simulations.streams import COMMUNICATION, COMPUTE, NOISE, normals_of, words_at

ETA, H, SIGMA = 0.1, 1.0, 1.0
STEP, TRIP = Lognormal(1.0, shape=0.5), Lognormal(0.1, shape=0.5)
WORKERS = (1000, 10_000, 100_000, 1_000_000)
EVENTS = 4_000_000
REPEATS = 5


def ours(p, rounds):
    """The simulator, as a user calls it."""
    schedule = Asynchronous(p, compute=STEP, communication=TRIP)
    return simulate(EASGD(ETA, 0.1 / p), schedule, Quadratic(H, SIGMA), rounds=rounds)


def heap_loop(p, rounds):
    """What one writes without it: the standard library's heap, random numbers drawn many at a time."""
    rng, alpha = np.random.default_rng(0), 0.1 / p
    mean, shape = np.log([STEP.mean, TRIP.mean]) - 0.5 * STEP.shape**2, STEP.shape
    x, center, record = [1.0] * p, 1.0, [1.0]
    queue = [(now, i) for i, now in enumerate(rng.lognormal(mean[1], shape, p).tolist())]
    heapq.heapify(queue)
    for _ in range(rounds):
        noise = (SIGMA * rng.standard_normal(p)).tolist()
        further = (rng.lognormal(mean[0], shape, p) + rng.lognormal(mean[1], shape, p)).tolist()
        for xi, duration in zip(noise, further, strict=True):
            now, i = queue[0]
            elastic = alpha * (x[i] - center)
            x[i] -= ETA * (H * x[i] + xi) + elastic
            center += elastic
            heapq.heapreplace(queue, (now + duration, i))
        record.append(center)
    return record


def floor(p, rounds):
    """The same random numbers."""
    size, seed = 512, np.uint64(0)
    stream, bits, out = np.arange(size, dtype=np.uint64), np.empty(size, np.uint64), np.empty(size)
    step, trip = law_of(STEP), law_of(TRIP)
    for block in range(p * rounds // size):
        number = np.full(size, block, np.uint64)
        durations(step, COMPUTE, seed, number, stream, bits, out)
        durations(trip, COMMUNICATION, seed, number, stream, bits, out)
        words_at(number, stream, seed, NOISE, bits)
        normals_of(bits, number, stream, seed, NOISE, out)


def seconds(function, *arguments):
    """Of one call."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def main():
    """Print medians and ratios."""
    print(f"{'p':>9} {'events/s':>12} {'ns an event':>12} {'floor':>8} {'heapq':>8} {'to p = 1000':>12}")
    first = None
    for p in WORKERS:
        rounds = max(2, EVENTS // p)
        ours(p, 2), floor(p, 2)  # compiled
        times = np.array([(seconds(ours, p, rounds), seconds(floor, p, rounds)) for _ in range(REPEATS)])
        event, bare = 1e9 * np.median(times, axis=0) / (p * rounds)
        looped = 1e9 * seconds(heap_loop, p, max(1, rounds // 8)) / (p * max(1, rounds // 8))
        first = first or event
        print(f"{p:9} {1e9 / event:12,.0f} {event:12.1f} {bare:8.1f} {looped:8.0f} {event / first:12.2f}")


if __name__ == "__main__":
    main()
