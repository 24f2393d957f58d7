"""Stable intervals and critical values."""

import math

import numpy as np
import pytest

from easgd_theory import (
    ADMM,
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
    critical_value,
    is_stable,
    spectral_radius,
    stable_intervals,
)
from easgd_theory.regions import values_inside

inf, nan = math.inf, math.nan
ONE = Synchronous(p=1)


def downpour_edges(p, tau):
    """MATH.md, 3a: an even tau has two intervals from p = 3 on."""
    r = (1 - 2 * math.sin(math.pi / (2 * (2 * p - 1)))) ** (1 / tau)
    return [0, 1 - r, 1 + r, 2] if tau % 2 == 0 else [0, 1 - r]


KNOWN = [
    pytest.param("eta", DOWNPOUR(), RoundRobin(p=8, tau=2), downpour_edges(8, 2), id="downpour-p8-tau2"),
    pytest.param("eta", DOWNPOUR(), RoundRobin(p=5, tau=4), downpour_edges(5, 4), id="downpour-p5-tau4"),
    pytest.param("eta", DOWNPOUR(), RoundRobin(p=8, tau=3), downpour_edges(8, 3), id="downpour-p8-tau3"),
    pytest.param("eta", DOWNPOUR(), RoundRobin(p=16), [0, 2 * math.sin(math.pi / 62)], id="downpour-p16"),
    pytest.param("eta", DOWNPOUR(), Synchronous(p=4), [0, 0.5], id="downpour-synchronous"),
    pytest.param("eta", MDOWNPOUR(delta=0.9), RoundRobin(p=1), [0, 3.8 / 0.9], id="mdownpour-p1"),
    pytest.param("eta", MDOWNPOUR(delta=0.9), RoundRobin(p=2), [0, 0.1 / 0.9], id="mdownpour-p2"),
    pytest.param("delta", MDOWNPOUR(eta=0.1), RoundRobin(p=2), [0, 1 / 1.1], id="mdownpour-delta"),
    pytest.param("alpha", EASGD(eta=1.0), RoundRobin(p=5), [0, 2 / 3], id="easgd-alpha"),
    pytest.param("alpha", EASGD(eta=1.0), RoundRobin(p=3), [0, 2 / 3], id="easgd-alpha-p3"),
    pytest.param("eta", EASGD(alpha=0.5), RoundRobin(p=3), [0, 4 / 3], id="easgd-eta"),
    pytest.param("alpha", EASGD(eta=0.5), Synchronous(p=8), [0, 2 * 1.5 / (2 + 8 * 1.5)], id="easgd-synchronous"),
    pytest.param("eta", MSGD(delta=0.9), ONE, [0, 2 * 1.9 / 2.8], id="msgd"),
    pytest.param("delta", MSGD(eta=0.5), ONE, [0, 2], id="msgd-delta"),
    pytest.param("nu", DiLoCo(eta=0.5, mu=0.9), Synchronous(p=3, tau=4), [0, 3.8 / 2.8 / (1 - 0.5**4)], id="diloco"),
    pytest.param("eta", SGD(), Synchronous(p=1, tau=50), [0, 2], id="sgd-tau50"),
    pytest.param("eta", SGD(), ONE, [0, 2], id="sgd"),
    pytest.param("delta", MSGD(eta=1.0), ONE, [0, inf], id="msgd-unbounded"),
    pytest.param("eta", ADMM(rho=2.5), RoundRobin(p=2), [0, inf], id="admm-p2-unbounded"),
]


@pytest.mark.parametrize(("name", "algorithm", "schedule", "edges"), KNOWN)
def test_all_stable_intervals(name, algorithm, schedule, edges):
    found = stable_intervals(name, algorithm, schedule)
    assert all(type(edge) is float for interval in found for edge in interval)
    assert np.ravel(found) == pytest.approx(edges, abs=1e-9)
    assert critical_value(name, algorithm, schedule) == pytest.approx(edges[1], abs=1e-9)


@pytest.mark.parametrize(("p", "edge"), [(3, 0.0020910254), (8, 0.0048581570)], ids=["p3", "p8"])
def test_admm_is_unstable_below_an_edge(p, edge):
    [(low, high)] = stable_intervals("eta", ADMM(rho=2.5), RoundRobin(p=p))
    assert low == pytest.approx(edge, rel=1e-7)
    assert high == inf
    assert math.isnan(critical_value("eta", ADMM(rho=2.5), RoundRobin(p=p)))


def test_admm_has_a_gap_in_rho():
    intervals = stable_intervals("rho", ADMM(eta=0.001), RoundRobin(p=3))
    assert [len(interval) for interval in intervals] == [2, 2]
    assert intervals[0][0] == 0
    assert intervals[1][1] == inf
    assert not is_stable(ADMM(eta=0.001, rho=2.5), RoundRobin(p=3))
    assert intervals[0][1] < 2.5 < intervals[1][0]


@pytest.mark.parametrize(("p", "edge"), [(3, 0.0088), (8, 0.0226)], ids=["p3", "p8"])
def test_admm_is_unstable_on_flat_directions_for_small_eta_rho(p, edge):
    [(low, high)] = stable_intervals("eta", ADMM(rho=1.0), RoundRobin(p=p), h=0.0)
    assert low == pytest.approx(edge, abs=5e-5)
    assert high == inf


@pytest.mark.parametrize(("p", "limit"), [(1, 1.91), (2, 1.31)], ids=["p1", "p2"])
def test_one_worker_misleads_for_eamsgd_with_a_period(p, limit):
    found = critical_value("alpha", EAMSGD(eta=0.1, delta=0.9), RoundRobin(p=p, tau=10))
    assert found == pytest.approx(limit, abs=5e-3)


EDGES = [
    *(pytest.param(*param.values[:3], id=param.id) for param in KNOWN if "unbounded" not in param.id),
    pytest.param("eta", ADMM(rho=2.5), RoundRobin(p=3), id="admm-eta"),
    pytest.param("rho", ADMM(eta=0.001), RoundRobin(p=3), id="admm-rho"),
    pytest.param("alpha", EAMSGD(eta=0.1, delta=0.9), RoundRobin(p=2, tau=10), id="eamsgd-alpha"),
    pytest.param("alpha", EASGD(eta=0.7), RoundRobin(p=4, tau=3), id="easgd-tau3"),
    pytest.param("eta", DiLoCo(nu=0.7, mu=0.5), RoundRobin(p=3, tau=2), id="diloco-round_robin"),
    pytest.param("delta", EAMSGD(eta=0.9, alpha=0.8), RoundRobin(p=3, tau=2), id="eamsgd-delta"),
]


@pytest.mark.parametrize(("name", "algorithm", "schedule"), EDGES)
def test_the_radius_is_1_at_an_edge_and_crosses_it(name, algorithm, schedule):
    def radius(value):
        values = {n: getattr(algorithm, n) for n in algorithm.parameters()} | {name: value}
        return spectral_radius(type(algorithm)(**values), schedule)

    edges = [edge for interval in stable_intervals(name, algorithm, schedule) for edge in interval if 0 < edge < inf]
    assert edges
    for edge in edges:
        assert radius(edge) == pytest.approx(1, abs=1e-9)
    for low, high in stable_intervals(name, algorithm, schedule):
        if low > 0:
            assert radius(low * (1 - 1e-6)) > 1 > radius(low * (1 + 1e-6))
        if high < inf:
            assert radius(high * (1 - 1e-6)) < 1 < radius(high * (1 + 1e-6))


def test_the_curvature_may_be_the_parameter():
    assert np.ravel(stable_intervals("h", SGD(eta=0.1), ONE)) == pytest.approx([0, 20], abs=1e-9)
    assert critical_value("h", EASGD(eta=0.1, alpha=0.5), RoundRobin(p=3)) == pytest.approx(40 / 3, abs=1e-9)
    assert critical_value("h", LocalSGD(eta=0.5), Synchronous(p=3, tau=5)) == pytest.approx(4, abs=1e-9)


def test_the_value_of_the_parameter_that_varies_is_not_used():
    expected = stable_intervals("eta", SGD(), ONE)
    assert stable_intervals("eta", SGD(eta=17.0), ONE) == expected
    assert stable_intervals("eta", SGD, ONE) == expected


def test_over_a_spectrum_all_curvatures_are_stable():
    spectrum = [0.5, 1.0, 4.0]
    found = stable_intervals("eta", EASGD(alpha=0.5), RoundRobin(p=3), spectrum, over_spectrum=True)
    assert np.ravel(found) == pytest.approx([0, 1 / 3], abs=1e-9)
    found = stable_intervals("eta", DOWNPOUR(), RoundRobin(p=8, tau=2), [0.95, 1.0], over_spectrum=True)
    [a, b, c, d] = downpour_edges(8, 2)
    assert np.ravel(found) == pytest.approx([a, b, c / 0.95, d], abs=1e-9)


def test_a_flat_direction_does_not_change_the_interval():
    found = stable_intervals("eta", EASGD(alpha=0.5), RoundRobin(p=3), [0.0, 1.0], over_spectrum=True)
    assert np.ravel(found) == pytest.approx([0, 4 / 3], abs=1e-9)
    assert critical_value("alpha", EASGD(eta=1.0), RoundRobin(p=3), h=0.0) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("h", [-1.0, -1e-2, -2.5e-4, -1e-6])
def test_negative_curvature_is_stable_nowhere(h):
    assert stable_intervals("eta", SGD(), ONE, h) == []
    assert math.isnan(critical_value("eta", SGD(), ONE, h))
    assert math.isnan(critical_value("eta", EASGD(alpha=0.3), RoundRobin(p=3), [h, 0.143], over_spectrum=True))


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
def test_only_the_product_of_rate_and_curvature_matters(scale):
    assert critical_value("eta", SGD(), ONE, h=scale) * scale == pytest.approx(2, rel=1e-9)


@pytest.mark.parametrize("ask", [stable_intervals, critical_value], ids=lambda function: function.__name__)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rho", EASGD(eta=0.1), RoundRobin(p=2)), ["EASGD", "rho", "eta, alpha, h"]),
        (("", EASGD(eta=0.1), RoundRobin(p=2)), ["EASGD", "eta, alpha, h"]),
        (("p", EASGD(eta=0.1), RoundRobin(p=2)), ["EASGD", "p"]),
        (("alpha", EASGD(), RoundRobin(p=2)), ["EASGD", "eta"]),
        (("alpha", EASGD(eta=[0.1, 0.2]), RoundRobin(p=2)), ["eta", "scalar"]),
        (("alpha", EASGD(eta=nan), RoundRobin(p=2)), ["eta", "finite"]),
        (("alpha", EASGD(eta="x"), RoundRobin(p=2)), ["eta", "real number"]),
        (("alpha", EASGD(eta=0.1), RoundRobin(p=2), [1.0, 2.0]), ["h", "scalar"]),
        (("alpha", EASGD(eta=0.1), RoundRobin(p=2), inf), ["h", "finite"]),
        (("alpha", EASGD(eta=0.1), RoundRobin()), ["RoundRobin", "p"]),
        (("alpha", EASGD(eta=0.1), 3), ["schedule", "3"]),
        (("alpha", "easgd", RoundRobin(p=2)), ["algorithm", "easgd"]),
        (("eta", SGD(), RoundRobin(p=2)), ["SGD", "p=2"]),
        (("eta", ADMM(rho=1.0), RoundRobin(p=2, tau=2)), ["ADMM", "tau=2"]),
    ],
    ids=[
        "unknown",
        "empty",
        "p",
        "missing",
        "array",
        "nan",
        "text",
        "h_array",
        "h_inf",
        "no_p",
        "schedule",
        "name",
        "sgd",
        "tau",
    ],
)
def test_a_bad_question_is_refused(ask, arguments, words, refused):
    refused(lambda: ask(*arguments), *words)


@pytest.mark.parametrize(
    ("h", "words"),
    [(1.0, ["h", "1.0"]), (np.ones((2, 2)), ["h", "1-D"]), ([1.0, nan], ["h", "finite"])],
    ids=["scalar", "2-D", "nan"],
)
def test_a_bad_spectrum_is_refused(h, words, refused):
    refused(lambda: stable_intervals("alpha", EASGD(eta=0.1), RoundRobin(p=2), h, over_spectrum=True), *words)


# EASGD beyond the paper: RESULTS.md, R1 to R3; e = eta h, g = 1 - e, G = g^(tau-1)


def paper_alpha(e):
    return (4 - 2 * e) / (4 - e)


@pytest.mark.parametrize("e", [0.2, 1.0, 1.7])
def test_r2_closed_boundary_for_two_workers(e):
    q = 2 - e
    alpha = (q**2 - 1 + math.sqrt(1 + q**3)) / (q * (1 + q))
    assert critical_value("alpha", EASGD(eta=e), RoundRobin(p=2)) == pytest.approx(alpha, abs=1e-9)


@pytest.mark.parametrize("p", [2, 4, 6])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_r2_parametric_boundary_for_even_p(p, share):
    theta = math.pi * ((1 - share) * (p - 1) / p + share * p / (p + 1))
    x, u = math.cos(theta), math.sin(p * theta) / math.sin(theta)
    alpha = (u * (1 - x) + math.sqrt(u**2 * (1 - x) ** 2 - 2 * u * (1 - x) * (1 + u))) / (1 + u)
    e = 1 - alpha - math.cos(p * theta) - u * (x - 1 + alpha)
    assert critical_value("alpha", EASGD(eta=e), RoundRobin(p=p)) == pytest.approx(alpha, abs=1e-9)


@pytest.mark.parametrize("e", [0.3, 1.0, 1.6])
def test_even_p_are_nested_and_shrink_to_the_papers_limit(e):
    q = 2 - e
    limits = [critical_value("alpha", EASGD(eta=e), RoundRobin(p=p)) for p in (2, 4, 6, 8)]
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] > paper_alpha(e)
    excess = math.pi**2 * q**3 * (2 - q) / (8 * (2 + q) ** 2 * 8**2)
    assert limits[-1] - paper_alpha(e) == pytest.approx(excess, rel=0.15)  # the next term is of order 1/p
    assert critical_value("alpha", EASGD(eta=e), RoundRobin(p=7)) == pytest.approx(paper_alpha(e), abs=1e-9)


def test_numbers_of_the_even_boundary():
    found = [critical_value("alpha", EASGD(eta=1.0), RoundRobin(p=p)) for p in (2, 4, 8)]
    assert found == pytest.approx([0.7071, 0.6751, 0.6687], abs=5e-5)


@pytest.mark.parametrize(("e", "alpha"), [(0.5, 0.3), (1.5, 0.4), (1.0, 1.2), (2.5, 0.3)])
def test_r1_limit_of_infinitely_many_workers(e, alpha):
    limit = max(abs(1 - e), abs(1 - e - 2 * alpha / (2 - alpha)))
    errors = [abs(spectral_radius(EASGD(e, alpha), RoundRobin(p=p)) - limit) for p in (25, 101)]
    assert errors[1] < 0.05
    assert errors[1] < max(0.5 * errors[0], 1e-12)


@pytest.mark.parametrize("tau", [2, 3, 4, 7])
@pytest.mark.parametrize("e", [0.1, 0.6, 1.0 - 1e-3])
def test_r3_round_robin_limit_with_local_steps(e, tau):
    g, big = 1 - e, (1 - e) ** (tau - 1)
    alpha = 2 * (1 + g**tau) / (1 + 2 * big + g**tau)
    assert critical_value("alpha", EASGD(eta=e), RoundRobin(p=3, tau=tau)) == pytest.approx(alpha, abs=1e-9)
    for p in (2, 4):
        assert critical_value("alpha", EASGD(eta=e), RoundRobin(p=p, tau=tau)) >= alpha - 1e-9


@pytest.mark.parametrize("tau", [2, 4])
@pytest.mark.parametrize("e", [1.1, 1.7])
def test_r3_round_robin_limit_where_g_is_negative_and_tau_even(e, tau):
    g, big = 1 - e, (1 - e) ** (tau - 1)
    alpha = 2 * (1 - g**tau) / (1 - g**tau - 2 * big)
    assert critical_value("alpha", EASGD(eta=e), RoundRobin(p=2, tau=tau)) == pytest.approx(alpha, abs=1e-9)
    assert critical_value("alpha", EASGD(eta=e), RoundRobin(p=3, tau=tau)) >= alpha - 1e-9


@pytest.mark.parametrize("tau", [1, 2, 5])
@pytest.mark.parametrize(("e", "p"), [(0.3, 2), (0.8, 8), (0.05, 100)])
def test_r3_synchronous_limit_with_local_steps(e, p, tau):
    g, big = 1 - e, (1 - e) ** (tau - 1)
    alpha = 2 * (1 + g**tau) / (p * (1 + g**tau) + 2 * big)
    assert critical_value("alpha", EASGD(eta=e), Synchronous(p=p, tau=tau)) == pytest.approx(alpha, abs=1e-9)


def test_a_value_inside_is_near_an_edge_and_the_nearest_by_ratio_comes_first():
    assert values_inside(3.0, [(0.0, 1.0), (5.0, 7.0)]) == pytest.approx([5.2, 0.9])
    assert values_inside(2.5, [(0.0, 1e-9), (7.0, inf)]) == pytest.approx([7.7, 0.9e-9])
    assert values_inside(9.0, [(5.0, 7.0)]) == pytest.approx([6.8])
    assert values_inside(0.1, [(1.0, 1e6)]) == pytest.approx([1.1])
    assert values_inside(-1.0, [(0.0, 2.0), (3.0, 4.0)]) == pytest.approx([0.2, 3.1])
    assert values_inside(0.0, [(1.0, 2.0)]) == pytest.approx([1.1])
    assert values_inside(1.0, [(0.0, inf)]) == values_inside(1.0, []) == []
