"""Means and covariances against the naive propagation, Monte Carlo of the naive loops, and closed forms."""

import math

import naive
import numpy as np
import pytest
from cases import Case, select

from easgd_theory import (
    ADMM,
    DOWNPOUR,
    EAMSGD,
    EASGD,
    MSGD,
    SGD,
    DiLoCo,
    LocalSGD,
    Lookahead,
    RoundRobin,
    Synchronous,
    iteration_map,
    moments,
    stationary_covariance,
)
from easgd_theory.noise import easgd_center_moments

ONE = Synchronous(p=1)


@pytest.mark.parametrize("t", [0, 1, 2, 7])
@pytest.mark.parametrize("p", [1, 2, 5])
def test_moments_of_synchronous_easgd_are_the_naive_ones(p, t):
    eta, alpha, h, sigma, x, center = 0.3, 0.15, 1.7, 2.5, 1.5, -0.5
    means, covariances = moments(EASGD(eta, alpha), Synchronous(p=p), t, h, sigma, [x] * p + [center])
    mean, variance = naive.mean_and_variance(p, eta, alpha, h, sigma, t, x, center)
    assert means.shape == (t + 1, p + 1)
    assert covariances.shape == (t + 1, p + 1, p + 1)
    assert means[-1, -1] == pytest.approx(mean, rel=1e-12)
    assert covariances[-1, -1, -1] == pytest.approx(variance, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("case", select(lambda case: case.schedule.p in (1, 3) and case.point == "calm"))
def test_the_mean_is_the_iteration_map(case):
    start = case.embedding() @ case.start()
    means, _ = moments(case.algorithm, case.schedule, 4, case.h, start=start)
    matrix = iteration_map(case.algorithm, case.schedule, case.h).matrix
    np.testing.assert_allclose(means[4], np.linalg.matrix_power(matrix, 4) @ start, rtol=0, atol=1e-13)


def test_the_default_start_has_every_x_at_1():
    means, covariances = moments(EAMSGD(0.1, 0.1, 0.9), RoundRobin(p=2), 0)
    assert means.tolist() == [[1, 0, 1, 0, 1]]
    assert not covariances.any()
    assert moments(ADMM(0.1, 1.0), RoundRobin(p=1), 0)[0].tolist() == [[0, 1, 1]]
    assert moments(DiLoCo(0.1, 0.7, 0.9), RoundRobin(p=1), 0)[0].tolist() == [[1, 0, 1, 0]]


REPLICAS = 40_000
NOISY = [
    EASGD(0.4, 0.3),
    EAMSGD(0.3, 0.2, 0.6),
    ADMM(0.4, 0.8),
    DOWNPOUR(0.2),
    LocalSGD(0.3),
    DiLoCo(0.2, 0.7, 0.3),
    Lookahead(0.4, 0.6),
    MSGD(0.3, 0.5),
]


@pytest.mark.parametrize("kind", [Synchronous, RoundRobin], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("algorithm", NOISY, ids=lambda algorithm: type(algorithm).__name__)
def test_moments_are_those_of_the_naive_loops_with_noise(algorithm, kind, monkeypatch):
    """Every gradient of the loops becomes a fresh random one per replica: the loops run over arrays unchanged."""
    p, tau = 1 if "p" in algorithm.requires_one else 2, 1 if "tau" in algorithm.requires_one else 2
    case, sigma, rounds = Case(algorithm, kind(p=p, tau=tau), 1.2, "noisy"), 0.7, 5
    random = np.random.default_rng(2015)
    monkeypatch.setattr(naive, "g", lambda h, i, x: h * x + sigma * random.standard_normal(REPLICAS))
    state = [np.full(REPLICAS, value) for value in case.start()]
    for _ in range(rounds):
        state = case.step(state, **case.arguments)
    samples = case.embedding() @ np.array([np.broadcast_to(variable, REPLICAS) for variable in state])
    means, covariances = moments(algorithm, case.schedule, rounds, case.h, sigma, case.embedding() @ case.start())
    variance = np.diag(covariances[-1])
    # A sample mean and a Gaussian's sample variance have these standard errors; 4.5 of them is one chance in 1e5.
    error = 4.5 * np.sqrt(variance / REPLICAS)
    assert (np.abs(samples.mean(axis=1) - means[-1]) <= error + 1e-12).all()
    product = np.sqrt(np.outer(variance, variance) + covariances[-1] ** 2)
    assert (np.abs(np.cov(samples) - covariances[-1]) <= 4.5 * product / math.sqrt(REPLICAS) + 1e-12).all()
    assert variance.max() > 0.01


# Stationary


CONTRACTING = select(lambda case: case.point == "calm" and case.schedule.p in (1, 3))


@pytest.mark.parametrize("case", CONTRACTING)
def test_the_stationary_covariance_is_where_propagation_ends(case):
    found = stationary_covariance(case.algorithm, case.schedule, case.h, sigma=1.5)
    radius = naive.spectral_radius(case.naive_matrix())
    rounds = math.ceil(math.log(1e-13) / math.log(radius) / 2) + 10  # the covariance converges like radius^(2t)
    _, covariances = moments(case.algorithm, case.schedule, rounds, case.h, sigma=1.5)
    np.testing.assert_allclose(covariances[-1], found, rtol=0, atol=1e-10 * np.abs(found).max())
    np.testing.assert_allclose(found, found.T, rtol=0, atol=1e-14 * np.abs(found).max())


@pytest.mark.parametrize("p", [1, 2, 5, 20])
@pytest.mark.parametrize(
    ("eta", "beta", "h", "sigma"), [(0.1, 0.9, 1.0, 1.0), (0.7, 0.4, 2.0, 3.0), (1.0, 0.8, 0.5, 0.1)]
)
def test_r6_stationary_variance_of_the_center_at_finite_p(p, eta, beta, h, sigma):
    alpha = beta / p
    a, c2 = eta * h + (p + 1) * alpha, eta * h * p * alpha
    expected = beta * eta * (2 - a + c2) * sigma**2 / (h * (4 - 2 * a + c2) * (a - c2)) / p
    full = stationary_covariance(EASGD(eta, alpha), Synchronous(p=p), h, sigma)
    assert full[-1, -1] == pytest.approx(expected, rel=1e-10)
    _, closed = easgd_center_moments(EASGD(eta, alpha), Synchronous(p=p), math.inf, h, sigma)
    assert closed == pytest.approx(expected, rel=1e-10)


def test_stationary_variances_known_in_closed_form():
    eta, h, sigma = 0.3, 1.5, 2.0
    sgd = eta**2 * sigma**2 / (1 - (1 - eta * h) ** 2)
    assert stationary_covariance(SGD(eta), ONE, h, sigma).item() == pytest.approx(sgd, rel=1e-14)
    local = stationary_covariance(LocalSGD(eta), Synchronous(p=4), h, sigma)  # tau = 1: SGD with p times the batch
    assert local[-1, -1] == pytest.approx(sgd / 4, rel=1e-12)


@pytest.mark.parametrize(
    ("algorithm", "schedule", "h"),
    [
        pytest.param(SGD(2.5), ONE, 1.0, id="diverges"),
        pytest.param(SGD(2.0), ONE, 1.0, id="edge"),
        pytest.param(SGD(0.5), ONE, 0.0, id="flat"),
        pytest.param(EASGD(0.5, 0.3), RoundRobin(p=3), 0.0, id="easgd-flat"),
        pytest.param(EASGD(1.0, 2 / 3), RoundRobin(p=3), 1.0, id="easgd-edge"),
        pytest.param(ADMM(1e-3, 2.5), RoundRobin(p=8), 1.0, id="admm"),
        pytest.param(SGD(0.5), ONE, -0.1, id="saddle"),
    ],
)
def test_without_contraction_there_is_no_stationary_covariance(algorithm, schedule, h, refused):
    refused(lambda: stationary_covariance(algorithm, schedule, h), "stationary", "radius")


# EASGD's center in closed form


@pytest.mark.parametrize("p", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("eta", "alpha", "h"),
    [(0.1, 0.05, 1.0), (0.5, 0.3, 1.5), (1.4, 0.2, 1.0), (0.3, 0.25, -0.5), (2.6, 0.9, 1.2)],
    ids=["slow", "fast", "oscillating", "saddle", "diverging"],
)
def test_the_centers_closed_form_is_the_propagation_at_every_round(p, eta, alpha, h):
    sigma, start = 1.3, 2.0
    means, covariances = moments(EASGD(eta, alpha), Synchronous(p=p), 12, h, sigma, np.full(p + 1, start))
    for t in range(1, 13):
        mean, variance = easgd_center_moments(EASGD(eta, alpha), Synchronous(p=p), t, h, sigma, start)
        scale = max(start, np.abs(means[: t + 1]).max())
        assert mean == pytest.approx(means[t, -1], rel=1e-10, abs=1e-12 * scale)
        assert variance == pytest.approx(covariances[t, -1, -1], rel=1e-10, abs=1e-12 * covariances[t].max())


def test_the_closed_form_broadcasts():
    eta, beta = np.linspace(0.1, 1.9, 7)[:, None], np.linspace(0.1, 1.9, 5)
    mean, variance = easgd_center_moments(EASGD(eta, beta / 100), Synchronous(p=100), 10, sigma=10.0)
    assert mean.shape == variance.shape == (7, 5)
    one = easgd_center_moments(EASGD(float(eta[2, 0]), beta[3] / 100), Synchronous(p=100), 10, sigma=10.0)
    assert (mean[2, 3], variance[2, 3]) == pytest.approx(one, rel=1e-13)


@pytest.mark.parametrize(
    ("eta", "beta", "h", "sigma"), [(0.1, 0.9, 1.0, 1.0), (0.7, 0.5, 2.0, 3.0), (1.5, 1.8, 1.0, 10.0)]
)
def test_limit_of_infinitely_many_workers_and_rounds(eta, beta, h, sigma):
    e = eta * h
    limit = beta * e / ((2 - beta) * (2 - e)) * (2 - beta - e + beta * e) / (beta + e - beta * e) * sigma**2 / h**2
    errors = []
    for p in (10**4, 10**6):
        _, variance = easgd_center_moments(EASGD(eta, beta / p), Synchronous(p=p), math.inf, h, sigma)
        errors.append(abs(p * variance / limit - 1))
    assert errors[1] < 1e-4
    assert errors[1] < 0.02 * errors[0]  # it falls like 1/p


def test_at_infinity_the_closed_form_knows_where_it_diverges():
    eta, alpha = np.array([0.5, 0.5, 2.5, 0.5]), np.array([0.2, 1.4, 0.2, 0.2])
    mean, variance = easgd_center_moments(EASGD(eta, alpha), Synchronous(p=2), math.inf, h=[1.0, 1.0, 1.0, -1.0])
    assert mean.tolist() == [0, math.inf, math.inf, math.inf]
    assert np.isfinite(variance).tolist() == [True, False, False, False]


@pytest.mark.parametrize("rounds", [100, 1000, 10_000])
def test_a_diverging_run_is_a_result_and_no_nan(rounds):
    for algorithm, p in [(EASGD(6.0, 3.0), 1), (EASGD(5.0, 0.1), 4), (EASGD(0.1, 5.0), 4), (EASGD(2.0, 1.9), 10_000)]:
        mean, variance = easgd_center_moments(algorithm, Synchronous(p=p), rounds)
        assert not np.isnan(mean)
        assert variance > 1e6


@pytest.mark.parametrize("rounds", [200, 1000])
def test_propagation_of_a_diverging_run_is_a_result_and_no_warning(rounds):
    means, covariances = moments(SGD(eta=1e3), ONE, rounds)
    assert not np.isnan(means).any()
    assert covariances[-1].item() == math.inf


@pytest.mark.parametrize("h", [1e-3, 1e-6, 0.0])
def test_the_closed_form_keeps_its_accuracy_on_flat_directions(h):
    _, covariances = moments(EASGD(0.1, 0.1), Synchronous(p=3), 50, h)
    _, variance = easgd_center_moments(EASGD(0.1, 0.1), Synchronous(p=3), 50, h)
    assert variance == pytest.approx(covariances[-1, -1, -1], rel=1e-8)


# Bad input


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: moments(SGD(0.1), ONE, -1), ["rounds", "-1"]),
        (lambda: moments(SGD(0.1), ONE, 2.5), ["rounds", "2.5"]),
        (lambda: moments(SGD(0.1), ONE, True), ["rounds", "True"]),
        (lambda: moments(SGD(0.1), ONE, 2, sigma=math.nan), ["sigma", "finite"]),
        (lambda: moments(SGD(0.1), ONE, 2, sigma=[1.0, 2.0]), ["sigma", "scalar"]),
        (lambda: stationary_covariance(SGD(0.1), ONE, sigma=[1.0, 2.0]), ["sigma", "scalar"]),
        (lambda: moments(SGD(0.1), ONE, 2, h=[1.0, 2.0]), ["h", "scalar"]),
        (lambda: moments(SGD([0.1, 0.2]), ONE, 2), ["scalar"]),
        (lambda: moments(SGD(0.1), ONE, 2, start=[1.0, 2.0]), ["start", "x_1", "(2,)"]),
        (lambda: moments(SGD(0.1), ONE, 2, start=["a"]), ["start", "real number"]),
        (lambda: moments(SGD(), ONE, 2), ["SGD", "eta"]),
        (lambda: moments(SGD, ONE, 2), ["SGD", "eta"]),
        (lambda: stationary_covariance(SGD, ONE), ["SGD", "eta"]),
        (lambda: moments("sgd", ONE, 2), ["algorithm", "sgd"]),
        (lambda: moments(SGD(0.1), 3, 2), ["schedule", "3"]),
        (lambda: moments(EASGD(0.1, 0.1), RoundRobin(), 2), ["RoundRobin", "p"]),
        (lambda: moments(SGD(0.1), RoundRobin(p=2), 2), ["SGD", "p=2"]),
        (lambda: easgd_center_moments(EASGD(0.1, 0.1), RoundRobin(p=2), 3), ["Synchronous", "RoundRobin"]),
        (lambda: easgd_center_moments(EASGD(0.1, 0.1), Synchronous(p=2, tau=2), 3), ["tau"]),
        (lambda: easgd_center_moments(EASGD(0.1, 0.1), Synchronous(p=2), 0), ["rounds", "0"]),
        (lambda: easgd_center_moments(EASGD(0.1, 0.1), Synchronous(p=2), 2.5), ["rounds", "2.5"]),
        (lambda: easgd_center_moments(EASGD(0.1, 0.1), Synchronous(p=2), math.nan), ["rounds", "nan"]),
    ],
    ids=[
        *(
            "negative",
            "fraction",
            "bool",
            "sigma_nan",
            "sigma_array",
            "stationary_sigma",
            "h_array",
            "eta_array",
            "start_shape",
        ),
        *("start_text", "missing", "class", "stationary_class", "name", "schedule", "no_p", "sgd_p2"),
        *("closed_round_robin", "closed_tau", "closed_0", "closed_fraction", "closed_nan"),
    ],
)
def test_a_bad_question_is_refused(call, words, refused):
    refused(call, *words)
