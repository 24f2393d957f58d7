"""The delay pencil: the same spectra from one visit, certified, at any number of workers."""

from dataclasses import dataclass

import numpy as np
import pytest

from easgd_theory import (
    ADMM,
    DOWNPOUR,
    EAMSGD,
    EASGD,
    MDOWNPOUR,
    DiLoCo,
    LocalSGD,
    RoundRobin,
    certificate,
    critical_value,
    delay,
    is_stable,
    pencil,
    roots,
    spectral_radius,
    stability_map,
)
from easgd_theory.algorithm import numeric_values
from easgd_theory.maps import composed, numeric_field

RANGES = {"eta": (0.0, 3.0), "alpha": (-0.2, 1.2), "delta": (-0.2, 1.1), "rho": (0.0, 3.0), "nu": (0.0, 2.5)}
RANGES["mu"] = RANGES["delta"]


def pencil_and_dense(rule, p, tau=1, h=1.0):
    """Coefficients of the pencil and the dense radius at each point of 1-D parameters."""
    values, h = numeric_values(rule, h)
    *arrays, h = np.broadcast_arrays(*values.values(), np.atleast_1d(h))
    field = numeric_field(rule, dict(zip(values, arrays, strict=True)), h)
    blocks = delay.visit_blocks(type(rule), tau, p, field)
    coefficients = delay.pencil_coefficients(np.broadcast_to(blocks, (h.size, *blocks.shape[-2:])), len(rule.worker))
    dense = np.abs(np.linalg.eigvals(composed(type(rule), RoundRobin(p, tau), field))).max(axis=-1)
    return coefficients, dense


def random_rule(algorithm, size, seed):
    rng = np.random.default_rng(seed)
    scale = np.where(rng.random(size) < 0.5, 1.0, 10 ** rng.uniform(-3, 0, size))
    rule = algorithm(**{name: rng.uniform(*RANGES[name], size) * scale for name in algorithm.parameters()})
    return rule, rng.uniform(-0.3, 1.0, size)


@pytest.mark.parametrize("p", [2, 3, 8, 21])
@pytest.mark.parametrize("tau", [1, 3])
@pytest.mark.parametrize("algorithm", [EASGD, EAMSGD, ADMM, DOWNPOUR, MDOWNPOUR, LocalSGD, DiLoCo])
def test_what_is_certified_is_the_dense_radius(algorithm, p, tau):
    if tau > 1 and "tau" in algorithm.requires_one:
        return
    rule, h = random_rule(algorithm, 60, seed=p + 100 * tau)
    coefficients, dense = pencil_and_dense(rule, p, tau, h)
    logarithm, _, certified = delay.dominant_roots(coefficients, p)
    assert certified.mean() > 0.95
    error = np.abs(np.exp(logarithm[certified]) - dense[certified])
    assert np.all(error <= 1e-8 * np.maximum(1.0, dense[certified]))


@pytest.mark.parametrize("algorithm", [EASGD, EAMSGD, ADMM, MDOWNPOUR])
def test_compiled_and_plain_code_agree(algorithm):
    rule, h = random_rule(algorithm, 4, seed=7)
    coefficients, _ = pencil_and_dense(rule, 5, h=h)
    compiled = delay.dominant_roots(coefficients, 5)
    for i, one in enumerate(coefficients):
        plain = delay.dominant_roots(one[None], 5)
        assert plain[0][0] == pytest.approx(compiled[0][i], rel=1e-12, abs=1e-14)
        assert plain[2][0] == compiled[2][i]


def test_a_start_that_is_no_neighbours_is_given_up_at_once(monkeypatch):
    """From the end of one row of a grid to the beginning of the next: a branch is larger on the whole circle."""
    coefficients, dense = pencil_and_dense(ADMM(np.array([0.0053, 0.0059]), np.array([9.7, 0.3])), 64)
    cells = []
    inspect_cell = certificate.inspect_cell
    monkeypatch.setattr(certificate, "inspect_cell", lambda *at: (cells.append(at), inspect_cell(*at))[1])
    counts = []
    for points in (coefficients, coefficients[:1], coefficients[1:]):
        cells.clear()
        logarithm, certified = np.empty(len(points)), np.zeros(len(points), dtype=bool)
        roots.radii(points, 64.0, logarithm, np.empty(len(points)), certified)
        counts.append(len(cells))
        assert certified.all()
    assert np.exp(logarithm) == pytest.approx(dense[1:], rel=1e-10)
    assert 0 < counts[0] <= counts[1] + counts[2]


@pytest.mark.parametrize("rule", [ADMM(0.001, 2.5), EASGD(0.5, 0.3), EAMSGD(0.5, 0.3, 0.9), DOWNPOUR(0.3)])
@pytest.mark.parametrize("p", [6, 23])
def test_the_certificate_counts_the_roots_outside_any_circle(rule, p):
    (F,), _ = pencil_and_dense(rule, p)
    point = roots.new_point(F, float(p))
    pencil.slow_polynomial(F, point.p, point.g)
    zeros = roots.leading_zeros(point.g, point.zeros)
    field = numeric_field(rule, *numeric_values(rule, 1.0))
    moduli = np.abs(np.linalg.eigvals(composed(type(rule), RoundRobin(p), field)))
    levels = np.unique(np.round(np.log(moduli[moduli > 1e-3]), 9))
    for sigma in [*(levels[1:] + levels[:-1]) / 2, levels[-1] + 1e-6]:
        outside, guess = certificate.roots_outside(
            point, zeros, sigma, np.empty(0, dtype=complex), 0, certificate.MAX_CELLS
        )
        if np.isnan(outside):  # on a long arc one root outside is enough
            assert p > 6
            assert guess.real > sigma
            assert np.min(np.abs(levels - guess.real)) < 1e-8
        else:
            assert outside == np.count_nonzero(moduli > np.exp(sigma))


@pytest.mark.parametrize("p", [2, 3, 10, 100, 10**3, 10**6])
def test_downpour_s_limit_at_any_number_of_workers(p):
    limit = 2 * np.sin(np.pi / (2 * (2 * p - 1)))  # Levin and May (1976)
    assert critical_value("eta", DOWNPOUR(), RoundRobin(p)) == pytest.approx(limit, rel=1e-9)


def test_admm_tends_to_its_limit_for_infinitely_many_workers():
    radius = [spectral_radius(ADMM(0.001, 2.5), RoundRobin(p)) for p in (10**3, 10**4, 10**6)]
    assert radius[2] == pytest.approx(1.0022427, abs=1e-7)  # Newton's method on the limit equation
    assert (radius[0] - radius[2]) / (radius[1] - radius[2]) == pytest.approx(10.1, rel=0.02)  # an error in 1/p


def test_easgd_tends_to_the_disk_of_the_elastic_lemma():
    eta, alpha = 1.4, 0.5  # theorem 2, 8: max(|1 - e|, |1 - e - 2 alpha / (2 - alpha)|)
    limit = abs(1 - eta - 2 * alpha / (2 - alpha))
    assert spectral_radius(EASGD(eta, alpha), RoundRobin(10**6 + 1)) == pytest.approx(limit, abs=1e-8)  # O(1/p)


def test_a_flat_direction_is_exactly_one_at_a_million_workers():
    p = RoundRobin(10**6)
    assert spectral_radius(EASGD(0.1, 0.3), p, h=0.0) == pytest.approx(1.0, abs=1e-14)
    small = spectral_radius(EASGD(0.1, 0.3), p, h=1e-9)  # z^p = 1 - e to first order in e
    assert np.log(small) == pytest.approx(-1e-10, rel=1e-5)


@pytest.mark.parametrize("p", [3001, 10**6])
def test_rounds_that_converge_at_once_are_certified(p):
    """A radius below 2e-9 is rounding: it is enough that none is larger."""
    rule = EASGD(np.linspace(0.86, 1.14, 15)[:, None], np.linspace(0.2, 0.6, 5))
    radius = spectral_radius(rule, RoundRobin(p, tau=10))
    assert 0.0 <= radius.min() < 1e-12 < 1e-9 < radius.max() < 1e-7
    assert is_stable(rule, RoundRobin(p, tau=10), strict=True).all()


def test_a_map_of_many_workers_is_certified():
    grid = stability_map(ADMM(eta=np.linspace(1e-4, 0.01, 12), rho=np.linspace(0.1, 10, 12)), RoundRobin(5000))
    assert grid.certified.all()
    assert 0 < grid.stable.mean() < 1


@pytest.mark.parametrize(
    ("rule", "tau"),
    [  # meetings on the edge of a cell, where a branch does not depend on z; and roots that are only rounding
        (EAMSGD(2.43, 1.13, -1.0), 10),
        (EAMSGD(2.45, 1.13, -1.0), 10),
        (MDOWNPOUR(-1.0001671, 0.9999603), 1),
        (MDOWNPOUR(-1.1906110264810055, 0.9999999961571203), 1),
    ],
)
def test_no_false_certificate_at_degenerate_points(rule, tau):
    coefficients, dense = pencil_and_dense(rule, 2, tau)
    logarithm, _, certified = delay.dominant_roots(coefficients, 2)
    assert not certified[0] or np.exp(logarithm[0]) == pytest.approx(dense[0], rel=1e-9)


def test_tiny_radii_are_certified_only_if_they_are_known():
    # the dense value 7.751e-7 was confirmed with 60 digits; two branches are nearly equal, and nearly 0
    rule = EAMSGD(1.1876403194331182, 0.9705359790777485, 0.0013288623847173156)
    coefficients, dense = pencil_and_dense(rule, 4, 8, 0.8071768375337496)
    logarithm, _, certified = delay.dominant_roots(coefficients, 4)
    assert not certified[0] or abs(np.exp(logarithm[0]) - dense[0]) < 1e-8


@pytest.mark.parametrize("p", [8, 100])
def test_a_jordan_block_on_the_circle_is_seen_in_any_company(p):
    flat = np.zeros(40)  # x += v with v constant: delta = 1 on a flat direction
    assert is_stable(EAMSGD(0.1, 0.1, 1.0), RoundRobin(p), h=0.0) is False
    assert not is_stable(EAMSGD(0.1, 0.1, 1.0), RoundRobin(p), h=flat).any()
    assert is_stable(EASGD(0.1, 0.1), RoundRobin(p), h=flat).all()


def test_a_field_that_is_neither_parameter_nor_option_is_refused():
    @dataclass(frozen=True, eq=False)
    class Damped(EASGD):
        gamma: float = 0.5

    with pytest.raises(TypeError, match="gamma must be declared with the default None"):
        spectral_radius(Damped(0.1, 0.1), RoundRobin(2))
    with pytest.raises(TypeError, match="nesterov must be True or False, got 2"):
        spectral_radius(MDOWNPOUR(0.1, 0.9, nesterov=2), RoundRobin(2))


@pytest.mark.parametrize("rule", [ADMM(0.01, 5.0), EASGD(0.5, 0.3), EAMSGD(0.5, 0.3, 0.9), MDOWNPOUR(0.1, 0.5)])
@pytest.mark.parametrize("sigma", [-1.5, -1e-3, 1e-3, 1.5])
def test_a_cell_s_tangent_is_nearer_to_f_than_to_0(rule, sigma):
    p = 50.0
    (F,), _ = pencil_and_dense(rule, int(p))
    m = F.shape[0] - 1
    first, second = certificate.bounds(F, p, sigma, 3.0)
    scale = 0.5 * m if sigma > 0 else -0.5 * m
    for t in np.random.default_rng(3).uniform(0.0, 12.0, 20):
        left, right, value, slope, _ = certificate.inspect_cell(F, p, sigma, np.expm1(sigma / p), t, first, second)
        for x in np.linspace(-left, right, 15):
            f, _ = pencil.pencil(F, p, complex(sigma, t + x))
            tangent = value + slope * x
            assert abs(f * np.exp(1j * scale * (t + x)) - tangent) < abs(tangent)


@pytest.mark.parametrize("p", [3, 1000])
def test_the_mean_of_past_visits_is_exact_near_z_1(p):
    F = np.zeros((2, 1, 2))
    F[0, 0, 1] = 1.0  # f = S
    for size in (0.99e-4, 1.01e-4):  # on both sides of where the series ends
        s = size * np.exp(2j) / np.sqrt(2)
        f, slope = pencil.pencil(F, float(p), s)
        j = np.arange(1, p) / p
        assert abs(f - np.exp(s * j).mean()) < 1e-15
        assert abs(slope - (j * np.exp(s * j)).mean()) < 1e-11


@pytest.mark.parametrize("p", [5, 21, 60])
def test_a_double_root_at_1_is_known_to_rounding(p):
    coefficients, _ = pencil_and_dense(ADMM(np.zeros(3), np.array([0.2, 1.0, 2.0])), p)
    for points in (coefficients, coefficients[:1]):  # compiled, and as it stands
        logarithm, slope, certified = delay.dominant_roots(points, p)
        assert certified.all()
        np.testing.assert_allclose(logarithm, 0.0, rtol=0, atol=1e-12)
        assert np.all(slope < 1e-6)  # double: whether the iterates stay bounded is left open


def test_whole_branches_near_the_circle_are_certified_at_a_million_workers():
    grid = stability_map(ADMM(eta=np.array([1e-6, 1e-4]), rho=np.array([0.1, 1.0])), RoundRobin(10**6))
    assert grid.certified.all()
