"""Iteration maps against the naive loops and the paper's matrices, and what has no iteration map."""

import math
from dataclasses import dataclass
from functools import reduce

import naive
import numpy as np
import pytest
import sympy
from cases import CASES, SCHEDULES, select

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
    RoundRobin,
    Synchronous,
    iteration_map,
    spectral_radius,
)
from easgd_theory.algorithm import Algorithm
from easgd_theory.linear import LinearForm, NotLinear, stack, unit_forms
from easgd_theory.maps import numeric_field, synchronous_blocks
from easgd_theory.visit import tick

z = sympy.Symbol("z")


def our_map(case):
    return iteration_map(case.algorithm, case.schedule, case.h)


def close(actual, desired, relative=1e-13):
    """Entry by entry, relative to the largest entry: rounding of a few dozen operations."""
    np.testing.assert_allclose(actual, desired, rtol=0, atol=relative * max(1, np.abs(desired).max()))


# Against the naive loops


@pytest.mark.parametrize("case", select(lambda case: case.same_layout))
def test_the_matrix_is_the_naive_one(case):
    close(our_map(case).matrix, case.naive_matrix())


@pytest.mark.parametrize("case", select(lambda case: not case.same_layout))
def test_the_matrix_is_the_naive_one_in_our_layout(case):
    embedding = case.embedding()
    close(our_map(case).matrix @ embedding, embedding @ case.naive_matrix())


@pytest.mark.parametrize("case", CASES)
def test_the_center_follows_the_naive_trajectory(case):
    state, ours = case.start().tolist(), case.embedding() @ case.start()
    names = our_map(case).state
    center = names.index("x_center") if "x_center" in names else 0
    for _ in range(5):
        state, ours = case.step(state, **case.arguments), our_map(case).matrix @ ours
    expected = case.embedding() @ state
    assert ours[center] == pytest.approx(expected[center], rel=0, abs=1e-12 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("case", CASES)
def test_the_spectral_radius_is_the_naive_one(case):
    # A double eigenvalue, as EASGD has where two branches meet, is good to the root of the rounding: 1e-8.
    expected = naive.spectral_radius(case.naive_matrix())
    assert spectral_radius(case.algorithm, case.schedule, case.h) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("case", select(lambda case: case.point.split("_")[0] in ("calm", "wild")))
def test_the_points_of_the_table_are_on_the_side_they_say(case):
    stable = naive.spectral_radius(case.naive_matrix()) < 1
    assert stable == case.point.startswith("calm")


@pytest.mark.parametrize("case", CASES)
def test_the_steps_multiply_to_the_matrix(case):
    found = our_map(case)
    assert len(found.steps) == (1 if isinstance(case.schedule, Synchronous) else case.schedule.p)
    close(reduce(lambda product, step: step @ product, found.steps), found.matrix)


@pytest.mark.parametrize("case", select(lambda case: case.same_layout and case.schedule.p == 3))
def test_a_tick_over_plain_floats_is_the_map(case):
    rule, p = type(case.algorithm), case.schedule.p
    k = case.algorithm.pack({name: getattr(case.algorithm, name) for name in rule.parameters()})
    state = case.start()
    m = len(rule.worker)
    workers = [rule.Worker(*state[i * m : i * m + m]) for i in range(p)]
    center = rule.Center(*state[p * m :])
    for active in case.schedule.ticks():
        workers, center = tick(rule, k, case.schedule.tau, active, workers, center, lambda x: case.h * x)
    after = [value for variables in (*workers, center) for value in variables]
    close(after, np.array(case.step(state.tolist(), **case.arguments)))


def test_different_curvatures_need_a_gradient_of_the_worker_only():
    # The visit is interpreted once: heterogeneous workers are the same tick with another gradient.
    curvature, parameters = [0.5, 1.0, 2.0], {"eta": 0.3, "alpha": 0.2}
    state = [1.0, -2.0, 0.5, 0.3]
    workers, center = [EASGD.Worker(x) for x in state[:3]], EASGD.Center(state[3])
    for i in range(3):
        workers, center = tick(
            EASGD, EASGD().pack(parameters), 2, [i], workers, center, lambda x, i=i: curvature[i] * x
        )
    expected = naive.easgd_round_robin(state, 3, 2, curvature, **parameters)
    assert [*(w.x for w in workers), center.x] == pytest.approx(expected, rel=1e-14)


def test_the_state_is_in_the_papers_order():
    admm = iteration_map(ADMM(), RoundRobin(p=2)).state
    assert admm == ("lambda_1", "x_1", "lambda_2", "x_2", "x_center")
    assert iteration_map(EASGD(), Synchronous(p=3)).state == ("x_1", "x_2", "x_3", "x_center")
    assert iteration_map(DiLoCo(), RoundRobin(p=1)).state == ("x_1", "v_1", "x_center", "m_center")


def test_arrays_of_values_give_arrays_of_maps():
    eta, alpha, h = np.array([[0.1], [0.5]]), np.array([0.1, 0.2, 0.3]), 2.0
    grid = iteration_map(EASGD(eta, alpha), RoundRobin(p=3, tau=2), h)
    assert grid.matrix.shape == (2, 3, 4, 4)
    one = iteration_map(EASGD(0.5, 0.2), RoundRobin(p=3, tau=2), h)
    close(grid.matrix[1, 1], one.matrix)
    close(grid.steps[2][1, 1], one.steps[2])


# Symbols


@pytest.mark.parametrize(
    "case", select(lambda case: case.schedule.p <= 3 and case.point in ("calm", "calm_nesterov", "wild"))
)
def test_a_symbolic_map_with_numbers_put_in_is_the_numeric_map(case):
    options = {name: getattr(case.algorithm, name) for name in case.algorithm.options()}
    symbolic = iteration_map(type(case.algorithm)(**options), case.schedule).matrix
    values = {name: getattr(case.algorithm, name) for name in case.algorithm.parameters()} | {"h": case.h}
    assert {str(symbol) for symbol in symbolic.free_symbols} == set(values)
    close(sympy.lambdify(list(values), symbolic)(**values), our_map(case).matrix)


def paper_easgd(p, i, eta, alpha, h):
    """Eqs. 12 and 13 over sympy numbers, beside `naive.paper_easgd_map`."""
    f = sympy.eye(p + 1)
    f[i, i], f[i, p], f[p, i], f[p, p] = 1 - eta * h - alpha, alpha, alpha, 1 - alpha
    return f


def paper_admm(p, i, eta, rho, h):
    """Eqs. 9, 10 and 11 over sympy numbers, beside `naive.paper_admm_maps`; a tick is F3 F2 F1."""
    dual, primal, center = sympy.eye(2 * p + 1), sympy.eye(2 * p + 1), sympy.eye(2 * p + 1)
    dual[2 * i, 2 * i + 1], dual[2 * i, 2 * p] = -1, 1
    primal[2 * i + 1, 2 * i] = primal[2 * i + 1, 2 * p] = eta * rho / (1 + eta * rho)
    primal[2 * i + 1, 2 * i + 1] = (1 - eta * h) / (1 + eta * rho)
    center[2 * p, :] = sympy.Matrix([[sympy.Rational((-1) ** (j + 1), p) for j in range(2 * p)] + [0]])
    return center * primal * dual


PAPER = [pytest.param(EASGD, paper_easgd, id="easgd"), pytest.param(ADMM, paper_admm, id="admm")]


@pytest.mark.parametrize(("rule", "paper"), PAPER)
@pytest.mark.parametrize("p", [1, 2, 3])
def test_the_symbolic_map_is_the_papers(rule, paper, p):
    symbols = sympy.symbols([*rule.parameters(), "h"])
    ours = iteration_map(rule, RoundRobin(p=p))
    expected = sympy.eye(len(ours.state))
    for i in range(p):
        assert (ours.steps[i] - paper(p, i, *symbols)).applyfunc(sympy.cancel).is_zero_matrix
        expected = paper(p, i, *symbols) * expected
    assert (ours.matrix - expected).applyfunc(sympy.cancel).is_zero_matrix


@pytest.mark.parametrize(("rule", "paper"), PAPER)
@pytest.mark.parametrize("p", [1, 2, 3])
def test_the_symbolic_polynomial_is_the_papers_exactly_at_rational_points(rule, paper, p):
    names = [*rule.parameters(), "h"]
    ours = iteration_map(rule, RoundRobin(p=p)).characteristic_polynomial(z)
    random = np.random.default_rng(p)
    for _ in range(4):
        values = [sympy.Rational(int(random.integers(1, 40)), int(random.integers(1, 40))) for _ in names]
        expected = sympy.eye(len(iteration_map(rule, RoundRobin(p=p)).state))
        for i in range(p):
            expected = paper(p, i, *values) * expected
        difference = ours.subs(dict(zip(names, values, strict=True))) - expected.charpoly(z).as_expr()
        assert sympy.Poly(sympy.expand(difference), z).is_zero


@pytest.mark.parametrize("p", [1, 2, 3])
def test_the_papers_matrices_are_those_of_the_oracle(p):
    eta, rho, h = 0.3, 0.7, 1.2
    for i in range(p):
        dual, primal, center = naive.paper_admm_maps(p, i, eta, rho, h)
        close(np.array(paper_admm(p, i, eta, rho, h), dtype=float), center @ primal @ dual)
        close(np.array(paper_easgd(p, i, eta, rho, h), dtype=float), naive.paper_easgd_map(p, i, eta, rho, h))


@pytest.mark.parametrize(
    ("algorithm", "schedule"),
    [
        pytest.param(EASGD(), Synchronous(p=3), id="easgd-synchronous"),
        pytest.param(ADMM(), RoundRobin(p=2), id="admm-round_robin"),
        pytest.param(EAMSGD(), Synchronous(p=3), id="eamsgd-synchronous"),
        pytest.param(DOWNPOUR(), RoundRobin(p=3, tau=2), id="downpour-round_robin"),
        pytest.param(MDOWNPOUR(), RoundRobin(p=2), id="mdownpour-round_robin"),
        pytest.param(MSGD(), RoundRobin(p=1, tau=2), id="msgd"),
    ],
)
def test_the_symbolic_polynomial_is_monic_factored_and_the_matrixs(algorithm, schedule):
    found = iteration_map(algorithm, schedule)
    polynomial = found.characteristic_polynomial(z)
    assert sympy.Poly(sympy.cancel(polynomial), z).LC() == 1
    values = {symbol: sympy.Rational(i + 2, 7) for i, symbol in enumerate(sorted(found.matrix.free_symbols, key=str))}
    expected = found.matrix.subs(values).charpoly(z).as_expr()
    assert sympy.expand(polynomial.subs(values) - expected) == 0


def test_the_polynomial_factors_where_the_state_space_splits():
    eta, alpha, h = sympy.symbols("eta alpha h")
    polynomial = iteration_map(EASGD(), Synchronous(p=3)).characteristic_polynomial(z)
    disagreement = z - (1 - eta * h - alpha)
    factors = {sympy.factor(base): power for base, power in polynomial.as_powers_dict().items()}
    assert 2 in (factors.get(sympy.factor(sign * disagreement)) for sign in (1, -1))


@pytest.mark.parametrize("case", select(lambda case: case.schedule.p <= 3 and case.point in ("calm", "wild")))
def test_the_numeric_polynomial_vanishes_at_the_eigenvalues(case):
    found = our_map(case)
    eigenvalues = np.linalg.eigvals(found.matrix)
    scale = np.prod(np.abs(eigenvalues).max() + np.abs(eigenvalues))  # what the polynomial's terms add up to at most
    assert np.abs(found.characteristic_polynomial(eigenvalues)).max() < 1e-13 * max(1, scale)


@pytest.mark.parametrize("point", [0.3, 1.5 + 0.5j], ids=str)
def test_the_numeric_polynomial_is_the_determinant(point):
    found = iteration_map(ADMM(eta=0.3, rho=0.5), RoundRobin(p=3), h=2.0)
    expected = np.linalg.det(point * np.eye(7) - found.matrix)
    assert found.characteristic_polynomial(point) == pytest.approx(expected, rel=1e-12)


def test_values_partly_given_leave_the_others_symbols():
    eta, h = sympy.symbols("eta h")
    partly = iteration_map(EASGD(alpha=0.25), RoundRobin(p=1)).matrix
    quarter = sympy.Rational(1, 4)
    assert partly == sympy.Matrix([[3 * quarter - eta * h, quarter], [quarter, 3 * quarter]])
    assert iteration_map(SGD(eta=0.1), Synchronous(p=1)).matrix == sympy.Matrix([[1 - h / 10]])
    assert iteration_map(SGD(), Synchronous(p=1), h=2).matrix == sympy.Matrix([[1 - 2 * eta]])


@pytest.mark.parametrize(
    "tenth",
    [0.1, np.float64(0.1), np.array(0.1), sympy.Rational(1, 10)],
    ids=["float", "float64", "0-d array", "rational"],
)
def test_every_kind_of_number_goes_with_symbols(tenth):
    h = sympy.Symbol("h")
    assert iteration_map(SGD(eta=tenth), Synchronous(p=1)).matrix == sympy.Matrix([[1 - h / 10]])


def test_expressions_stand_for_parameters():
    rho, eta = sympy.symbols("rho eta")
    found = iteration_map(EASGD(eta=eta, alpha=eta * rho), RoundRobin(p=1), h=1).matrix
    assert (
        (found - sympy.Matrix([[1 - eta - eta * rho, eta * rho], [eta * rho, 1 - eta * rho]])).expand().is_zero_matrix
    )


# The synchronous scheme splits


@pytest.mark.parametrize(
    "case", select(lambda case: isinstance(case.schedule, Synchronous) and case.schedule.p in (2, 3, 8))
)
def test_the_synchronous_blocks_have_the_full_spectrum_with_multiplicities(case):
    values = {name: np.asarray(getattr(case.algorithm, name)) for name in case.algorithm.parameters()}
    field = numeric_field(case.algorithm, values, np.asarray(case.h))
    p = case.schedule.p
    consensus, disagreement = synchronous_blocks(type(case.algorithm), case.schedule.tau, field, p)
    full = case.naive_matrix() if case.same_layout else our_map(case).matrix
    radius = 1.5 * max(1, naive.spectral_radius(full))
    for point in radius * np.exp(1j * np.arange(1, 7)):  # polynomials of this degree that agree here are equal
        ours = characteristic(consensus, point) * characteristic(disagreement, point) ** (p - 1)
        assert ours == pytest.approx(characteristic(full, point), rel=1e-11)
    assert len(consensus) + (p - 1) * len(disagreement) == len(full)


def characteristic(matrix, point):
    return np.linalg.det(point * np.eye(len(matrix)) - matrix)


# What has no iteration map


@dataclass(frozen=True, eq=False)
class Plain(Algorithm):
    """A worker, a center and one place each for something that is not linear."""

    eta: object = None

    worker = ("x",)

    @staticmethod
    def query(w, c, k):
        return w.x

    @staticmethod
    def visit(w, c, k, g):
        return (w.x - k.eta * g,)

    @staticmethod
    def push_after(old, new, c, k):
        return new.x - c.x

    @staticmethod
    def absorb(c, total, k, count, p):
        return (c.x + total,)


def plain(**functions):
    """A definition with some functions of `Plain` replaced."""
    return type("Custom", (Plain,), {name: staticmethod(function) for name, function in functions.items()})


NOT_LINEAR = {
    "square": plain(visit=lambda w, c, k, g: (w.x * w.x,)),
    "product": plain(visit=lambda w, c, k, g: (w.x * c.x,)),
    "power": plain(visit=lambda w, c, k, g: (w.x**2,)),
    "exponent": plain(visit=lambda w, c, k, g: (2.0**w.x,)),
    "constant": plain(visit=lambda w, c, k, g: (w.x + 1,)),
    "constant_parameter": plain(visit=lambda w, c, k, g: (k.eta - w.x,)),
    "constant_of_center": plain(absorb=lambda c, total, k, count, p: (c.x + total + 0.5,)),
    "abs": plain(visit=lambda w, c, k, g: (abs(w.x),)),
    "comparison": plain(visit=lambda w, c, k, g: (w.x if w.x > c.x else c.x,)),
    "equality": plain(visit=lambda w, c, k, g: (w.x if w.x == 0 else c.x,)),
    "truth": plain(visit=lambda w, c, k, g: (w.x or c.x,)),
    "maximum": plain(visit=lambda w, c, k, g: (max(w.x, c.x),)),
    "numpy_function": plain(visit=lambda w, c, k, g: (np.sin(w.x),)),
    "numpy_sign": plain(absorb=lambda c, total, k, count, p: (c.x + np.sign(total),)),
    "numpy_maximum": plain(visit=lambda w, c, k, g: (np.maximum(w.x, c.x),)),
    "math_function": plain(visit=lambda w, c, k, g: (math.sin(w.x),)),
    "float": plain(push_after=lambda old, new, c, k: float(new.x)),
    "divided_by_variable": plain(visit=lambda w, c, k, g: (1 / w.x,)),
    "divided_by_another": plain(visit=lambda w, c, k, g: (w.x / c.x,)),
    "floor": plain(visit=lambda w, c, k, g: (w.x // 2,)),
    "remainder": plain(query=lambda w, c, k: w.x % 2),
}


@pytest.mark.parametrize("rule", NOT_LINEAR.values(), ids=NOT_LINEAR)
@pytest.mark.parametrize(
    "values", [{"eta": 0.1, "h": 1.0}, {"eta": [0.1, 0.2], "h": 1.0}, {}], ids=["float", "array", "symbol"]
)
def test_a_definition_that_is_not_linear_is_refused_with_a_sentence(rule, values, refused):
    algorithm, h = rule(eta=values.get("eta")), values.get("h")
    refused(lambda: iteration_map(algorithm, RoundRobin(p=2), h).matrix, "Custom", "not linear")


def test_a_linear_definition_is_not_refused():
    found = iteration_map(plain()(eta=0.1), RoundRobin(p=1), 1.0).matrix
    close(found, np.array([[0.9, 0], [0.9, 0]]))


@pytest.mark.parametrize("nothing", [0, 0.0], ids=["int", "float"])
def test_a_variable_may_be_set_to_zero(nothing):
    rule = plain(visit=lambda w, c, k, g: (nothing,))
    close(iteration_map(rule(eta=0.1), RoundRobin(p=1), 1.0).matrix, np.zeros((2, 2)))


def test_a_linear_form_adds_subtracts_and_scales():
    a, b = unit_forms(2, 1.0)
    rows = stack([a + b, a - b, -a, 3 * a, a * 3, a / 4, np.float64(2) * b, 0 + a, a + 0, sum([a, b])])
    expected = [[1, 1], [1, -1], [-1, 0], [3, 0], [3, 0], [0.25, 0], [0, 2], [1, 0], [1, 0], [1, 1]]
    np.testing.assert_array_equal(rows, expected)
    with pytest.raises(NotLinear):
        LinearForm(np.ones(2)) + 1


def test_a_time_varying_parameter_is_refused(refused):
    refused(lambda: iteration_map(EASGD(eta=lambda t: 0.1 / t, alpha=0.1), RoundRobin(p=2), 1.0), "eta", "varying")
    refused(lambda: iteration_map(EASGD(eta=lambda t: 0.1 / t), RoundRobin(p=2)), "eta", "varying")
    refused(lambda: spectral_radius(EASGD(eta=0.1, alpha=lambda t: 0.1), RoundRobin(p=2)), "alpha", "varying")


def test_symbols_mixed_with_arrays_are_refused(refused):
    refused(lambda: iteration_map(EASGD(eta=[0.1, 0.2]), RoundRobin(p=2)), "eta", "array", "symbols")
    refused(lambda: iteration_map(EASGD(0.1, 0.1), RoundRobin(p=2), sympy.symbols("h1:3")), "h")
    refused(lambda: iteration_map(EASGD(sympy.Symbol("a"), 0.1), RoundRobin(p=2), np.ones(2)), "h", "array")


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("kind", SCHEDULES, ids=lambda kind: kind.__name__)
def test_undefined_pairs_are_refused_with_a_sentence(name, kind, refused):
    rule = ALGORITHMS[name]
    allowed = {"p": 3, "tau": 2}
    for number, reason in rule.requires_one.items():
        refused(
            lambda number=number: iteration_map(rule, kind(**{"p": 1, number: 3})), rule.__name__, f"{number}=3", reason
        )
        allowed[number] = 1
    assert iteration_map(rule, kind(**allowed)).matrix.shape[0] >= 1


def test_the_table_of_undefined_pairs_is_the_designs():
    one_worker = {name for name, rule in ALGORITHMS.items() if "p" in rule.requires_one}
    one_step = {name for name, rule in ALGORITHMS.items() if "tau" in rule.requires_one}
    assert one_worker == {"sgd", "msgd", "lookahead"}
    assert one_step == {"admm", "mdownpour"}


def test_local_sgd_alone_is_sgd():
    alone = iteration_map(LocalSGD(eta=0.3), Synchronous(p=1, tau=4), 1.5).matrix
    sgd = iteration_map(SGD(eta=0.3), Synchronous(p=1, tau=4), 1.5).matrix.item()
    assert np.sort(np.linalg.eigvals(alone))[-1] == pytest.approx(sgd, rel=1e-14)


@pytest.mark.parametrize(
    "functions", [{"push_before": lambda w, c, k: w.x}, {"push_after": None}], ids=["both", "neither"]
)
def test_a_definition_writes_exactly_one_message(functions):
    body = {name: staticmethod(f) for name, f in functions.items() if f}
    base = Plain if body else Algorithm
    with pytest.raises(TypeError, match="exactly one of push_before and push_after"):
        type("Custom", (base,), body or {"worker": ("x",), "absorb": staticmethod(Plain.absorb)})
