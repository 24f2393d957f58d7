"""Times of the certified radius, and of what one would use in its place: `make benchmark`, docs/benchmarks.md."""

import tracemalloc
from statistics import median
from time import perf_counter, process_time

import numpy as np
import pytest
from spectra import certified_radius, dense_radius, grid, polynomial_radius, sparse_radius
from spectra_count import EVALUATIONS, calls_per_point, coefficients, compiled_evaluations, operations_of_newton

from easgd_theory import RoundRobin, delay, spectrum

SIDES = {3: 256, 8: 96, 64: 16, 1000: 64, 10**6: 64}  # at p = 3 a smaller grid would get dense eigenvalues
AGREE = 1e-8  # relative to max(1, radius)
PATIENCE = 5.0  # seconds that `eigs` may take for a point


@pytest.fixture(autouse=True)
def one_thread(benchmark):
    """More processor time than time has passed means more than one thread."""
    wall, busy = perf_counter(), process_time()
    yield
    wall, busy = perf_counter() - wall, process_time() - busy
    assert busy <= 1.05 * wall + 0.05
    benchmark.extra_info["share of a core"] = busy / wall


def measure(benchmark, function, rule, p, *more, rounds, warmup=0):
    """Time function(rule, p, ...), say what it was of, and return what the last call returned."""
    benchmark.extra_info |= {"p": p, "points": rule.eta.size}
    return benchmark.pedantic(function, (rule, p, *more), rounds=rounds, iterations=1, warmup_rounds=warmup)


def weigh(benchmark, function, *arguments):
    """The most that NumPy and Python held at a time, in a call of its own: watching it slows it down."""
    tracemalloc.start()
    try:
        function(*arguments)
        benchmark.extra_info["megabytes"] = tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def compare(benchmark, rule, p, radius):
    """The largest difference to the certified radius, relative to max(1, radius)."""
    ours = certified_radius(rule, p)
    error = np.max(np.abs(radius - ours) / np.maximum(1.0, ours))
    benchmark.extra_info["error"] = error
    return error


@pytest.mark.parametrize("p", SIDES)
def test_certified(benchmark, p, monkeypatch):
    """The library's, through the pencil: dense eigenvalues serve where few are asked for, and where it fails."""
    rule = grid(SIDES[p])
    seen = {"pencil": 0, "dense": 0}

    def watched(name, function, points):
        def call(*arguments):
            seen[name] += points(*arguments)
            return function(*arguments)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(delay, "dominant_roots", watched("pencil", delay.dominant_roots, lambda pencils, p: len(pencils)))
        patch.setattr(spectrum, "_dense_growth", watched("dense", spectrum._dense_growth, lambda *a: a[2].h.size))
        assert spectrum.round_growth(rule, RoundRobin(p)).certified.all()
    assert seen["pencil"] == rule.eta.size, "another road than the pencil was taken"
    benchmark.extra_info["left to dense"] = seen["dense"]
    weigh(benchmark, certified_radius, rule, p)
    measure(benchmark, certified_radius, rule, p, rounds=15, warmup=1)


@pytest.mark.parametrize(("p", "rounds"), [(3, 3), (8, 5), (64, 3), (1000, 1)])
def test_dense(benchmark, p, rounds):
    """`numpy.linalg.eigvals` on the batched composed maps."""
    rule = grid(SIDES[p] if p < 1000 else 1)
    composing = []
    weigh(benchmark, dense_radius, rule, p)
    radius = measure(benchmark, dense_radius, rule, p, composing, rounds=rounds)
    benchmark.extra_info["composing"] = median(composing) / rule.eta.size
    assert compare(benchmark, rule, p, radius) <= AGREE


@pytest.mark.parametrize(("p", "side", "rounds"), [(3, 16, 5), (8, 16, 5), (64, 8, 3), (1000, 1, 1)])
def test_polynomial(benchmark, p, side, rounds):
    """`numpy.roots`, at fewer points: it takes them one by one."""
    rule = grid(side)
    weigh(benchmark, polynomial_radius, grid(1), p)
    radius = measure(benchmark, polynomial_radius, rule, p, rounds=rounds)
    assert compare(benchmark, rule, p, radius) <= AGREE


@pytest.mark.parametrize(
    ("p", "side", "k", "whole_round"),
    [
        (3, 4, 1, False),
        (8, 4, 1, False),
        (64, 4, 1, False),
        (64, 4, 40, False),
        (1000, 1, 1, False),
        (10**6, 1, 1, False),
        (8, 4, 1, True),
        (64, 4, 1, True),
        (1000, 2, 1, True),
    ],
)
def test_sparse(benchmark, p, side, k, whole_round):
    """`scipy.sparse.linalg.eigs`, and how often it is wrong: no assertion, that is what is asked."""
    rule = grid(side)
    weigh(benchmark, sparse_radius, grid(1), p, k, whole_round, 1.0)
    found = measure(benchmark, sparse_radius, rule, p, k, whole_round, PATIENCE, rounds=1)
    ours = certified_radius(rule, p)
    error = np.abs(found.radius - ours) / np.maximum(1.0, ours)
    given = np.isfinite(found.radius)
    benchmark.extra_info |= {
        "k": k,
        "map": "round" if whole_round else "tick",
        "right": int(np.sum(error <= AGREE)),
        "wrong": int(np.sum(error > AGREE)),
        "stopped": found.stopped,
        "none": int(np.sum(~given)) - found.stopped,
        "products": found.products,
        "error": error[given].max() if given.any() else None,
    }


@pytest.mark.parametrize("p", SIDES)
def test_floor(benchmark, p):
    """One evaluation of the pencil, and how many the certified radius takes."""
    rule = grid(SIDES[p])
    composing = []
    for _ in range(5):
        start = perf_counter()
        pencils = coefficients(rule, p)
        composing.append(perf_counter() - start)
    middle = pencils[len(pencils) // 2]
    evaluate = compiled_evaluations()
    benchmark.pedantic(evaluate, (middle, float(p), -0.1 + 1j), rounds=7, iterations=1, warmup_rounds=1)
    benchmark.extra_info |= {
        "p": p,
        "points": EVALUATIONS,
        "operations": operations_of_newton(middle, p),
        "composing": min(composing) / rule.eta.size,
        "calls": calls_per_point(pencils, p),
    }
