"""Simulation against everything else that is known: plain loops, maps, spectra, moments, theorems."""

import math

import naive
import numpy as np
import pytest
from cases import CASES
from scipy.optimize import minimize

from easgd_theory import (
    ADMM,
    ALGORITHMS,
    EAMSGD,
    EASGD,
    DiLoCo,
    RoundRobin,
    Synchronous,
    iteration_map,
    moments,
    spectral_radius,
    stationary_covariance,
    visit,
)
from easgd_theory.maps import state_names
from easgd_theory.noise import easgd_center_moments
from easgd_theory.schedules import RandomOrder
from simulations import DoubleWell, LinearRegression, LogisticRegression, Quadratic, Record, simulate

ALL = Record(worker_mean=True, spread=True, loss=True, workers=True)
EVERY_ALGORITHM = pytest.mark.parametrize("rule", ALGORITHMS.values(), ids=list(ALGORITHMS))


def cases_of(rule):
    """The cases of the shared table, one algorithm at a time: each is compiled once."""
    return [param.values[0] for param in CASES if type(param.values[0].algorithm) is rule]


def states(run, rule):
    """All variables that a run records, in the order of the map's state; shape (replicas, rounds, p * m + 1)."""
    workers = np.stack([run[f"worker_{name}"].values[..., 0] for name in rule.worker], axis=-1)
    workers = workers.reshape(*workers.shape[:2], -1)
    return np.concatenate([workers, run.center.values], axis=2) if rule.center else workers


def recorded(case):
    """Which entries of the map's state those are: of the center, x alone."""
    names = iteration_map(case.algorithm, case.schedule, h=case.h).state
    return [i for i, name in enumerate(names) if not name.endswith("_center") or name == "x_center"]


@EVERY_ALGORITHM
def test_simulation_is_the_naive_loop_and_the_matrix_power(rule):
    rounds = 12
    for case in cases_of(rule):
        state, embedding = case.start(1), case.embedding()
        matrix = iteration_map(case.algorithm, case.schedule, h=case.h).matrix
        run = simulate(
            case.algorithm, case.schedule, Quadratic(case.h), rounds=rounds, start=embedding @ state, record=ALL
        )
        ours, power = states(run, rule)[0], embedding @ state
        largest = 0.0
        for t in range(rounds + 1):
            expected = embedding @ state
            largest = max(largest, np.abs(expected).max())
            np.testing.assert_allclose(ours[t], expected[recorded(case)], rtol=0, atol=1e-12 * largest, err_msg=case.id)
            np.testing.assert_allclose(ours[t], power[recorded(case)], rtol=0, atol=1e-12 * largest, err_msg=case.id)
            state, power = np.array(case.step(list(state), **case.arguments)), matrix @ power


@EVERY_ALGORITHM
def test_the_dominant_mode_grows_by_the_spectral_radius(rule):
    """Its real and imaginary parts are two replicas, which a round turns and multiplies by the radius."""
    rounds, sides = 30, set()
    for case in cases_of(rule):
        values, vectors = np.linalg.eig(iteration_map(case.algorithm, case.schedule, h=case.h).matrix)
        mode = vectors[:, np.argmax(np.abs(values))]
        start = np.stack([mode.real, mode.imag])[:, :, None]
        run = simulate(
            case.algorithm, case.schedule, Quadratic(case.h), rounds=rounds, replicas=2, start=start, record=ALL
        )
        real, imaginary = states(run, rule)
        size = np.hypot(np.linalg.norm(real, axis=1), np.linalg.norm(imaginary, axis=1))
        growth = (size[-1] / size[0]) ** (1 / rounds)
        radius = spectral_radius(case.algorithm, case.schedule, h=case.h)
        assert growth == pytest.approx(radius, rel=1e-9), case.id
        assert (growth > 1) == (radius > 1), case.id
        sides.add(growth > 1)
    assert sides == {False, True}


@EVERY_ALGORITHM
def test_stationary_covariance_is_the_lyapunov_solution(rule):
    replicas = 4000
    for case in cases_of(rule):
        radius = spectral_radius(case.algorithm, case.schedule, h=case.h)
        if case.schedule.p > 3 or radius > 0.97:
            continue
        names = iteration_map(case.algorithm, case.schedule, h=case.h).state
        run = simulate(
            case.algorithm,
            case.schedule,
            Quadratic(case.h, noise=0.7),
            rounds=math.ceil(math.log(1e-2) / math.log(radius)) + 5,
            replicas=replicas,
            seed=3,
            start=np.zeros(len(names)),
            record=ALL,
        )
        last = states(run, rule)[:, -1]
        exact = stationary_covariance(case.algorithm, case.schedule, h=case.h, sigma=0.7)
        exact = exact[np.ix_(recorded(case), recorded(case))]
        error = np.sqrt((np.outer(np.diag(exact), np.diag(exact)) + exact**2) / replicas)
        assert np.all(np.abs(np.cov(last.T) - exact) < 4.8 * error + 1e-12), case.id
        assert np.all(np.abs(last.mean(axis=0)) < 4.8 * np.sqrt(np.diag(exact) / replicas) + 1e-12), case.id


@pytest.mark.parametrize("schedule", [Synchronous(p=4), RoundRobin(p=3, tau=2)])
def test_mean_and_variance_are_right_at_every_round(schedule):
    rule, sigma, replicas, rounds = EASGD(0.3, 0.15), 2.0, 20_000, 12
    run = simulate(rule, schedule, Quadratic(0.8, sigma), rounds=rounds, replicas=replicas, seed=5)
    means, covariances = moments(rule, schedule, rounds=rounds, h=0.8, sigma=sigma)
    center = run.center.values[:, :, 0]
    variance = covariances[:, -1, -1]
    assert np.all(np.abs(center.mean(axis=0) - means[:, -1]) <= 4.5 * np.sqrt(variance / replicas) + 1e-12)
    assert np.all(np.abs(center.var(axis=0) - variance) <= 4.5 * variance * np.sqrt(2 / replicas) + 1e-12)
    if isinstance(schedule, Synchronous):
        for t in (2, 5, rounds):  # MATH.md, section 4: MSE(t) = mean^2 + variance
            mean, variance_t = easgd_center_moments(rule, schedule, rounds=t, h=0.8, sigma=sigma)
            square = np.mean(center[:, t] ** 2)
            assert square == pytest.approx(mean**2 + variance_t, abs=4.5 * np.std(center[:, t] ** 2) / replicas**0.5)


def test_stationary_variance_of_synchronous_easgd():
    rule, schedule, replicas = EASGD(0.1, 0.1), Synchronous(p=8), 20_000
    _, exact = easgd_center_moments(rule, schedule, rounds=math.inf)
    run = simulate(
        rule, schedule, Quadratic(1.0, noise=1.0), rounds=150, replicas=replicas, record=Record(statistics=True)
    )
    variance = run.center.sel(statistic="variance").values[-1, 0]
    assert variance == pytest.approx(exact, rel=0.05)
    assert abs(variance - exact) < 1.96 * exact * np.sqrt(2 / replicas)  # its confidence interval


@pytest.mark.parametrize("rule", [EASGD(0.6, 0.4), ALGORITHMS["admm"](0.5, 0.8), ALGORITHMS["downpour"](0.3)])
def test_random_order_has_the_second_moments_of_independent_uniform_visits(rule):
    p, rounds, replicas = 3, 4, 20_000
    one_round = iteration_map(rule, RoundRobin(p=p), h=1.2)
    state = np.array([float(name.startswith("x_")) for name in one_round.state])
    second = np.outer(state, state)
    for _ in range(p * rounds):
        second = sum(step @ second @ step.T for step in one_round.steps) / p
    run = simulate(rule, RandomOrder(p=p), Quadratic(1.2), rounds=rounds, replicas=replicas, record=ALL)
    last = states(run, type(rule))[:, -1]
    products = last[:, :, None] * last[:, None, :]
    error = products.std(axis=0) / np.sqrt(replicas)
    assert np.all(np.abs(products.mean(axis=0) - second) < 4.8 * error + 1e-12)


@pytest.mark.parametrize("rule", [EAMSGD(0.1, 0.1, 0.9), ADMM(0.1, 1.0), DiLoCo(0.1, 0.7, 0.9)])
def test_a_number_is_where_every_x_starts(rule):
    names = state_names(type(rule), 2)
    every = [3.0 if name.startswith("x") else 0.0 for name in names]
    options = {"rounds": 4, "record": ALL}
    one, two = (
        simulate(rule, Synchronous(p=2), Quadratic([1.0, 0.5]), start=start, **options) for start in (3.0, every)
    )
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])
    assert one.attrs["start"] == 3.0
    default = simulate(rule, Synchronous(p=2), Quadratic([1.0, 0.5]), **options)
    assert default.identical(simulate(rule, Synchronous(p=2), Quadratic([1.0, 0.5]), start=1.0, **options))


def test_observables_are_what_they_are_called():
    h = np.array([1.0, 4.0])
    run = simulate(EASGD(0.2, 0.1), RoundRobin(p=3, tau=2), Quadratic(h, 0.5), rounds=6, replicas=4, record=ALL)
    assert run.worker_x.dims == ("replica", "round", "worker", "coordinate")
    assert run.center.dims == run.worker_mean.dims == ("replica", "round", "coordinate")
    np.testing.assert_allclose(run.worker_mean, run.worker_x.mean("worker"), rtol=1e-14)
    distance = ((run.worker_x - run.center) ** 2).sum("coordinate").mean("worker")
    np.testing.assert_allclose(run.spread, distance, rtol=1e-13)
    np.testing.assert_allclose(run.loss, 0.5 * (h * run.center**2).sum("coordinate"), rtol=1e-13)
    assert run.attrs["algorithm"] == "EASGD"
    assert (run.attrs["p"], run.attrs["tau"], run.attrs["eta"], run.attrs["noise"]) == (3, 2, 0.2, 0.5)
    assert (run.attrs["h"], run.attrs["seed"]) == ("[1.0, 4.0]", 0)
    assert np.isnan(run.diverged).all()


def test_statistics_are_those_of_the_replicas():
    options = {"rounds": 30, "replicas": 700, "seed": 2}
    rule, objective = EASGD(1.9, 1.3), Quadratic([1.2, 0.1], 1.0)  # the first coordinate diverges
    start = np.random.default_rng(0).standard_normal((700, 4, 2)) * np.logspace(120, 150, 700)[:, None, None]
    each = simulate(rule, Synchronous(p=3), objective, start=start, record=ALL, **options)
    record = Record(worker_mean=True, spread=True, loss=True, workers=True, statistics=True)
    both = simulate(rule, Synchronous(p=3), objective, start=start, record=record, **options)
    assert 0 < np.isfinite(both.diverged).sum() < 700
    np.testing.assert_array_equal(both.diverged, each.diverged)
    np.testing.assert_array_equal(both["count"], each.loss.notnull().sum("replica"))
    for name in ("center", "worker_mean", "worker_x"):
        np.testing.assert_allclose(both[name].sel(statistic="mean"), each[name].mean("replica"), rtol=1e-10)
        np.testing.assert_allclose(both[name].sel(statistic="variance"), each[name].var("replica", ddof=1), rtol=1e-10)


def test_the_variance_of_equal_replicas_is_0_however_large_they_are():
    options = {"rounds": 140, "replicas": 4, "record": Record(loss=True, spread=True, statistics=True)}
    run = simulate(EASGD(1.9, 1.3), RoundRobin(p=3), Quadratic(1.2), **options)
    assert run.loss.sel(statistic="mean").max() > 1e155  # whose square is no number
    assert run["count"].min() == 4
    for name in ("center", "loss", "spread"):
        assert (run[name].sel(statistic="variance") == 0.0).all()


def test_divergence_is_data():
    rule, schedule, rounds = EASGD(1.9, 1.3), RoundRobin(p=3), 300
    state, expected = [1.0, 1.0, 1.0, 1.0], None
    for t in range(1, rounds + 1):
        state = naive.easgd_round_robin(state, p=3, tau=1, h=1.2, eta=1.9, alpha=1.3)
        if expected is None and max(map(abs, state)) > 1e150:
            expected = t
    start = np.ones((2, 4, 1))
    start[1] = 0.0
    run = simulate(rule, schedule, Quadratic(1.2), rounds=rounds, replicas=2, start=start, record=ALL)
    assert run.diverged.values[0] == expected
    assert np.isnan(run.diverged.values[1])
    for name in ("center", "worker_mean", "worker_x", "spread", "loss"):
        lost = run[name].isnull().all(set(run[name].dims) - {"replica", "round"}).values
        np.testing.assert_array_equal(lost[0], np.arange(rounds + 1) >= expected)
        assert not lost[1].any()
    at_once = simulate(rule, schedule, Quadratic(1.2), rounds=3, start=np.full(4, 1e151))
    assert at_once.diverged.item() == 0
    assert at_once.center.isnull().all()


def test_parameters_may_be_functions_of_the_worker_s_clock():
    def eta(t):
        return 0.3 / math.sqrt(1 + 0.2 * t)

    rounds, tau, p, alpha = 9, 3, 2, 0.2
    for schedule in (Synchronous(p, tau), RoundRobin(p, tau)):
        run = simulate(EASGD(eta, alpha), schedule, Quadratic(1.5), rounds=rounds, replicas=2, record=ALL)
        x, c, clock = [1.0] * p, 1.0, [0] * p
        for t in range(rounds):
            old = c
            for i in range(p):
                seen = old if isinstance(schedule, Synchronous) else c
                move = alpha * (x[i] - seen)
                x[i] = x[i] - eta(clock[i]) * 1.5 * x[i] - move
                for s in range(1, tau):
                    x[i] -= eta(clock[i] + s) * 1.5 * x[i]
                clock[i] += tau
                c += move
            np.testing.assert_allclose(run.worker_x[0, t + 1, :, 0], x, rtol=1e-13)
            assert run.center[0, t + 1, 0].item() == pytest.approx(c, rel=1e-13)
        assert "function" in run.attrs["eta"]


def test_each_worker_has_its_own_clock():
    decay = simulate(
        EASGD(lambda t: 0.5 if t < 4 else 0.0, 0.0),
        RandomOrder(p=3, tau=2),
        Quadratic(1.0),
        rounds=20,
        replicas=5,
        record=ALL,
    )
    np.testing.assert_array_equal(decay.worker_x[:, -1], 0.5**4)  # each has stopped after two of its own visits


def test_matrices_that_do_not_commute():
    rng = np.random.default_rng(4)
    p, d, eta, alpha, tau = 3, 4, 0.1, 0.2, 2
    h = rng.standard_normal((p, d, d))
    h = h + h.transpose(0, 2, 1)
    start = rng.standard_normal((p + 1, d))
    for schedule in (Synchronous(p, tau), RoundRobin(p, tau)):
        run = simulate(EASGD(eta, alpha), schedule, Quadratic(h), rounds=5, start=start, record=ALL)
        x, c = start[:p].copy(), start[p].copy()
        for t in range(6):
            np.testing.assert_allclose(run.center[0, t], c, rtol=1e-12)
            np.testing.assert_allclose(run.worker_x[0, t], x, rtol=1e-12)
            assert run.loss[0, t].item() == pytest.approx(np.mean([0.5 * c @ m @ c for m in h]), rel=1e-12)
            seen = c.copy()
            for i in range(p):
                move = alpha * (x[i] - (seen if isinstance(schedule, Synchronous) else c))
                x[i] = x[i] - eta * h[i] @ x[i] - move
                x[i] = x[i] - eta * h[i] @ x[i]
                c = c + move


def test_random_curvature_has_its_second_moment():
    """With alpha = 0 the workers are SGD: E x'^2 = ((1 - eta h)^2 + eta^2 s^2) E x^2 + eta^2 sigma^2."""
    eta, h, s, sigma, replicas = 0.5, 1.0, 0.8, 0.3, 40_000
    run = simulate(
        EASGD(eta, 0.0), Synchronous(p=1), Quadratic(h, sigma, s), rounds=6, replicas=replicas, record=ALL
    ).worker_x.values[:, :, 0, 0]
    second = 1.0
    for t in range(1, 7):
        second = ((1 - eta * h) ** 2 + (eta * s) ** 2) * second + (eta * sigma) ** 2
        assert np.mean(run[:, t] ** 2) == pytest.approx(second, abs=4.5 * np.std(run[:, t] ** 2) / replicas**0.5)


@pytest.mark.parametrize("shape", [0.5, 0.25, 3.0])
def test_linear_regression_has_its_second_moments(shape):
    """E x'x'^T for S = E x x^T = diag(a): with independent u_j of variance v_j and E u_j^4 = (1 + 1/shape) v_j^2."""
    eta, sigma, replicas = 0.2, 0.5, 40_000
    v, a = np.array([1.0, 0.4]), np.array([1.0, 1.0])
    run = simulate(
        EASGD(eta, 0.0),
        Synchronous(p=1),
        LinearRegression(v, sigma, shape),
        rounds=1,
        replicas=replicas,
        seed=8,
        start=np.random.default_rng(0).choice([-1.0, 1.0], (replicas, 2, 2)),
        record=ALL,
    ).worker_x.values[:, 1, 0]
    fourth = (1 + 1 / shape) * v**2
    squares = fourth * a + v * (v @ a - v * a)
    expected = a - 2 * eta * v * a + eta**2 * (squares + sigma**2 * v)
    error = np.std(run**2, axis=0) / replicas**0.5
    assert np.all(np.abs(np.mean(run**2, axis=0) - expected) < 4.5 * error)


@pytest.mark.parametrize(("rho", "trapped"), [(0.6, True), (0.72, False)])
def test_the_double_well_traps_the_center_below_two_thirds(rho, trapped):
    eta = 0.05
    start = np.array([1.0, -0.99, 0.005])
    run = simulate(EASGD(eta, eta * rho), Synchronous(p=2), DoubleWell(), rounds=20_000, start=start, record=ALL)
    x, c = run.worker_x.values[0, -1, :, 0], run.center.values[0, -1, 0]
    if trapped:
        np.testing.assert_allclose([*x, c], [math.sqrt(1 - rho), -math.sqrt(1 - rho), 0.0], atol=1e-6)
        assert run.loss[0, -1].item() == pytest.approx(0.25)
    else:
        np.testing.assert_allclose(np.abs([*x, c]), 1.0, atol=1e-6)


@pytest.fixture(scope="module")
def logistic():
    """A small strongly convex problem: objective, minimum, and the constants mu and L."""
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((40, 3))
    labels = np.sign(inputs @ [1.0, -2.0, 0.5] + rng.standard_normal(40))
    penalty = 0.1

    def value(x):
        return np.mean(np.logaddexp(0, -labels * (inputs @ x))) + 0.5 * penalty * x @ x

    best = minimize(value, np.zeros(3), method="BFGS", options={"gtol": 1e-10}).x
    largest = penalty + np.linalg.eigvalsh(inputs.T @ inputs).max() / (4 * len(inputs))
    return LogisticRegression(inputs, labels, penalty, noise=0.3), value, best, penalty, largest


def test_logistic_regression_has_its_gradient_and_its_loss(logistic):
    noisy, value, best, _, _ = logistic
    objective = LogisticRegression(noisy.inputs, noisy.labels, noisy.penalty)
    start = np.random.default_rng(2).standard_normal((2, 3))
    run = simulate(EASGD(0.1, 0.0), Synchronous(p=1), objective, rounds=1, start=start, record=ALL)
    numeric = [(value(start[0] + e) - value(start[0] - e)) / 2e-6 for e in 1e-6 * np.eye(3)]
    np.testing.assert_allclose((start[0] - run.worker_x.values[0, 1, 0]) / 0.1, numeric, atol=1e-8)
    assert run.loss[0, 0].item() == pytest.approx(value(start[1]), rel=1e-12)
    long = simulate(EASGD(0.5, 0.1), RoundRobin(p=2), objective, rounds=400)
    np.testing.assert_allclose(long.center[0, -1], best, atol=1e-6)


def test_the_strongly_convex_bound_holds_along_runs(logistic):
    """Theorem 7.1: one step by Monte Carlo, and iterated, which needs gamma_1 + gamma_2 + alpha <= 1."""
    objective, _, best, mu, largest = logistic
    p, alpha, replicas, rounds = 4, 0.1, 1500, 40
    eta = 0.5 * 2 * (1 - alpha) / (mu + largest)
    beta, sigma2 = p * alpha, 3 * objective.noise**2
    run = simulate(EASGD(eta, alpha), Synchronous(p), objective, rounds=rounds, replicas=replicas, record=ALL)
    a = ((run.worker_mean - best) ** 2).sum("coordinate").values
    b = ((run.worker_x - best) ** 2).sum("coordinate").mean("worker").values
    c = ((run.center - best) ** 2).sum("coordinate").values
    g1 = 2 * eta * mu * largest / (mu + largest)
    g2 = 2 * eta * largest * (1 - 2 * math.sqrt(mu * largest) / (mu + largest))
    assert g1 + g2 + alpha <= 1
    matrix = np.array([[1 - g1 - g2 - alpha, g2, alpha], [0, 1 - g1 - alpha, alpha], [beta, 0, 1 - beta]])
    noise = np.array([eta**2 * sigma2 / p, eta**2 * sigma2, 0.0])
    errors = np.stack([a, b, c])
    mean, spread = errors.mean(axis=1), errors.std(axis=1) / math.sqrt(replicas)
    bound = mean[:, 0]
    for t in range(1, rounds + 1):
        bound = matrix @ bound + noise
        slack = 4.5 * (spread[:, t] + matrix @ spread[:, t - 1])
        assert np.all(mean[:, t] <= matrix @ mean[:, t - 1] + noise + slack)
        assert np.all(mean[:, t] <= bound + 4.5 * spread[:, t])


@pytest.mark.parametrize("rule", [EASGD(0.5, 0.1), EASGD(0.1, 0.02)])
def test_double_averaging_reaches_the_optimal_variance(rule):
    """Lemma 7.2: sqrt(t) z_t tends to N(0, sigma^2 / (p h^2)), whatever the stable parameters."""
    p, h, sigma, rounds, replicas = 4, 0.8, 2.0, 3000, 3000
    run = simulate(rule, Synchronous(p), Quadratic(h, sigma), rounds=rounds, replicas=replicas, start=np.zeros(p + 1))
    average = run.center.values[:, :, 0].mean(axis=1)
    optimum = sigma**2 / (p * h**2)
    assert rounds * average.var() == pytest.approx(optimum, rel=4.5 * math.sqrt(2 / replicas))


def test_who_comes_before_whom_is_decided_in_one_place(monkeypatch):
    """Turn the phases of a visit round, and the map and the simulation turn with them."""
    rule, schedule = EASGD(0.3, 0.2), RoundRobin(p=3, tau=2)
    before = iteration_map(rule, schedule, h=1.5).matrix
    monkeypatch.setattr(visit, "phases", lambda rule: ("message", "center", "meet"))
    after = iteration_map(rule, schedule, h=1.5).matrix
    assert np.abs(after - before).max() > 0.01
    start = np.array([1.0, -2.0, 0.5, 3.0])
    run = simulate(rule, schedule, Quadratic(1.5), rounds=1, start=start, record=ALL)
    np.testing.assert_allclose(states(run, EASGD)[0, 1], after @ start, rtol=1e-14)
