"""Infinitely many workers: the limit of the radii against large p, closed forms, and equations solved elsewhere."""

import json
import math
from dataclasses import dataclass

import mpmath
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from scipy.special import lambertw

from easgd_cli.main import cli
from easgd_theory import (
    ADMM,
    DOWNPOUR,
    EAMSGD,
    EASGD,
    MDOWNPOUR,
    DiLoCo,
    LocalSGD,
    Lookahead,
    RoundRobin,
    Synchronous,
    critical_value,
    is_stable,
    iteration_map,
    moments,
    spectral_radius,
    stability_condition,
    stability_map,
    stable_intervals,
    stationary_covariance,
)
from easgd_theory.algorithm import Parameter
from easgd_theory.algorithms.downpour import PushThenPull
from easgd_theory.expansion import Expansion
from easgd_theory.fast_modes import branch_moduli, loudest_branch
from easgd_theory.slow_equation import modes_right_of
from easgd_theory.spectrum import round_growth
from figures import draw

LIMIT = RoundRobin(p=math.inf)


def sample(seed, size=400, **ranges):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(low, high, size) for name, (low, high) in ranges.items()}


# Rules of one's own, each with another way of dividing by p.


@dataclass(frozen=True, eq=False)
class MeanPush(PushThenPull):
    """The center moves by a p-th of what is pushed: c <- c + v / p."""

    eta: Parameter = None

    @staticmethod
    def absorb(c, total, k, count, p):
        return (c.x + total / p,)


@dataclass(frozen=True, eq=False)
class MomentumPush(PushThenPull):
    """Two variables of the center, a p-th of the push: both eigenvalues of the center count."""

    eta: Parameter = None
    mu: Parameter = None
    center = ("x", "m")

    @staticmethod
    def absorb(c, total, k, count, p):
        m = k.mu * c.m + total / p
        return (c.x + m, m)


@dataclass(frozen=True, eq=False)
class RunningMean(ADMM):
    """ADMM with its center as a running mean, c <- c + (change of the message) / p, which conserves one number."""

    gather = "active"

    @staticmethod
    def push_after(old, new, c, k):
        return (new.x - new.lam) - (old.x - old.lam)

    @staticmethod
    def absorb(c, total, k, count, p):
        return (c.x + total / p,)


@dataclass(frozen=True, eq=False)
class RelaxedMean(EASGD):
    """The center moves a part of the way to the mean of all workers; alpha and beta do not depend on p."""

    beta: Parameter = None
    gather = "all"

    @staticmethod
    def push_after(old, new, c, k):
        return new.x

    @staticmethod
    def absorb(c, total, k, count, p):
        return (c.x + k.beta * (total / p - c.x),)


@dataclass(frozen=True, eq=False)
class WithPrior(ADMM):
    """ADMM whose mean counts the old center as `rho` workers: p enters as a fraction."""

    @staticmethod
    def absorb(c, total, k, count, p):
        return ((k.rho * c.x + total) / (p + k.rho),)


@dataclass(frozen=True, eq=False)
class SumOfAll(MeanPush):
    """The sum of all pushes, again at every tick: nothing that could have a limit."""

    gather = "all"

    @staticmethod
    def absorb(c, total, k, count, p):
        return (c.x + total,)


# Against finite numbers of workers


@pytest.mark.parametrize(
    ("algorithm", "tau", "ranges"),
    [
        (EASGD, 1, {"eta": (0, 2.5), "alpha": (0.05, 1.2)}),
        (EASGD, 4, {"eta": (0, 2), "alpha": (0.05, 1.2)}),
        (EAMSGD, 1, {"eta": (0, 2), "alpha": (0.05, 1), "delta": (-0.5, 1)}),
        (EAMSGD, 3, {"eta": (0, 1.5), "alpha": (0.05, 1), "delta": (0, 1)}),
        (ADMM, 1, {"eta": (0.001, 0.1), "rho": (0.05, 5)}),
        (ADMM, 1, {"eta": (0.1, 5), "rho": (0.05, 5)}),
        (MeanPush, 2, {"eta": (0.05, 1.9)}),
        (MomentumPush, 1, {"eta": (0.05, 1.9), "mu": (0, 0.95)}),
        (RunningMean, 1, {"eta": (0.05, 3), "rho": (0.05, 5)}),
        (RelaxedMean, 2, {"eta": (0.05, 1.9), "alpha": (0.05, 1), "beta": (0.1, 1.9)}),
        (WithPrior, 1, {"eta": (0.05, 3), "rho": (0.05, 5)}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_radii_tend_to_it_with_an_error_of_1_over_p(algorithm, tau, ranges):
    values = sample(len(ranges) + tau, 150, **ranges)
    rule = algorithm(**{name: values[name] for name in algorithm.parameters()})
    limit = round_growth(rule, RoundRobin(math.inf, tau))
    assert limit.certified.all()
    p = 10**5
    large, larger = (round_growth(rule, RoundRobin(p=count, tau=tau)) for count in (p, 10 * p))
    known = large.certified & larger.certified
    assert known.mean() > 0.5
    near, nearer = (np.abs(found.radius - limit.radius)[known] for found in (large, larger))
    assert near.max() < 500 / p
    assert nearer.max() < 50 / p


def test_admm_s_error_vanishes_by_extrapolation():
    rule = ADMM(**sample(3, eta=(1e-4, 0.1), rho=(0.1, 10)))
    large, larger = (spectral_radius(rule, RoundRobin(p=p)) for p in (10**5, 10**6))
    np.testing.assert_allclose(spectral_radius(rule, LIMIT), (10 * larger - large) / 9, atol=1e-10)


def test_the_error_falls_as_workers_are_added():
    limit = spectral_radius(ADMM(0.001, 2.5), LIMIT)
    errors = [abs(spectral_radius(ADMM(0.001, 2.5), RoundRobin(p=p)) - limit) for p in (16, 64, 512, 4096, 10**5)]
    assert errors == sorted(errors, reverse=True)
    assert limit == pytest.approx(1.0022427, abs=1e-7)


# EASGD and EAMSGD: theorems 2, 3 and 5


def test_easgd_is_the_larger_end_of_a_disk():
    values = sample(0, eta=(-0.5, 3), alpha=(1e-6, 1.999))
    e, alpha = values["eta"], values["alpha"]
    expected = np.maximum(abs(1 - e), abs(1 - e - 2 * alpha / (2 - alpha)))
    np.testing.assert_allclose(spectral_radius(EASGD(e, alpha), LIMIT), expected, rtol=1e-12)


@pytest.mark.parametrize("tau", [2, 5])
def test_easgd_with_a_period(tau):
    values = sample(1, eta=(-0.3, 2.3), alpha=(1e-6, 1.999))
    g, alpha = 1 - values["eta"], values["alpha"]
    ends = np.abs([g**tau, g**tau - g ** (tau - 1) * 2 * alpha / (2 - alpha)])
    found = spectral_radius(EASGD(values["eta"], alpha), RoundRobin(math.inf, tau))
    np.testing.assert_allclose(found, ends.max(axis=0), rtol=1e-9, atol=1e-12)


def test_a_center_of_its_own_decides_outside_the_disk():
    assert spectral_radius(EASGD(0.5, [-1e-9, -0.5, 2.5, 2.0]), LIMIT).tolist() == [math.inf] * 4
    assert spectral_radius(EASGD(0.5, 0.0), LIMIT) == 1.0  # nobody moves the center
    assert spectral_radius(EASGD(3.0, 0.0), LIMIT) == 2.0
    assert spectral_radius(EASGD(1.0, 2.0), RoundRobin(math.inf, 2)) == 1.0  # its eigenvalue -1, met by no branch


@pytest.mark.parametrize("tau", [1, 2, 6])
def test_eamsgd_is_stable_where_the_condition_for_all_p_holds(tau):
    values = sample(tau, 3000, eta=(0.01, 1.6), alpha=(0.01, 1.9), delta=(0, 0.99))
    radius = spectral_radius(EAMSGD(**values), RoundRobin(math.inf, tau))
    condition = stability_condition(EAMSGD, RoundRobin(tau=tau)).holds(**values)
    clear = np.abs(radius - 1) > 1e-6
    assert 0.1 < condition.mean() < 0.9
    np.testing.assert_array_equal((radius < 1)[clear], condition[clear])


def test_a_tiny_moving_rate_keeps_its_digits():
    e, delta = 0.3, 0.9  # the disk [-Y, 0] shrinks to 0, and leaves the worker's own radius
    alone = np.sqrt(delta * (1 - e))
    for alpha in (1e-4, 1e-7, 1e-10):
        assert spectral_radius(EAMSGD(e, alpha, delta), LIMIT) == pytest.approx(alone, abs=3 * alpha)


# DOWNPOUR and its kin


@pytest.mark.parametrize("rule", [DOWNPOUR(0.1), DOWNPOUR(1e-12), MDOWNPOUR(0.1, 0.9), LocalSGD(0.2)])
@pytest.mark.parametrize("h", [1.0, -0.5])
def test_without_damping_the_radii_grow_without_bound(rule, h):
    assert spectral_radius(rule, LIMIT, h=h) == math.inf
    assert not is_stable(rule, LIMIT, h=h)
    assert spectral_radius(rule, LIMIT, h=0.0) == 1.0
    assert is_stable(rule, LIMIT, h=0.0)


def test_other_forms_of_pushing():
    assert spectral_radius(MDOWNPOUR(0.1, 0.9, nesterov=True), LIMIT) == math.inf
    assert spectral_radius(MDOWNPOUR(0.0, 0.9), LIMIT) == 1.0
    assert spectral_radius(MDOWNPOUR([0.0, 0.1], 1.1), LIMIT).tolist() == [math.inf, math.inf]
    assert spectral_radius(DiLoCo(0.1, 0.7, [0.5, 0.9]), LIMIT).tolist() == [math.inf, math.inf]
    assert spectral_radius(DOWNPOUR(2.0), RoundRobin(math.inf, 2)) == 1.0  # kappa = 1 - (1 - eta)^2 = 0
    assert math.isnan(critical_value("eta", DOWNPOUR(), LIMIT))


@pytest.mark.parametrize(("rule", "kappa"), [(DOWNPOUR(0.3), 0.3), (DOWNPOUR(-0.3), -0.3), (MDOWNPOUR(0.1, 0.5), 0.1)])
def test_how_they_grow(rule, kappa):
    p = 10**6  # w = -kappa p / s: s is Lambert's function of -kappa p
    expected = abs(kappa) * p / abs(lambertw(-kappa * p))
    assert spectral_radius(rule, RoundRobin(p)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("kappa", [0.2, 0.9, 1.7, -0.4])
def test_a_push_that_is_divided_by_p_has_a_limit(kappa):
    expected = abs(np.exp(lambertw(-kappa)))  # s e^s = -kappa
    assert spectral_radius(MeanPush(kappa), LIMIT) == pytest.approx(expected, rel=1e-12)
    assert critical_value("eta", MeanPush(), LIMIT) == pytest.approx(np.pi / 2, rel=1e-9)  # DOWNPOUR's pi / (2 p)


# ADMM


def admm_is_stable(r, e):
    """docs/limit.md, theorem 3: r = eta rho > 0, e = eta h > 0."""
    m = r + e
    square = (m * (r - 2 * e) + 2 * r) / ((2 - m) * (4 + r - 2 * e))
    t = np.sqrt(np.maximum(square, 0))
    speed = np.abs(2 - m) / m * t
    calm = np.where(m < 2, speed + 2 * np.arctan(t) < 2 * np.pi, speed < 2 * np.arctan(t))
    return (2 * e < 4 + r) & ((square <= 0) | calm)


@pytest.mark.parametrize("ranges", [{"r": (-6, 3), "e": (-7, 2)}, {"r": (-5, -1.4), "e": (-5, -2.1)}])
def test_admm_is_stable_where_the_theorem_says_so(ranges):
    values = sample(11, 4000, **ranges)
    r, e = 10 ** values["r"], 10 ** values["e"]
    e[::2] = np.where(ranges["r"][1] > 0, (e * (2 + r / 2) / 100)[::2] * 1.1, e[::2])
    growth = round_growth(ADMM(eta=1.0, rho=r), LIMIT, h=e)
    assert growth.certified.all()
    clear = np.abs(growth.radius - 1) > 1e-9
    expected = admm_is_stable(r, e)
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_array_equal((growth.radius < 1)[clear], expected[clear])


def test_admm_on_a_flat_direction():
    y = mpmath.findroot(lambda y: y * (1 - 2 * mpmath.cos(y)) - (y * y - 1) * mpmath.sin(y), 6.12)
    edge = float(2 / (1 - y * mpmath.cot(y / 2)))
    assert edge == pytest.approx(0.02652677153, abs=1e-11)
    below, above = spectral_radius(ADMM(eta=0.1, rho=[10 * edge * 0.999, 10 * edge * 1.001]), LIMIT, h=0.0)
    assert below > 1 + 1e-7
    assert above == 1.0
    assert is_stable(ADMM(eta=0.1, rho=10 * edge * 1.001), LIMIT, h=0.0)
    assert not is_stable(ADMM(eta=0.1, rho=10 * edge * 0.999), LIMIT, h=0.0)


def roots_of(equation):
    """Roots of a function of s, by mpmath from many starts."""
    found = []
    for start in (complex(x, y) for x in (-2.0, -0.5, -0.1, 0.0) for y in np.arange(0.0, 20.0, 0.7)):
        try:
            found.append(complex(mpmath.findroot(equation, start)))
        except (ValueError, ZeroDivisionError):
            continue
    return np.array(found)


def slow_equation(r, e):
    """With w = e^s: (s + 1) (w - 1)^2 + r w ((s - 1) w + 1) + e (s + 1) (w - 1) = 0, divided by s."""

    def equation(s):
        w = mpmath.exp(s)
        return ((s + 1) * (w - 1) * (w - 1 + e) + r * w * ((s - 1) * w + 1)) / s

    return equation


@pytest.mark.parametrize(
    ("eta", "rho", "h"), [(0.001, 2.5, 1.0), (0.01, 10.0, 0.0), (0.3, 1.0, 1.0), (1.5, 2.0, 1.0), (0.1, 1.0, -0.2)]
)
def test_admm_against_its_slow_equation_solved_by_mpmath(eta, rho, h):
    r, e = eta * rho, eta * h
    roots = roots_of(slow_equation(r, e))
    slow = roots.real[abs(roots) > 1e-9].max()
    flat = h == 0  # then s = 0 is a mode, too
    worker = np.abs(np.roots([1 + r, e - 2, 1 - e])).max()
    expected = max(np.exp(max(slow, 0.0) if flat else slow), worker)
    assert spectral_radius(ADMM(eta, rho), LIMIT, h=h) == pytest.approx(expected, abs=1e-12)


def test_the_largest_learning_rate_at_which_admm_is_too_slow():
    intervals = stable_intervals("eta", ADMM(rho=2.5), LIMIT)
    assert len(intervals) == 1
    (low, high), rho = intervals[0], 2.5
    assert high == math.inf
    assert low == pytest.approx(0.00532183, abs=1e-8)
    assert low == pytest.approx(rho / (4 * np.pi**2 * (1 + rho) ** 2), rel=0.05)
    assert not admm_is_stable(low * 0.9999 * rho, low * 0.9999)
    assert admm_is_stable(low * 1.0001 * rho, low * 1.0001)


# Bounded or not


def test_a_radius_of_1_is_stable_unless_w_is_a_double_root():
    spectrum = [0.0, 0.5, 1.0]
    assert is_stable(EASGD(0.5, 0.3), LIMIT, h=spectrum, over_spectrum=True)
    assert not is_stable(EASGD(0.5, 0.3), LIMIT, h=spectrum, over_spectrum=True, strict=True)
    assert is_stable(EASGD(1.0, 2 / 3), LIMIT)
    assert not is_stable(EAMSGD(0.1, 0.1, 1.0), LIMIT, h=0.0)  # x += v with v constant
    assert is_stable(ADMM(0.1, 1.0), LIMIT, h=0.0)


def test_negative_curvature_always_grows():
    for rule in (EASGD(0.1, 0.3), EAMSGD(0.1, 0.3, 0.9), ADMM(0.1, 1.0), MeanPush(0.1)):
        assert spectral_radius(rule, LIMIT, h=-0.1) > 1
        assert not is_stable(rule, LIMIT, h=-0.1)


# Its parts


def test_the_loudest_branch_is_found_and_nothing_is_above_it():
    rng = np.random.default_rng(4)
    for m in (1, 2):
        for n in (1, 2):
            c = rng.normal(size=(200, m + 1, n + 1))
            poles = rng.uniform(-0.95, 0.95, size=(200, n))
            c[:, m] = [np.poly(pole - 1)[::-1] for pole in poles]
            level, certified = loudest_branch(c)
            t = 1 - np.cos(np.linspace(0, np.pi, 2001))
            dense = branch_moduli(c, np.broadcast_to(t, (200, t.size))).max(axis=1)
            assert certified.all()
            assert np.all(dense <= level * (1 + 1e-12))
            assert np.all(dense >= level * (1 - 2e-3))


def test_slow_modes_are_counted():
    r, e = 1e-4, 0.0001  # X / (2 pi) = 7.96: modes with up to seven turns grow
    a, b = (1 - e) / (1 + r), r / (1 + r)
    H = np.zeros((1, 3, 1, 2))  # s = (v (v + 1 - a) + b (1 + v)) + S ((1 + v)(1 - 2 b) - a)
    H[0, :, 0, 0], H[0, :2, 0, 1] = [b, 1 - a + b, 1], [1 - 2 * b - a, 1 - 2 * b]
    roots = [complex(mpmath.findroot(slow_equation(r, e), complex(0.001, 2 * math.pi * k))) for k in range(1, 12)]
    real = np.sort([root.real for root in roots if root.real > 0])
    assert len(real) == 7
    for line in (real[1:] + real[:-1]) / 2:
        assert modes_right_of(H, np.array([line])) == 2 * np.count_nonzero(real > line)
    assert modes_right_of(H, real[-1:] * (1 + 1e-6)) == 0
    assert modes_right_of(H, real[-1:] * (1 - 1e-6)) == 2


def test_an_expansion_is_arithmetic():
    p, x = Expansion(1, 1.0), np.array([0.5, -2.0])
    number = (3 * x + p) / (p - 1) - (2 - x / p) ** 2 * (1 / (p + 2)) ** -1 / p + (p * x - 1) / (x * p**2)
    for power in range(-5, 2):
        assert number.coefficient(power).shape == (2,)
    for value in (1e3, 1e4):
        exact = (3 * x + value) / (value - 1) - (2 - x / value) ** 2 * (value + 2) / value
        exact += (value * x - 1) / (x * value**2)
        series = sum(number.coefficient(-order) * value**-order for order in range(6))
        np.testing.assert_allclose(series, exact, rtol=1e-14)
    assert not number.grows()
    assert (number * p).grows()


# The public face


def test_shapes_and_types():
    assert isinstance(spectral_radius(EASGD(0.1, 0.1), RoundRobin(p=np.float32("inf"))), float)
    assert spectral_radius(ADMM([[0.1], [0.2]], [1.0, 2.0, 3.0]), LIMIT).shape == (2, 3)
    assert spectral_radius(EASGD(0.1, 0.1), LIMIT, h=np.zeros((0,))).shape == (0,)
    assert RoundRobin(p=np.inf) == RoundRobin(p=float("inf")) == LIMIT
    assert LIMIT.infinite
    assert not RoundRobin(p=3).infinite


def test_a_map_of_the_limit_is_certified_and_keeps_valid_json(tmp_path):
    grid = stability_map(ADMM(eta=np.linspace(1e-4, 0.01, 24), rho=np.linspace(0, 10, 24)), LIMIT)
    assert grid.certified.all()
    assert 0.2 < grid.stable.mean() < 0.8
    assert json.loads(json.dumps(grid.attrs, allow_nan=False))["p"] == "inf"
    grid.to_netcdf(tmp_path / "map.nc")
    with xr.open_dataset(tmp_path / "map.nc") as again:
        assert again.attrs["p"] == "inf"
    assert draw.stability_map(grid).get_title() == "ADMM, round-robin, p = ∞, τ = 1, h = 1"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Synchronous(p=math.inf), ["p must be finite for Synchronous", "inf", "RoundRobin"]),
        (lambda: RoundRobin(p=-math.inf), ["p must be a whole number", "-inf"]),
        (lambda: iteration_map(EASGD, LIMIT), ["p must be a whole number here", "inf"]),
        (lambda: iteration_map(EASGD(0.1, 0.1), LIMIT, 1.0), ["p must be a whole number here", "inf"]),
        (lambda: moments(EASGD(0.1, 0.1), LIMIT, 2), ["p must be a whole number here", "inf"]),
        (lambda: stationary_covariance(EASGD(0.1, 0.1), LIMIT), ["p must be a whole number here", "inf"]),
        (lambda: LIMIT.ticks(), ["p must be a whole number here", "inf"]),
        (lambda: spectral_radius(Lookahead(0.1, 0.5), LIMIT), ["Lookahead", "p=inf"]),
        (lambda: spectral_radius(ADMM(0.1, 0.5), RoundRobin(math.inf, 2)), ["ADMM", "tau=2"]),
        (lambda: spectral_radius(SumOfAll(0.1), LIMIT), ["SumOfAll has no limit p=inf"]),
        (lambda: stability_condition(ADMM, LIMIT), ["ADMM", "p=inf", "stable_intervals"]),
    ],
    ids=range(11),
)
def test_what_has_no_limit_says_so(call, words, refused):
    refused(call, *words)


def test_a_rule_with_three_variables_that_matter_is_not_certified():
    @dataclass(frozen=True, eq=False)
    class Three(EAMSGD):
        worker = ("x", "v", "u")

        @staticmethod
        def visit(w, c, k, g):
            v = k.delta * w.v - k.eta * g
            return (w.x + v + w.u - k.alpha * (w.x - c.x), v, 0.5 * w.u + 0.1 * w.x)

    with pytest.warns(RuntimeWarning, match="could not be certified"):
        assert math.isnan(spectral_radius(Three(0.1, 0.1, 0.9), LIMIT))
    with pytest.warns(RuntimeWarning, match="could not be certified and count as unstable"):
        assert not is_stable(Three(0.1, 0.1, 0.9), LIMIT)


def command(line):
    return CliRunner().invoke(cli, line.split())


def test_the_command_line_takes_inf():
    found = json.loads(command("stability admm --p inf --eta 0.001 --rho 2.5 --json --no-edges").stdout)
    assert found["p"] == "inf"
    assert found["spectral_radius"] == pytest.approx(1.0022427, abs=1e-7)
    assert "p=inf" in command("stability easgd --p INF --eta 1 --alpha 0.5").stdout
    assert command("stability downpour --p inf --eta 0.1 --json").exit_code == 0


def test_a_map_of_the_limit_on_the_command_line(tmp_path):
    picture = tmp_path / "map.png"
    done = command(f"map easgd --p inf --x eta:0.1:2:8 --y alpha:0.1:1:8 -o {picture} --json")
    assert json.loads(done.stdout)["p"] == "inf"
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("stability easgd --p inf --schedule synchronous --eta 1 --alpha 0.5", "p must be finite for Synchronous"),
        ("stability sgd --p inf --eta 1", "SGD is defined for p=1 only, got p=inf"),
        (
            "stability easgd --p infinite --eta 1 --alpha 0.5",
            "--p must be a whole number of at least 1, got 'infinite'",
        ),
    ],
)
def test_the_command_line_refuses(line, sentence):
    result = command(line)
    assert result.exit_code == 2
    assert sentence in result.stderr
