"""The extension point: the record, the schedules, and the order of events of a visit."""

from dataclasses import dataclass, replace
from fractions import Fraction

import naive
import numpy as np
import pytest

from easgd_theory import (
    ADMM,
    ALGORITHMS,
    DOWNPOUR,
    EASGD,
    MDOWNPOUR,
    SGD,
    RoundRobin,
    Synchronous,
    critical_value,
    iteration_map,
    moments,
    spectral_radius,
    stability_condition,
    stability_map,
)
from easgd_theory.algorithm import Algorithm
from easgd_theory.visit import tick

# The record


def test_a_record_always_constructs():
    for values in ((), (None, None), (float("nan"), "text"), (np.ones(3), lambda t: t)):
        assert EASGD(*values).parameters() == ("eta", "alpha")


def test_options_are_not_parameters():
    assert MDOWNPOUR.parameters() == ("eta", "delta")
    assert MDOWNPOUR.options() == ("nesterov",)
    assert MDOWNPOUR(nesterov=True).pack({"eta": 0.1, "delta": 0.9})._asdict() == {
        "eta": 0.1,
        "delta": 0.9,
        "nesterov": 1,
    }


def test_worker_and_center_are_named_tuples_of_the_declared_variables():
    assert ADMM.Worker._fields == ("lam", "x")
    assert ADMM.Center._fields == ("x",)
    assert MDOWNPOUR.Center._fields == ("x", "v")
    assert SGD.Center._fields == ()


def test_who_pushes_first_is_read_off_the_definition():
    first = {name for name, rule in ALGORITHMS.items() if rule.pushes_first}
    assert first == {"downpour", "mdownpour", "localsgd", "diloco", "lookahead"}


# Schedules


@pytest.mark.parametrize("p", [1, 2, 5])
def test_a_synchronous_round_is_one_tick_of_all_and_a_round_robin_one_of_each(p):
    assert [list(active) for active in Synchronous(p=p).ticks()] == [list(range(p))]
    assert [list(active) for active in RoundRobin(p=p).ticks()] == [[i] for i in range(p)]


def test_a_schedule_without_p_has_no_round(refused):
    refused(lambda: RoundRobin().ticks(), "RoundRobin", "p")
    refused(lambda: Synchronous(tau=2).workers(), "Synchronous", "p")
    with pytest.raises(AttributeError):
        RoundRobin(p=2).p = 3


# The order of events


def visit_of_two(rule, values, state, active, h=Fraction(1, 2), tau=1):
    """Both workers' variables and the center's after one tick, in exact fractions; state in the order of the map."""
    m = len(rule.worker)
    workers = [rule.Worker(*state[i * m : (i + 1) * m]) for i in range(2)]
    center = rule.Center(*state[2 * m :])
    workers, center = tick(rule, rule().pack(values), tau, active, workers, center, lambda x: h * x)
    return [value for variables in (*workers, center) for value in variables]


def test_easgd_takes_gradient_and_message_before_the_exchange():
    eta, alpha, h = Fraction(1, 3), Fraction(1, 5), Fraction(1, 2)
    x, y, c = Fraction(2), Fraction(-1), Fraction(7)
    after = visit_of_two(EASGD, {"eta": eta, "alpha": alpha}, [x, y, c], [0])
    assert after == [x - eta * h * x - alpha * (x - c), y, c + alpha * (x - c)]


def test_admms_message_depends_on_the_worker_after_its_step_and_the_center_hears_all():
    eta, rho, h = Fraction(1, 3), Fraction(2), Fraction(1, 2)
    l1, x1, l2, x2, c = map(Fraction, (1, 2, -1, 3, 5))
    dual = l1 - (x1 - c)
    primal = (x1 - eta * h * x1 + eta * rho * (dual + c)) / (1 + eta * rho)
    after = visit_of_two(ADMM, {"eta": eta, "rho": rho}, [l1, x1, l2, x2, c], [0])
    assert after == [dual, primal, l2, x2, (primal - dual + x2 - l2) / 2]


def test_downpour_pushes_then_pulls_what_it_pushed_to_then_steps():
    eta, h = Fraction(1, 3), Fraction(1, 2)
    x1, v1, x2, v2, c = map(Fraction, (9, 1, 8, -2, 5))
    pulled = c + v1
    step = -eta * h * pulled
    after = visit_of_two(DOWNPOUR, {"eta": eta}, [x1, v1, x2, v2, c], [0])
    assert after == [pulled + step, step, x2, v2, pulled]


def test_together_all_meet_the_old_center_or_pull_the_new_one():
    alpha = Fraction(1, 5)
    easgd = visit_of_two(EASGD, {"eta": 0, "alpha": alpha}, [Fraction(1), Fraction(2), Fraction(0)], [0, 1])
    assert easgd == [1 - alpha, 2 - 2 * alpha, 3 * alpha]
    downpour = visit_of_two(DOWNPOUR, {"eta": 0}, [Fraction(v) for v in (0, 1, 0, 2, 10)], [0, 1])
    assert downpour == [13, 0, 13, 0, 13]


@pytest.mark.parametrize("tau", [1, 2, 4])
def test_a_visit_in_fractions_is_the_naive_one_exactly(tau):
    values = {"eta": Fraction(1, 3), "alpha": Fraction(2, 7)}
    state = [Fraction(2), Fraction(-5, 3), Fraction(1, 4)]
    expected = naive.easgd_synchronous(state, 2, tau, Fraction(1, 2), **values)
    assert visit_of_two(EASGD, values, state, [0, 1], tau=tau) == expected


def test_a_tick_leaves_what_it_is_given_as_it_was():
    workers, center = [EASGD.Worker(1.0), EASGD.Worker(2.0)], EASGD.Center(3.0)
    before = list(workers)
    tick(EASGD, EASGD().pack({"eta": 0.1, "alpha": 0.1}), 2, [0, 1], workers, center, lambda x: x)
    assert workers == before
    assert center == EASGD.Center(3.0)


def test_arrays_of_any_number_of_coordinates_run_through_a_tick():
    h = np.array([0.5, 1.0, 2.0])
    k = EASGD().pack({"eta": 0.1, "alpha": 0.2})
    workers, center = [EASGD.Worker(np.ones(3)), EASGD.Worker(np.zeros(3))], EASGD.Center(np.full(3, 2.0))
    workers, center = tick(EASGD, k, 1, [0], workers, center, lambda x: h * x)
    np.testing.assert_allclose(workers[0].x, 1 - 0.1 * h + 0.2)
    np.testing.assert_allclose(center.x, 2.0 - 0.2)


# One's own algorithm


@dataclass(frozen=True, eq=False)
class ElasticAfter(Algorithm):
    """EASGD as several packages have it: the elastic move after the gradient step (MATH.md, section 7)."""

    eta: object = None
    alpha: object = None

    worker = ("x",)
    requires_one = {"tau": "its message is read off the worker right after the exchange"}

    @staticmethod
    def query(w, c, k):
        return w.x

    @staticmethod
    def visit(w, c, k, g):
        x = w.x - k.eta * g
        return (x - k.alpha * (x - c.x),)

    @staticmethod
    def push_after(old, new, c, k):
        return k.alpha * (new.x - c.x) / (1 - k.alpha)  # x - c before the move is (new - c) / (1 - alpha)

    @staticmethod
    def absorb(c, total, k, count, p):
        return (c.x + total,)


def test_ones_own_algorithm_has_everything_at_once():
    eta, alpha = 0.4, 0.3
    schedule = RoundRobin(p=3)
    one = iteration_map(ElasticAfter(eta, alpha), RoundRobin(p=1), 1.0).matrix
    np.testing.assert_allclose(one, [[(1 - alpha) * (1 - eta), alpha], [alpha * (1 - eta), 1 - alpha]], atol=1e-15)
    assert iteration_map(ElasticAfter, schedule).state == ("x_1", "x_2", "x_3", "x_center")
    assert spectral_radius(ElasticAfter(eta, alpha), schedule) < 1
    limit = critical_value("eta", ElasticAfter(alpha=alpha), schedule)
    assert limit > 2  # two contractions are stable up to there in any order
    assert spectral_radius(ElasticAfter(limit, alpha), schedule) == pytest.approx(1, abs=1e-9)
    assert stability_map(ElasticAfter(eta=[0.4, 2.6], alpha=alpha), schedule)["stable"].values.tolist() == [True, False]
    assert stability_condition(ElasticAfter(alpha=alpha), Synchronous(p=4)).exact
    assert moments(ElasticAfter(eta, alpha), schedule, 3)[0].shape == (4, 4)


@pytest.mark.parametrize("p", [2, 4, 8])
def test_torch_distlearns_order_has_math_7s_limit(p):
    for eta in (0.1, 0.5, 0.9):
        g = 1 - eta
        limit = critical_value("alpha", ElasticAfter(eta=eta), Synchronous(p=p))
        assert limit == pytest.approx(2 * (1 + g) / (p + (p + 2) * g), abs=1e-9)


@pytest.mark.parametrize(("p", "stable"), [(2, True), (3, True), (4, False)])
def test_platoons_example_diverges_from_four_workers_on(p, stable):
    radius = spectral_radius(ElasticAfter(eta=0.1, alpha=0.5), Synchronous(p=p), h=0.0)
    assert radius == pytest.approx(max(1, abs(1 - 0.5 * (1 + p))), rel=1e-12)
    assert (radius <= 1 + 1e-9) is stable


def test_a_definition_may_say_where_it_is_defined(refused):
    rule = type("Alone", (ElasticAfter,), {"requires_one": {"p": "it is alone"}})
    refused(lambda: iteration_map(rule, Synchronous(p=2)), "Alone", "p=2", "it is alone")
    assert iteration_map(rule, Synchronous(p=1)).matrix.shape == (2, 2)


def test_a_record_may_be_changed_by_replace():
    changed = replace(EASGD(0.1, 0.2), alpha=0.3)
    assert (changed.eta, changed.alpha) == (0.1, 0.3)


def test_an_incomplete_definition_is_refused_with_a_sentence():
    with pytest.raises(TypeError, match="Half must define query and visit"):
        type("Half", (Algorithm,), {"worker": ("x",), "push_after": EASGD.push_after, "absorb": EASGD.absorb})
    with pytest.raises(TypeError, match="gather must be 'active' or 'all', got 'everyone'"):
        type("Odd", (EASGD,), {"gather": "everyone"})
    with pytest.raises(TypeError, match="requires_one may name p and tau, got taus"):
        type("Odd", (EASGD,), {"requires_one": {"taus": "no"}})


def test_a_definition_that_returns_no_tuple_is_refused_with_a_sentence():
    bare = type("Bare", (EASGD,), {"visit": staticmethod(lambda w, c, k, g: w.x)})
    with pytest.raises(TypeError, match="must return tuples"):
        spectral_radius(bare(0.1, 0.1), RoundRobin(2))
