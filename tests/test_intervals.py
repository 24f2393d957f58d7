"""No stable interval is missed: Taylor models, proofs over intervals of a parameter, and cases made to hide an edge."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easgd_theory import (
    ADMM,
    DOWNPOUR,
    EAMSGD,
    EASGD,
    MDOWNPOUR,
    MSGD,
    SGD,
    DiLoCo,
    RoundRobin,
    Synchronous,
    critical_value,
    iteration_map,
    proofs,
    spectral_radius,
    stable_intervals,
)
from easgd_theory.intervals import TaylorModel
from easgd_theory.line import Line

SIGMA = 1e-12

# Taylor models enclose


OPERATIONS = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / (2 + y * y),
    "complement": lambda x, y: 1 - x,
    "square": lambda x, y: (x + y) ** 2,
    "inverse": lambda x, y: (3 + x * x) ** -1,
}
PROGRAMS = st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 20), st.integers(0, 20)), max_size=7)


def run(program, values):
    """All results of a program whose every step takes two of the earlier values."""
    results = list(values)
    for name, i, j in program:
        results.append(OPERATIONS[name](results[i % len(results)], results[j % len(results)]))
    return results


@settings(max_examples=200, deadline=None)
@given(
    program=PROGRAMS,
    exponent=st.floats(-12, 2),
    width=st.floats(-6, -0.3),
    constant=st.floats(-3, 3).filter(lambda x: x == 0 or abs(x) > 1e-9),  # underflow is set aside
    t=st.fractions(-1, 1),
)
def test_a_model_holds_the_exact_value(program, exponent, width, constant, t):
    low = 10.0**exponent
    model = TaylorModel.over(np.array([low]), np.array([low * (1 + 10.0**width)]))
    exact = sum(Fraction(float(a)) * t**k for k, a in enumerate(model.terms[0]))
    models = run(program, [model, TaylorModel.constant([constant])])
    values = run(program, [exact, Fraction(constant)])
    for found, value in zip(models, values, strict=True):
        polynomial = sum(Fraction(float(a)) * t**k for k, a in enumerate(found.terms[0])) + Fraction(
            float(found.low[0])
        )
        assert abs(polynomial - value) <= Fraction(float(found.radius[0]))
        least, largest = found.bounds()
        assert Fraction(float(least[0])) <= value <= Fraction(float(largest[0]))


def test_a_model_keeps_what_cancels():
    x = TaylorModel.over(np.array([1e-9]), np.array([1.01e-9]))
    assert ((1 - (1 - x)) / x).bounds()[0] > 1 - 1e-12
    alpha = TaylorModel.over(np.array([0.3]), np.array([0.32]))
    low, high = ((1e-9 + alpha) * alpha - alpha * alpha).bounds()
    assert 2.9e-10 < low < high < 3.3e-10


def test_nothing_is_known_where_a_divisor_may_vanish():
    x = TaylorModel.over(np.array([-1.0, 1.0]), np.array([1.0, 1.1]))
    assert np.isfinite((1 / x).radius).tolist() == [False, True]


# What is proved agrees with dense eigenvalues


LINES = [
    pytest.param("eta", ADMM(rho=2.5), RoundRobin(p=3), 1.0, (1e-4, 1e2), id="admm-eta"),
    pytest.param("rho", ADMM(eta=0.3), RoundRobin(p=4), -0.5, (1e-3, 1e2), id="admm-rho"),
    pytest.param("alpha", EASGD(eta=0.8), RoundRobin(p=4, tau=3), 1.0, (1e-3, 10), id="easgd-alpha"),
    pytest.param("eta", EASGD(alpha=0.3), RoundRobin(p=9), 1.0, (1e-3, 10), id="easgd-eta"),
    pytest.param("h", EAMSGD(eta=0.4, alpha=0.3, delta=0.9), RoundRobin(p=3, tau=2), None, (1e-2, 30), id="eamsgd-h"),
    pytest.param("delta", EAMSGD(eta=0.9, alpha=0.8), RoundRobin(p=3), 1.0, (1e-2, 30), id="eamsgd-delta"),
    pytest.param("eta", DOWNPOUR(), RoundRobin(p=5, tau=2), 1.0, (1e-3, 5), id="downpour"),
    pytest.param("delta", MDOWNPOUR(eta=0.1), RoundRobin(p=3), 1.0, (1e-2, 10), id="mdownpour"),
    pytest.param("eta", DiLoCo(nu=0.7, mu=0.5), Synchronous(p=3, tau=2), 1.0, (1e-3, 10), id="diloco-synchronous"),
    pytest.param("alpha", EASGD(eta=0.8), Synchronous(p=4), 1.0, (1e-3, 10), id="easgd-synchronous"),
]


def eigenvalues(name, algorithm, schedule, h, value):
    values = {n: getattr(algorithm, n) for n in algorithm.parameters()} | {name: value}
    curvature = values.pop("h", h)
    return np.linalg.eigvals(iteration_map(type(algorithm)(**values), schedule, curvature).matrix)


@pytest.mark.parametrize(("name", "algorithm", "schedule", "h", "between"), LINES)
def test_what_is_proved_is_so_at_every_parameter_tried(name, algorithm, schedule, h, between):
    rng = np.random.default_rng(len(name) + schedule.p)
    low = np.exp(rng.uniform(*np.log(between), 300))
    high = low * (1 + 10.0 ** rng.uniform(-6, -0.5, 300))
    line = Line(name, algorithm, schedule, h)
    unchanged, unstable = line.unchanged(low, high, SIGMA), line.unstable(low, high)
    assert np.count_nonzero(unchanged) > 50
    assert np.count_nonzero(unstable) > 20
    for k in np.flatnonzero(unchanged | unstable):
        tried = [low[k], high[k], *rng.uniform(low[k], high[k], 3)]
        moduli = [np.abs(eigenvalues(name, algorithm, schedule, h, value)) for value in tried]
        if unchanged[k] and all(np.abs(m - 1).min() > 1e-6 for m in moduli):  # else dense eigenvalues are in doubt
            assert len({np.count_nonzero(m > 1) for m in moduli}) == 1
        if unstable[k]:
            assert min(m.max() for m in moduli) > 1 - 1e-6


def test_an_interval_with_an_edge_is_never_proved():
    rng = np.random.default_rng(0)
    line = Line("alpha", EASGD(eta=1.0), RoundRobin(p=5), 1.0)
    edge = 2 / 3
    low = edge * (1 - 10.0 ** rng.uniform(-11, -0.5, 500))
    high = edge * (1 + 10.0 ** rng.uniform(-11, -0.5, 500)) + 1e-11
    assert not line.unchanged(low, high, SIGMA).any()
    assert not line.unstable(low, high).any()


@pytest.mark.parametrize("p", [1000, 10**6])
def test_the_proof_costs_as_much_for_a_million_workers(p):
    assert Line("eta", EASGD(alpha=0.3), RoundRobin(p=p), 1.0).unchanged(np.array([0.1]), np.array([0.105]), SIGMA)
    assert Line("eta", ADMM(rho=2.5), RoundRobin(p=p), 1.0).unchanged(np.array([0.1]), np.array([0.105]), SIGMA)
    assert Line("alpha", EASGD(eta=1.0), RoundRobin(p=p), 1.0).unstable(np.array([3.0]), np.array([3.001]))
    edge = 2 * math.sin(math.pi / (2 * (2 * p - 1)))
    line = Line("eta", DOWNPOUR(), RoundRobin(p=p), 1.0)
    ends = np.array([edge * (1 - 1e-5)]), np.array([edge * (1 - 1e-6)])
    assert line.unchanged(*ends, SIGMA)
    assert line.unstable(np.array([edge * (1 + 1e-6)]), np.array([edge * (1 + 2e-6)]))


@pytest.mark.parametrize("p", [10, 1000, 10**6])
def test_downpours_critical_rate_to_rounding(p):
    exact = 2 * math.sin(math.pi / (2 * (2 * p - 1)))
    assert critical_value("eta", DOWNPOUR(), RoundRobin(p=p)) == pytest.approx(exact, rel=1e-11)


# Cases made to hide an edge from samples


def lorentzian(x, width):
    return 1 / (1 + (x / width) * (x / width))


class TwoPeaks(EASGD):
    """Its rate is positive only in two windows of relative width 1e-4 between two samples, and falls on either side."""

    @staticmethod
    def visit(w, c, k, g):
        peaks = lorentzian(k.eta - 1.02, 3e-5) + lorentzian(k.eta - 1.035, 3e-5)
        return (w.x - (2 * peaks - k.eta) * g - k.alpha * (w.x - c.x),)


class Notch(EASGD):
    """Its rate is negative only in one window of relative width 1e-4, between two samples."""

    @staticmethod
    def visit(w, c, k, g):
        return (w.x - k.eta * (0.01 - 0.5 * lorentzian(k.eta - 1.03, 1e-5)) * g - k.alpha * (w.x - c.x),)


@pytest.mark.parametrize("schedule", [RoundRobin(p=3), RoundRobin(p=1000), Synchronous(p=3)], ids=str)
def test_windows_between_two_samples_are_found(schedule):
    found = stable_intervals("eta", TwoPeaks(alpha=0.3), schedule)
    assert len(found) == 3
    assert found[0] == (0, pytest.approx(4 * 3e-5**2, rel=0.1))  # the peaks' tails
    for (low, high), center in zip(found[1:], (1.02, 1.035), strict=True):
        assert low < center < high
        assert high - low == pytest.approx(2 * 3e-5 * math.sqrt(2 / center - 1), rel=1e-3)


@pytest.mark.parametrize("schedule", [RoundRobin(p=3), RoundRobin(p=1000), Synchronous(p=3)], ids=str)
def test_a_notch_between_two_samples_is_found(schedule):
    (zero, low), (high, _), *_ = stable_intervals("eta", Notch(alpha=0.3), schedule)
    assert zero == 0
    width = 1e-5 * math.sqrt(0.5 / 0.01 - 1)
    assert (low, high) == pytest.approx((1.03 - width, 1.03 + width), rel=1e-6)


def test_a_huge_even_period_leaves_a_narrow_second_interval():
    r = (1 - 2 * math.sin(math.pi / 30)) ** (1 / 100)
    expected = [0, 1 - r, 1 + r, 2]
    assert np.ravel(stable_intervals("eta", DOWNPOUR(), RoundRobin(p=8, tau=100))) == pytest.approx(expected, abs=1e-10)


def test_a_set_that_only_touches_its_edge_is_one_interval():
    """At p = tau = 2 the largest rate that is stable is reached once, at eta = 1."""
    assert np.ravel(stable_intervals("eta", DOWNPOUR(), RoundRobin(p=2, tau=2))) == pytest.approx([0, 2], abs=1e-9)


@pytest.mark.parametrize("h", [-1e-9, -1e-3])
@pytest.mark.parametrize("schedule", [RoundRobin(p=3), RoundRobin(p=1000)], ids=str)
def test_slow_growth_is_told_from_rounding(h, schedule):
    assert stable_intervals("eta", EASGD(alpha=0.3), schedule, h) == []


def test_steps_taken_alone_do_not_widen_the_enclosure():
    assert np.ravel(stable_intervals("eta", SGD(), Synchronous(p=1, tau=50))) == pytest.approx([0, 2], abs=1e-9)
    edge = critical_value("eta", EAMSGD(alpha=0.3, delta=0.9), RoundRobin(p=4, tau=10))
    assert spectral_radius(EAMSGD(eta=edge, alpha=0.3, delta=0.9), RoundRobin(p=4, tau=10)) == pytest.approx(
        1, abs=1e-9
    )


# Where the proof does not succeed it says so


def test_an_unproved_stretch_is_named(monkeypatch):
    monkeypatch.setattr(proofs, "_MOST_OPEN", 30)  # only to be quick
    with pytest.warns(RuntimeWarning, match=r"pieces between eta = .* nor could it be proved"):
        stable_intervals("eta", MDOWNPOUR(delta=1.0), RoundRobin(p=1))  # all eigenvalues on the circle, up to eta = 4


def test_uncertified_values_take_their_neighbours_verdict():
    def growth(values, blind):
        radius = np.log(spectral_radius(EASGD(eta=1.0, alpha=values), RoundRobin(p=3)))
        return np.where(blind(values), np.nan, radius)

    line = Line("alpha", EASGD(eta=1.0), RoundRobin(p=3), 1.0)
    samples = np.geomspace(1e-3, 1e3, 200)
    nothing = proofs.resolved(line, lambda x: np.full(x.shape, np.nan), samples, np.full(200, np.nan), SIGMA)
    assert nothing.uncertified == 200
    none = growth(samples, lambda x: (x < 0.5) & (x > 2e-3))
    all_known = proofs.resolved(line, lambda x: growth(x, lambda x: x < 0), samples, none, SIGMA)
    assert all_known.uncertified == 0
    assert not all_known.unproved
    np.testing.assert_array_equal(all_known.values <= SIGMA, all_known.samples < 2 / 3 + 1e-11)


class ThreeVariables(EASGD):
    """EASGD with variables that only make the pencil too large to be followed."""

    worker = ("x", "y", "z")

    @staticmethod
    def visit(w, c, k, g):
        return (w.x - k.eta * g - k.alpha * (w.x - c.x) + 0 * w.y, 0.5 * w.y + 0.1 * w.x, 0.5 * w.z + 0.1 * w.y)


def test_a_rule_without_a_pencil_is_sampled():
    line = Line("eta", ThreeVariables(alpha=0.3), RoundRobin(p=3), 1.0)
    assert not line.has_pencil()
    limit = (4 - 4 * 0.3) / (2 - 0.3)  # the paper's condition for eta h at alpha = 0.3
    assert np.ravel(stable_intervals("eta", ThreeVariables(alpha=0.3), RoundRobin(p=3))) == pytest.approx(
        [0, limit], abs=1e-9
    )


def test_momentum_alone_without_bound():
    assert stable_intervals("delta", MSGD(eta=1.0), Synchronous(p=1)) == [(0.0, math.inf)]
