"""Properties that hold for every value: linearity, symmetry of the workers, and one algorithm inside another."""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from easgd_theory import (
    ADMM,
    ALGORITHMS,
    DOWNPOUR,
    EAMSGD,
    EASGD,
    MDOWNPOUR,
    MSGD,
    SGD,
    DiLoCo,
    LocalSGD,
    Lookahead,
    RoundRobin,
    Synchronous,
    is_stable,
    iteration_map,
    spectral_radius,
    stability_condition,
)
from easgd_theory.visit import tick

SCHEDULES = st.sampled_from([Synchronous, RoundRobin])
KINDS = st.sampled_from(list(ALGORITHMS.values()))
WORKERS = st.integers(1, 5)
PERIODS = st.integers(1, 4)

rate = st.floats(0.01, 2.5)
fraction = st.floats(0, 0.99)
curvature = st.floats(-1, 3)
number = st.floats(-10, 10)


@st.composite
def algorithms(draw, kinds=KINDS):
    """A record with values, on both sides of stability."""
    kind = draw(kinds)
    ranges = {"eta": rate, "alpha": rate, "rho": rate, "nu": rate, "delta": fraction, "mu": fraction}
    options = {name: draw(st.booleans()) for name in kind.options()}
    return kind(**{name: draw(ranges[name]) for name in kind.parameters()}, **options)


@st.composite
def questions(draw, kinds=KINDS):
    """An algorithm and a schedule on which it is defined."""
    algorithm, schedule = draw(algorithms(kinds)), draw(SCHEDULES)
    p, tau = (1 if name in algorithm.requires_one else draw(free) for name, free in (("p", WORKERS), ("tau", PERIODS)))
    return algorithm, schedule(p=p, tau=tau)


def run_round(algorithm, schedule, state, gradient):
    """One round over plain floats, through `visit.tick`; the state is flat, in the order of the map."""
    rule = type(algorithm)
    k = algorithm.pack({name: getattr(algorithm, name) for name in rule.parameters()})
    p, m = schedule.p, len(rule.worker)
    workers = [rule.Worker(*state[i * m : (i + 1) * m]) for i in range(p)]
    center = rule.Center(*state[p * m :])
    for active in schedule.ticks():
        workers, center = tick(rule, k, schedule.tau, active, workers, center, gradient)
    return np.array([value for variables in (*workers, center) for value in variables])


def states(algorithm, schedule, draw):
    size = schedule.p * len(algorithm.worker) + len(algorithm.center)
    return np.array(draw(st.lists(number, min_size=size, max_size=size)))


def close(actual, desired, relative=1e-12):
    np.testing.assert_allclose(actual, desired, rtol=0, atol=relative * max(1, np.abs(desired).max()))


# A round over floats


@given(questions(), curvature, number, st.data())
def test_a_round_is_linear_and_is_its_map(question, h, scale, data):
    algorithm, schedule = question
    a, b = (states(algorithm, schedule, data.draw) for _ in range(2))
    go = partial(run_round, algorithm, schedule, gradient=lambda x: h * x)
    matrix = iteration_map(algorithm, schedule, h).matrix
    size = np.abs(matrix) @ (np.abs(a) * abs(scale) + np.abs(b))  # rounding is relative to what is added up
    steps = schedule.p * schedule.tau
    assert (np.abs(go(scale * a + b) - (scale * go(a) + go(b))) <= 1e-12 * steps * max(1, size.max())).all()
    assert (np.abs(go(b) - matrix @ b) <= 1e-12 * steps * max(1, size.max())).all()


@given(questions(), st.floats(0.1, 2), number, number, st.data())
def test_a_round_does_not_know_where_the_minimum_is(question, h, x0, y0, data):
    algorithm, schedule = question
    names = iteration_map(algorithm, schedule, h).state
    position = np.array([name.startswith("x_") for name in names], dtype=float)  # the rest are differences
    start = states(algorithm, schedule, data.draw)
    moved = run_round(algorithm, schedule, start + x0 * position, lambda x: h * (x - x0))
    here = run_round(algorithm, schedule, start, lambda x: h * x)
    size = 1e-11 * max(1, spectral_radius(algorithm, schedule, h)) * (1 + abs(x0) + np.abs(here).max())
    assert (np.abs(moved - x0 * position - here) <= size * schedule.p * schedule.tau * 50).all()


@given(questions(st.sampled_from([EASGD, EAMSGD, ADMM, DOWNPOUR, MDOWNPOUR, LocalSGD, DiLoCo])), st.data())
def test_a_synchronous_round_does_not_know_the_workers_names(question, data):
    algorithm, schedule = question[0], Synchronous(p=question[1].p, tau=question[1].tau)
    state = states(algorithm, schedule, data.draw)
    p, m = schedule.p, len(algorithm.worker)
    order = data.draw(st.permutations(range(p)))
    renamed = [i * m + j for i in order for j in range(m)] + list(range(p * m, len(state)))
    go = partial(run_round, algorithm, schedule, gradient=lambda x: np.sin(3 * x))  # any function
    close(go(state[renamed]), go(state)[renamed])


@given(questions(st.sampled_from([EASGD, EAMSGD, ADMM, DOWNPOUR, MDOWNPOUR, LocalSGD, DiLoCo])), curvature, st.data())
def test_a_round_robin_round_in_another_order_has_the_same_radius(question, h, data):
    algorithm, schedule = question[0], RoundRobin(p=question[1].p, tau=question[1].tau)
    steps = iteration_map(algorithm, schedule, h).steps
    matrix = np.eye(len(steps[0]))
    for i in data.draw(st.permutations(range(schedule.p))):
        matrix = steps[i] @ matrix
    # the same round with the workers renamed; a double eigenvalue is good to the root of the rounding
    radius = np.abs(np.linalg.eigvals(matrix)).max()
    expected = spectral_radius(algorithm, schedule, h)
    assert abs(radius - expected) <= 1e-7 * max(1, expected)


@given(questions(), curvature)
def test_tau_1_is_no_tau(question, h):
    algorithm, schedule = question
    kind = type(schedule)
    with_tau, without = kind(p=schedule.p, tau=1), kind(p=schedule.p)
    np.testing.assert_array_equal(
        iteration_map(algorithm, with_tau, h).matrix, iteration_map(algorithm, without, h).matrix
    )


@given(algorithms(), PERIODS, curvature)
def test_one_worker_is_the_same_on_both_schedules(algorithm, tau, h):
    tau = 1 if "tau" in algorithm.requires_one else tau
    synchronous, round_robin = (
        iteration_map(algorithm, kind(p=1, tau=tau), h).matrix for kind in (Synchronous, RoundRobin)
    )
    np.testing.assert_array_equal(synchronous, round_robin)
    assert spectral_radius(algorithm, Synchronous(p=1, tau=tau), h) == spectral_radius(
        algorithm, RoundRobin(p=1, tau=tau), h
    )


@given(questions(), curvature, st.floats(0.1, 10))
def test_only_the_products_with_the_curvature_matter(question, h, unit):
    algorithm, schedule = question
    values = {name: getattr(algorithm, name) for name in (*algorithm.parameters(), *algorithm.options())}
    values["eta"] *= unit
    if "rho" in values:
        values["rho"] /= unit
    found = spectral_radius(type(algorithm)(**values), schedule, h / unit)
    expected = spectral_radius(algorithm, schedule, h)
    assert abs(found - expected) <= 1e-7 * max(1, expected)  # a multiple eigenvalue again


@given(questions(), curvature)
def test_strictly_stable_is_stable_and_has_radius_below_1(question, h):
    radius = spectral_radius(*question, h)
    stable, strict = is_stable(*question, h), is_stable(*question, h, strict=True)
    assert strict == (radius < 1 - 1e-9)
    assert stable or not strict
    assert not stable or radius <= 1 + 1e-9


# One algorithm inside another


@given(rate, rate, SCHEDULES, WORKERS, PERIODS, curvature)
def test_eamsgd_without_momentum_is_easgd(eta, alpha, kind, p, tau, h):
    schedule = kind(p=p, tau=tau)
    eamsgd = iteration_map(EAMSGD(eta, alpha, 0.0), schedule, h).matrix
    easgd = iteration_map(EASGD(eta, alpha), schedule, h).matrix
    positions = [*range(0, 2 * p, 2), 2 * p]
    close(eamsgd[np.ix_(positions, positions)], easgd)
    assert abs(
        spectral_radius(EAMSGD(eta, alpha, 0.0), schedule, h) - spectral_radius(EASGD(eta, alpha), schedule, h)
    ) <= (1e-7 * max(1, spectral_radius(EASGD(eta, alpha), schedule, h)))


@given(rate, SCHEDULES, WORKERS, PERIODS, curvature)
def test_without_a_pull_every_worker_is_sgd(eta, kind, p, tau, h):
    radius = spectral_radius(EASGD(eta, 0.0), kind(p=p, tau=tau), h)
    alone = spectral_radius(SGD(eta), Synchronous(p=1, tau=tau), h)
    assert abs(radius - max(1, alone)) <= 1e-12 * max(1, alone)


@given(rate, fraction, SCHEDULES, WORKERS, PERIODS, curvature)
def test_without_a_pull_every_worker_of_eamsgd_is_msgd(eta, delta, kind, p, tau, h):
    radius = spectral_radius(EAMSGD(eta, 0.0, delta), kind(p=p, tau=tau), h)
    alone = spectral_radius(MSGD(eta, delta), Synchronous(p=1, tau=tau), h)
    assert abs(radius - max(1, alone)) <= 1e-7 * max(1, alone)


@given(rate, fraction, SCHEDULES, curvature)
def test_mdownpour_in_look_ahead_form_alone_is_msgd(eta, delta, kind, h):
    matrix = iteration_map(MDOWNPOUR(eta, delta, nesterov=True), kind(p=1), h).matrix
    msgd = iteration_map(MSGD(eta, delta), kind(p=1), h).matrix
    # its polynomial is that of MSGD times z^2: the worker's variables are functions of the center's
    for z in (1.3, -0.7 + 0.9j, 2.1j):
        ours, theirs = (np.linalg.det(z * np.eye(len(m)) - m) for m in (matrix, msgd))
        assert abs(ours - z**2 * theirs) <= 1e-11 * (1 + abs(z)) ** 4 * (1 + abs(eta * h)) ** 2


@given(rate, fraction, number, st.lists(number, min_size=8, max_size=8))
def test_mdownpour_in_look_ahead_form_alone_is_msgds_look_ahead_sequence(eta, delta, start, slopes):
    k = MDOWNPOUR(nesterov=True).pack({"eta": eta, "delta": delta})
    x, v = start, 0.0
    workers, center = [MDOWNPOUR.Worker(start, slopes[0])], MDOWNPOUR.Center(start, 0.0)
    for here, following in pairwise(slopes):  # gradients of any function, one after another
        workers, center = tick(MDOWNPOUR, k, 1, [0], workers, center, lambda _, g=following: g)
        v = delta * v - eta * here
        x = x + v
        assert abs(center.x - (x + delta * v)) <= 1e-12 * (1 + abs(x) + abs(v)) * 100


@given(rate, WORKERS, PERIODS, curvature)
def test_local_sgd_round_robin_is_downpour(eta, p, tau, h):
    schedule = RoundRobin(p=p, tau=tau)
    local, downpour = (iteration_map(kind(eta), schedule, h).matrix for kind in (LocalSGD, DOWNPOUR))
    np.testing.assert_array_equal(local, downpour)


@given(rate, SCHEDULES, WORKERS, PERIODS, curvature)
def test_diloco_with_a_plain_outer_step_is_local_sgd(eta, kind, p, tau, h):
    schedule = kind(p=p, tau=tau)
    diloco = iteration_map(DiLoCo(eta, nu=1.0, mu=0.0), schedule, h).matrix
    close(diloco[:-1, :-1], iteration_map(LocalSGD(eta), schedule, h).matrix)
    assert not diloco[:-1, -1].any()  # the momentum is not read


@given(rate, rate, SCHEDULES, PERIODS, curvature)
def test_lookahead_is_diloco_without_momentum_alone(eta, alpha, kind, tau, h):
    schedule = kind(p=1, tau=tau)
    diloco = iteration_map(DiLoCo(eta, nu=alpha, mu=0.0), schedule, h).matrix
    close(diloco[:-1, :-1], iteration_map(Lookahead(eta, alpha), schedule, h).matrix)


@given(rate, WORKERS, PERIODS, st.floats(0, 2))
def test_synchronous_local_sgd_does_not_depend_on_p(eta, p, tau, h):
    found = spectral_radius(LocalSGD(eta), Synchronous(p=p, tau=tau), h)
    expected = abs(1 - eta * h) ** tau
    assert abs(found - expected) <= 1e-7 * max(1, expected)  # beside it the map has a nilpotent block


@given(rate, WORKERS, st.floats(0, 2))
def test_synchronous_downpour_acts_with_p_times_the_rate(eta, p, h):
    found = spectral_radius(DOWNPOUR(eta), Synchronous(p=p), h)
    expected = abs(1 - p * eta * h)
    assert abs(found - expected) <= 1e-7 * max(1, expected)


@given(rate, fraction, WORKERS, st.floats(0, 2))
def test_synchronous_mdownpour_acts_with_p_times_the_rate(eta, delta, p, h):
    found = spectral_radius(MDOWNPOUR(eta, delta), Synchronous(p=p), h)
    expected = spectral_radius(MDOWNPOUR(p * eta, delta), Synchronous(p=1), h)
    assert abs(found - expected) <= 1e-7 * max(1, expected)


@given(rate, rate, WORKERS, PERIODS)
def test_the_easgd_condition_does_not_depend_on_p_except_through_what_is_exact(eta, alpha, p, tau):
    for_all = stability_condition(EASGD, RoundRobin(tau=tau)).holds(eta=eta, alpha=alpha)
    assert not for_all or spectral_radius(EASGD(eta, alpha), RoundRobin(p=p, tau=tau)) <= 1 + 1e-7


# Momentum is elastic averaging with a negative rate: RESULTS.md, R8


def elastic(x, center, eta, alpha, beta, gradient):
    """One worker, with a rate of its own for the center: eqs. 5 and 6 with alpha and beta apart."""
    return x - eta * gradient(x) - alpha * (x - center), center + beta * (x - center)


def test_r8_heavy_ball_is_easgd_with_a_negative_rate():
    eta, delta = 0.05, 0.8
    before, x = 1.3, 1.3
    worker, center = 1.3, 1.3
    for _ in range(60):
        before, x = x, x - eta * double_well(x) + delta * (x - before)
        worker, center = elastic(worker, center, eta, -delta, 1.0, double_well)
        assert (worker, center) == pytest.approx((x, before), rel=1e-12, abs=1e-12)


def test_r8_nesterov_is_easgd_with_a_negative_rate():
    eta, delta = 0.05, 0.8
    x, v = 1.3, 0.0
    worker, center = 1.3, 1.3
    for _ in range(60):
        v = delta * v - eta * double_well(x + delta * v)
        x = x + v
        worker, center = elastic(
            worker, center, (1 + delta) * eta, -(delta**2) / (1 + delta), 1 / (1 + delta), double_well
        )
        assert worker == pytest.approx(x + delta * v, rel=1e-12, abs=1e-12)


def double_well(x):
    """Gradient of (1 - x^2)^2 / 4, with a wiggle: far from quadratic."""
    return x**3 - x + 0.3 * math.sin(5 * x)
