"""Closed conditions against spectra: exact where they say so, sufficient elsewhere, and the papers' own forms.

e = eta h throughout, g = 1 - e, G = g^(tau-1), as in RESULTS.md.
"""

import math

import naive
import numpy as np
import pytest
import sympy

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
    critical_value,
    is_stable,
    spectral_radius,
    stability_condition,
)

ONE = Synchronous(p=1)
BAND = 1e-7  # the radius is undecided within this of 1: an eigenvalue may be double there

ANY, FEW = (1, 2, 3, 4, 8), (1, 2)  # the p with a condition
PAIRS = [
    *((kind, Synchronous, p) for kind in (EASGD, EAMSGD, ADMM, DOWNPOUR, MDOWNPOUR, LocalSGD, DiLoCo) for p in ANY),
    *((kind, RoundRobin, p) for kind in (EASGD, EAMSGD, DOWNPOUR, LocalSGD) for p in ANY),
    *((kind, RoundRobin, p) for kind in (ADMM, MDOWNPOUR, DiLoCo) for p in FEW),
    *((kind, schedule, 1) for kind in (SGD, MSGD, Lookahead) for schedule in (Synchronous, RoundRobin)),
]
EVERY = [
    pytest.param(kind, schedule(p=p, tau=tau), id=f"{kind.__name__}-{schedule.__name__}-p{p}-tau{tau}")
    for kind, schedule, p in PAIRS
    for tau in ((1,) if "tau" in kind.requires_one else (1, 2, 3, 4))
]


def draw(kind, n, seed, scale="wide"):
    """`n` points of a box that reaches beyond the stable range on every side, or of its interior."""
    random = np.random.default_rng(seed)
    boxes = {
        "wide": {
            "eta": (-1, 6),
            "alpha": (-1, 4),
            "rho": (-3, 6),
            "delta": (-1.5, 1.5),
            "nu": (-1, 3),
            "mu": (-1.5, 1.5),
        },
        "usual": {"eta": (0, 2), "alpha": (0, 1.5), "rho": (0, 5), "delta": (0, 1), "nu": (0, 2), "mu": (0, 1)},
    }
    return {name: random.uniform(*boxes[scale][name], n) for name in kind.parameters()}


# Exact is exact, sufficient is sufficient


@pytest.mark.parametrize("scale", ["wide", "usual"])
@pytest.mark.parametrize(("kind", "schedule"), EVERY)
def test_the_condition_is_what_the_spectrum_says(kind, schedule, scale):
    condition = stability_condition(kind, schedule)
    values = draw(kind, 400, 1, scale)
    h = np.random.default_rng(2).uniform(-0.3, 2, 400)
    radius = spectral_radius(kind(**values), schedule, h)
    decided = np.abs(radius - 1) > BAND
    for strict in (False, True):
        holds = condition.holds(h=h, strict=strict, **values)
        assert not (holds & decided & (radius > 1)).any()
        if condition.exact:
            assert not (~holds & decided & (radius < 1)).any()
    assert decided.sum() > 350


@pytest.mark.parametrize(("kind", "schedule"), [param for param in EVERY if param.values[1].tau <= 3])
def test_the_expression_is_what_holds_evaluates(kind, schedule):
    condition = stability_condition(kind, schedule)
    values = draw(kind, 150, 3, "usual")
    names = (*kind.parameters(), "h")
    assert condition.expression.free_symbols <= set(sympy.symbols(names))
    evaluate = sympy.lambdify(names, condition.expression, "numpy")
    found = np.broadcast_to(evaluate(*values.values(), 1.3), 150)
    np.testing.assert_array_equal(found, condition.holds(h=1.3, **values))


@pytest.mark.parametrize(
    ("kind", "schedule"),
    [
        (EASGD, Synchronous),
        (EAMSGD, Synchronous),
        (DOWNPOUR, Synchronous),
        (DOWNPOUR, RoundRobin),
        (MDOWNPOUR, Synchronous),
    ],
    ids=lambda value: value.__name__,
)
def test_the_expression_keeps_p_as_a_symbol_where_none_is_given(kind, schedule):
    condition = stability_condition(kind, schedule())
    assert "p" in {str(symbol) for symbol in condition.expression.free_symbols}
    values = draw(kind, 150, 4, "usual")
    [p] = [symbol for symbol in condition.expression.free_symbols if str(symbol) == "p"]
    for workers in (1, 2, 5):
        found = sympy.lambdify((*kind.parameters(), "h"), condition.expression.subs(p, workers), "numpy")
        np.testing.assert_array_equal(found(*values.values(), 1.3), condition.holds(p=workers, h=1.3, **values))


@pytest.mark.parametrize(
    ("rule", "schedule"), [(MDOWNPOUR(delta=1.5), Synchronous(p=1)), (EASGD(eta=0, alpha=3), Synchronous(p=2))]
)
def test_what_fails_whatever_the_symbols_are_is_false(rule, schedule):
    condition = stability_condition(rule, schedule)
    assert condition.expression == sympy.false
    assert not condition.holds(**{name: 0.1 for name in rule.parameters() if getattr(rule, name) is None})


@pytest.mark.parametrize("tau", [1, 2, 3])
def test_the_condition_for_every_p_is_exact_in_the_limit(tau):
    """docs/limit.md, Theorem 2.1."""
    schedule = RoundRobin(p=np.inf, tau=tau)
    condition = stability_condition(EASGD, schedule)
    assert condition.exact
    eta, alpha = np.random.default_rng(tau).uniform([[-0.2], [-0.2]], [[2.2], [2.2]], (2, 400))
    radius = spectral_radius(EASGD(eta, alpha), schedule)
    decided = np.abs(radius - 1) > 1e-9
    np.testing.assert_array_equal(condition.holds(eta=eta, alpha=alpha)[decided], (radius < 1)[decided])


@pytest.mark.parametrize(("kind", "schedule"), EVERY)
def test_a_condition_says_what_it_is(kind, schedule):
    condition = stability_condition(kind, schedule)
    assert condition.exact in (True, False)
    for text in (condition.statement, condition.domain, condition.reference):
        assert text.strip()
        assert "\n" not in text


@pytest.mark.parametrize(
    ("algorithm", "schedule", "exact"),
    [
        (EASGD, RoundRobin(p=3), True),
        (EASGD, RoundRobin(p=2), False),
        (EASGD, RoundRobin(), True),
        (EASGD(eta=0.1), RoundRobin(p=5), True),
        (EASGD, RoundRobin(p=8), False),
        (EASGD, Synchronous(p=8), True),
        (EAMSGD, RoundRobin(p=1), True),
        (EAMSGD, RoundRobin(), True),
        (EAMSGD, RoundRobin(p=4), False),
        (DOWNPOUR, RoundRobin(p=8, tau=2), True),
        (SGD, RoundRobin(), True),
    ],
    ids=str,
)
def test_exact_is_as_the_design_fixes_it(algorithm, schedule, exact):
    assert stability_condition(algorithm, schedule).exact is exact


@pytest.mark.parametrize(
    ("kind", "schedule"),
    [
        pytest.param(ADMM, RoundRobin(p=3), id="admm"),
        pytest.param(ADMM, RoundRobin(), id="admm-every_p"),
        pytest.param(MDOWNPOUR, RoundRobin(p=3), id="mdownpour"),
        pytest.param(DiLoCo, RoundRobin(p=3, tau=2), id="diloco"),
    ],
)
def test_where_no_closed_form_is_known_stable_intervals_is_named(kind, schedule, refused):
    refused(lambda: stability_condition(kind, schedule), kind.__name__, "RoundRobin", "stable_intervals")


# For every p at once


@pytest.mark.parametrize("tau", [1, 2, 3, 4])
@pytest.mark.parametrize(("kind", "beyond"), [(EASGD, (2, 3)), (EAMSGD, (2, 3, 5, 13, 40))], ids=["EASGD", "EAMSGD"])
def test_for_every_p_at_once(kind, beyond, tau):
    condition = stability_condition(kind, RoundRobin(tau=tau))
    values = draw(kind, 250, 5, "usual") | {"alpha": np.random.default_rng(6).uniform(-0.2, 2.3, 250)}
    holds = condition.holds(**values)
    assert 50 < holds.sum() < 220
    radius = {p: spectral_radius(kind(**values), RoundRobin(p=p, tau=tau)) for p in {*range(1, 9), *beyond}}
    for p in range(1, 9):
        assert (radius[p][holds] < 1 + BAND).all()
    unstable = np.any([radius[p] > 1 + BAND for p in (1, *beyond)], axis=0)
    factors = [values | {name: values[name] * factor} for name in values for factor in (0.97, 1.03)]
    clearly_beyond = ~np.any([holds, *(condition.holds(**nearby) for nearby in factors)], axis=0)
    assert clearly_beyond.any()
    assert unstable[clearly_beyond].all()


@pytest.mark.parametrize(
    ("values", "tau"),
    [((1.0, 0.5, 0.9), 2), ((0.9457, 0.058, 0.0161), 10), ((1.0, 0.5, 0.0), 3), ((0.999, 0.3, 0.5), 4)],
    ids=str,
)
def test_eamsgd_holds_where_local_steps_contract_almost_at_once(values, tau):
    assert all(is_stable(EAMSGD(*values), RoundRobin(p=p, tau=tau), strict=True) for p in (1, 2, 3, 8, 40))
    found = stability_condition(EAMSGD, RoundRobin(tau=tau))
    assert found.holds(**dict(zip(EAMSGD.parameters(), values, strict=True)), strict=True) is True


def test_eamsgd_without_momentum_is_easgd_for_every_p():
    values = draw(EASGD, 400, 7)
    easgd = stability_condition(EASGD, RoundRobin()).holds(strict=True, **values)
    eamsgd = stability_condition(EAMSGD, RoundRobin()).holds(strict=True, delta=0.0, **values)
    np.testing.assert_array_equal(easgd, eamsgd)


def test_a_simple_rule_for_eamsgd():
    random = np.random.default_rng(8)
    eta, alpha, delta = (
        random.uniform(0.01, 1, 500),
        random.uniform(0.01, 2 / 3 - 0.01, 500),
        random.uniform(0, 0.999, 500),
    )
    assert stability_condition(EAMSGD, RoundRobin()).holds(eta=eta, alpha=alpha, delta=delta).all()


def test_momentum_near_one_does_not_destabilize_eamsgd():
    condition = stability_condition(EAMSGD, RoundRobin())
    assert condition.holds(eta=np.linspace(0.05, 1.3, 20), alpha=0.05, delta=1 - 1e-9).all()
    assert not condition.holds(eta=1.34, alpha=0.05, delta=1 - 1e-9)
    assert condition.holds(eta=1e-3, alpha=16 / 17 - 2e-3, delta=1 - 1e-9)
    assert not condition.holds(eta=1e-3, alpha=16 / 17 + 2e-3, delta=1 - 1e-9)


# The papers' own forms


def test_easgd_round_robin_is_the_papers_condition():
    values = draw(EASGD, 2000, 9)
    e, alpha = 1.3 * values["eta"], values["alpha"]
    with np.errstate(divide="ignore"):
        paper = (e >= 0) & (e <= 2) & (alpha >= 0) & (alpha <= (4 - 2 * e) / (4 - e))
    for p in (None, 1, 2, 3, 8):
        np.testing.assert_array_equal(stability_condition(EASGD, RoundRobin(p=p)).holds(h=1.3, **values), paper)


@pytest.mark.parametrize("p", [1, 2, 5, 100])
def test_easgd_synchronous_is_the_papers_condition(p):
    values = draw(EASGD, 2000, 10)
    e, alpha = 1.3 * values["eta"], values["alpha"] / p
    lemma = (e > 0) & (alpha > 0) & ((2 - e) * (2 - p * alpha) > 2 * alpha) & ((2 - e) + (2 - p * alpha) > alpha)
    explicit = (e > 0) & (e < 2) & (alpha > 0) & (alpha < 2 * (2 - e) / (2 + p * (2 - e)))
    np.testing.assert_array_equal(lemma, explicit)
    found = stability_condition(EASGD, Synchronous(p=p)).holds(h=1.3, eta=values["eta"], alpha=alpha, strict=True)
    np.testing.assert_array_equal(found, lemma)
    assert found.any()


def test_the_symbolic_easgd_condition_is_the_papers():
    eta, alpha, h = sympy.symbols("eta alpha h")
    expression = stability_condition(EASGD, RoundRobin(p=3)).expression
    e = eta * h
    paper = {e, 2 - e, alpha, 4 - 2 * e - alpha * (4 - e)}
    assert {sympy.expand(part.lhs - part.rhs) for part in expression.args} == {sympy.expand(slack) for slack in paper}


SEQUENTIAL = [
    pytest.param(SGD, {}, "eta", 2.0, id="sgd"),
    pytest.param(MSGD, {"delta": 0.9}, "eta", 2 * 1.9 / 2.8, id="msgd"),
    pytest.param(MSGD, {"delta": 0.0}, "eta", 2.0, id="msgd-delta_0"),
    pytest.param(Lookahead, {"alpha": 0.5}, "eta", 4.0, id="lookahead"),
    pytest.param(Lookahead, {"eta": 0.5}, "alpha", 4.0, id="lookahead-alpha"),
    pytest.param(DiLoCo, {"nu": 0.7, "mu": 0.9}, "eta", 2 * 1.9 / 2.8 / 0.7, id="diloco"),
    pytest.param(DiLoCo, {"eta": 1.0, "mu": 0.5}, "nu", 1.5, id="diloco-nu"),
    pytest.param(LocalSGD, {}, "eta", 2.0, id="local_sgd"),
    pytest.param(MDOWNPOUR, {"delta": 0.9}, "eta", 2 * 1.9 / 0.9, id="mdownpour"),
    pytest.param(MDOWNPOUR, {"delta": 0.9, "nesterov": True}, "eta", 2 * 1.9 / 2.8, id="mdownpour-nesterov"),
    pytest.param(EAMSGD, {"eta": 1.0, "delta": 0.9}, "alpha", 2 / 3, id="eamsgd-p1"),
    pytest.param(EAMSGD, {"eta": 0.5, "delta": 0.9}, "alpha", (2 + 5.6 * 0.5) / (3 + 4.6 * 0.5), id="eamsgd-p1-R4"),
]


@pytest.mark.parametrize(("kind", "values", "name", "limit"), SEQUENTIAL)
def test_limits_of_one_worker(kind, values, name, limit):
    algorithm = kind(**values)
    for schedule in (Synchronous(p=1), RoundRobin(p=1)):
        condition = stability_condition(algorithm, schedule)
        assert condition.exact
        assert condition.holds(**{name: limit * (1 - 1e-6)}, strict=True)
        assert not condition.holds(**{name: limit * (1 + 1e-6)})
        assert critical_value(name, algorithm, schedule) == pytest.approx(limit, abs=1e-9)


def test_the_jury_condition_of_msgd_is_solved_by_sympy_to_the_known_limit():
    expression = stability_condition(MSGD(delta=sympy.Rational(9, 10)), ONE).expression
    solution = expression.subs({"h": 1, "eta": sympy.Symbol("eta", real=True)}).as_set()
    assert solution == sympy.Interval(0, sympy.Rational(19, 14))


@pytest.mark.parametrize("tau", [1, 2, 5])
@pytest.mark.parametrize(("nu", "mu"), [(0.7, 0.9), (1.0, 0.0), (1.4, 0.5)])
def test_diloco_in_terms_of_kappa(tau, nu, mu):
    eta = np.linspace(-0.5, 3, 351) + 1e-4
    kappa = 1 - (1 - eta) ** tau
    condition = stability_condition(DiLoCo(nu=nu, mu=mu), Synchronous(p=4, tau=tau))
    expected = (nu * kappa > 0) & (nu * kappa < 2 * (1 + mu) / (1 + 2 * mu))
    np.testing.assert_array_equal(condition.holds(eta=eta), expected)


@pytest.mark.parametrize("tau", [1, 2, 5])
def test_lookahead_and_local_sgd_in_terms_of_kappa(tau):
    eta = np.linspace(-0.5, 3, 351) + 1e-4
    kappa = 1 - (1 - eta) ** tau
    lookahead = stability_condition(Lookahead(alpha=0.8), Synchronous(p=1, tau=tau))
    np.testing.assert_array_equal(lookahead.holds(eta=eta), (0.8 * kappa > 0) & (0.8 * kappa < 2))
    local = stability_condition(LocalSGD, Synchronous(p=6, tau=tau))
    np.testing.assert_array_equal(local.holds(eta=eta), np.abs(1 - eta) < 1)


@pytest.mark.parametrize("tau", [1, 2, 3])
@pytest.mark.parametrize("p", [1, 3, 8, 20])
@pytest.mark.parametrize("kind", [DOWNPOUR, LocalSGD], ids=["DOWNPOUR", "LocalSGD"])
def test_downpours_limit_is_levin_and_mays(kind, p, tau):
    rest = 1 - 2 * math.sin(math.pi / (2 * (2 * p - 1)))  # where (1 - eta)^tau must stay
    limit = 2.0 if p == 1 and tau == 2 else 1 - math.copysign(abs(rest) ** (1 / tau), rest)
    condition = stability_condition(kind, RoundRobin(p=p, tau=tau))
    assert condition.holds(eta=limit * (1 - 1e-7), strict=True)
    assert not condition.holds(eta=limit * (1 + 1e-7))


def test_mdownpours_limit_falls_at_the_second_worker():
    assert stability_condition(MDOWNPOUR, RoundRobin(p=2)).holds(eta=0.1 / 0.9 - 1e-7, delta=0.9)
    assert not stability_condition(MDOWNPOUR, RoundRobin(p=2)).holds(eta=0.1 / 0.9 + 1e-7, delta=0.9)


def test_mdownpour_in_look_ahead_form_has_its_own_limit_at_two_workers():
    condition = stability_condition(MDOWNPOUR(delta=0.9, nesterov=True), RoundRobin(p=2))
    low, high = 0.0, 2.0
    for _ in range(50):  # bisection on the naive loops
        middle = (low + high) / 2
        arguments = {"p": 2, "tau": 1, "h": 1.0, "eta": middle, "delta": 0.9, "nesterov": True}
        matrix = naive.round_matrix(naive.mdownpour_round_robin, 4, **arguments)
        low, high = (middle, high) if naive.spectral_radius(matrix) <= 1 else (low, middle)
    assert condition.holds(eta=low - 1e-7, strict=True)
    assert not condition.holds(eta=high + 1e-7)


# Any order


@pytest.mark.parametrize("tau", [1, 3])
def test_any_order_is_bounded_iff_the_condition_holds(tau):
    random = np.random.default_rng(11)
    condition = stability_condition(EASGD, RoundRobin(tau=tau))
    p, sides = 4, set()
    for eta, alpha in zip(random.uniform(0.05, 0.95, 40), random.uniform(0.1, 1.6, 40), strict=True):
        steps = []
        for i in range(p):  # a tick of worker i, from the loops: with one worker acting, the others wait
            block = naive.round_matrix(naive.easgd_round_robin, 2, p=1, tau=tau, h=1.0, eta=eta, alpha=alpha)
            steps.append(np.eye(p + 1))
            steps[i][np.ix_([i, p], [i, p])] = block
        scale = np.ones(p + 1)
        scale[p] = 1 / math.sqrt((1 - eta) ** (tau - 1))  # in which the steps are symmetric (RESULTS.md, R3)
        steps = [step * scale / scale[:, None] for step in steps]
        bounded = condition.holds(eta=eta, alpha=alpha)
        sides.add(bounded)
        if bounded:
            after = np.eye(p + 1)
            for i in random.integers(p, size=300):
                after = steps[i] @ after
                assert np.linalg.norm(after, 2) <= 1 + 1e-12
        else:  # an order that wakes one worker only
            assert np.linalg.norm(np.linalg.matrix_power(steps[0], 200), 2) > 1.5
    assert sides == {True, False}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_r10_negative_curvature_always_grows(name):
    kind = ALGORITHMS[name]
    values = {n: np.clip(v, 0.01, None) for n, v in draw(kind, 100, 12, "usual").items()}
    for schedule in (RoundRobin, Synchronous):
        p = 1 if "p" in kind.requires_one else 3
        assert (spectral_radius(kind(**values), schedule(p=p), h=-0.3) > 1).all()


# Boundaries


@pytest.mark.parametrize(
    ("algorithm", "schedule", "h"),
    [
        pytest.param(EASGD(1.0, 2 / 3), RoundRobin(p=3), 1.0, id="easgd-alpha"),
        pytest.param(EASGD(2.0, 0.0), RoundRobin(p=3), 1.0, id="easgd-eta"),
        pytest.param(EASGD(1.0, 0.0), RoundRobin(p=3), 1.0, id="easgd-alpha_0"),
        pytest.param(EASGD(1.0, 1.0), RoundRobin(p=3), 0.0, id="easgd-h_0"),
        pytest.param(EASGD(1.0, 0.5), Synchronous(p=2), 1.0, id="easgd-synchronous"),
        pytest.param(EASGD(0.4, 0.0), Synchronous(p=2), 1.0, id="easgd-synchronous-alpha_0"),
        pytest.param(EASGD(1.0, 0.5), Synchronous(p=2), 0.0, id="easgd-synchronous-h_0"),
        pytest.param(EAMSGD(1.0, 2 / 3, 0.9), RoundRobin(p=1), 1.0, id="eamsgd"),
        pytest.param(EAMSGD(1.0, 0.5, 1.0), RoundRobin(p=1), 0.0, id="eamsgd-jordan_block"),
        pytest.param(EAMSGD(1.0, 0.5, 1.0), RoundRobin(p=3), 0.0, id="eamsgd-p3-jordan_block"),
        pytest.param(EAMSGD(1.0, 0.5, 0.9), RoundRobin(p=3), 0.0, id="eamsgd-h_0"),
        pytest.param(SGD(2.0), ONE, 1.0, id="sgd"),
        pytest.param(SGD(2.0), ONE, 0.0, id="sgd-h_0"),
        pytest.param(MSGD(1.0, 1.0), ONE, 0.0, id="msgd-jordan_block"),
        pytest.param(MSGD(1.0, 0.5), ONE, 0.0, id="msgd-h_0"),
        pytest.param(MSGD(2 * 1.5 / 2, 0.5), ONE, 1.0, id="msgd-eta"),
        pytest.param(MSGD(4 / 3, 1.0), ONE, 1.0, id="msgd-delta_1"),
        pytest.param(DOWNPOUR(2 * math.sin(math.pi / 10)), RoundRobin(p=3), 1.0, id="downpour"),
        pytest.param(DOWNPOUR(0.3), RoundRobin(p=3, tau=2), 0.0, id="downpour-h_0"),
        pytest.param(DOWNPOUR(2.0), RoundRobin(p=3, tau=2), 1.0, id="downpour-eta_2"),
        pytest.param(LocalSGD(2.0), Synchronous(p=3, tau=2), 1.0, id="local_sgd"),
        pytest.param(MDOWNPOUR(1 / 9, 0.9), RoundRobin(p=2), 1.0, id="mdownpour"),
        pytest.param(MDOWNPOUR(0.1, 1.0), RoundRobin(p=2), 0.0, id="mdownpour-jordan_block"),
        pytest.param(DiLoCo(1.0, 1.5, 0.5), Synchronous(p=3), 1.0, id="diloco"),
        pytest.param(DiLoCo(1.0, 0.5, 1.0), Synchronous(p=3), 0.0, id="diloco-jordan_block"),
        pytest.param(Lookahead(1.0, 2.0), ONE, 1.0, id="lookahead"),
        pytest.param(ADMM(0.5, 0.5), Synchronous(p=3), 0.0, id="admm-h_0"),
        pytest.param(ADMM(0.5, 0.5), RoundRobin(p=2), 0.0, id="admm-p2-h_0"),
        pytest.param(ADMM(3.0, 0.5), RoundRobin(p=2), 1.0, id="admm-beyond"),
    ],
)
@pytest.mark.parametrize("strict", [False, True], ids=["bounded", "convergent"])
def test_on_the_boundary_holds_is_what_is_stable_says(algorithm, schedule, h, strict):
    expected = is_stable(algorithm, schedule, h, strict=strict)
    assert stability_condition(algorithm, schedule).holds(h=h, strict=strict) is expected


@pytest.mark.parametrize(
    ("algorithm", "schedule"),
    [
        pytest.param(EASGD(1e-5, 1e-5), ONE, id="easgd"),
        pytest.param(EASGD(1e-3, 1e-7), Synchronous(p=8), id="easgd-p8"),
        pytest.param(EAMSGD(5e-4, 1.5e-6, 0.02), RoundRobin(p=1), id="eamsgd"),
        pytest.param(ADMM(4e-5, 4e-6), Synchronous(p=2), id="admm"),
    ],
)
def test_small_steps_are_no_boundary(algorithm, schedule):
    assert is_stable(algorithm, schedule, strict=True)
    assert stability_condition(algorithm, schedule).holds(strict=True) is True


def test_the_boundary_for_every_p_is_closed_where_the_theorem_says_so():
    condition = stability_condition(EASGD, RoundRobin())
    edges = {"eta": np.array([1.0, 2.0, 0.0, 1.0]), "alpha": np.array([2 / 3, 0.0, 0.5, 0.0])}
    assert condition.holds(**edges).all()
    assert not condition.holds(**edges, strict=True).any()
    for p in (1, 2, 3, 8):
        assert is_stable(EASGD(**edges), RoundRobin(p=p)).all()


def test_jury_is_derived_for_any_given_values():
    condition = stability_condition(EASGD(eta=0.5, alpha=sympy.Symbol("a", positive=True)), Synchronous(p=2))
    [a] = condition.expression.free_symbols - {sympy.Symbol("h")}
    assert condition.expression.subs({a: 0.5, "h": 1}) == sympy.true
    assert condition.expression.subs({a: 0.7, "h": 1}) == sympy.false
