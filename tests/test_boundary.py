"""Boundaries of stable regions as curves: against closed forms, and against the certified radius."""

import math
from dataclasses import replace

import numpy as np
import pytest

from easgd_theory import (
    ADMM,
    DOWNPOUR,
    EAMSGD,
    EASGD,
    MSGD,
    DiLoCo,
    RoundRobin,
    Synchronous,
    spectral_radius,
    stability_boundary,
)

ONE = Synchronous(p=1)


def growth(algorithm, schedule, h, names, points):
    """Logarithm of the radius at points of the plane."""
    values = dict(zip(names, np.asarray(points).T, strict=True))
    curvature = values.pop("h", h)
    return np.log(spectral_radius(replace(algorithm, **values), schedule, curvature))


def inside(curve, algorithm):
    """The points that are not on a wall of the box, where the radius may be 1 for another reason."""
    spans = [np.asarray(getattr(algorithm, name)) for name in curve.names if name != "h"]
    within = [(x > s.min()) & (x < s.max()) for x, s in zip(curve.points.T, spans, strict=False)]
    return curve.points[np.all(within, axis=0)]


@pytest.mark.parametrize("p", [1, 3, 7, 1001])
def test_easgd_with_an_odd_number_of_workers_has_the_papers_boundary(p):
    (curve,) = stability_boundary(EASGD(eta=[0.1, 1.9], alpha=[0.05, 1.2]), RoundRobin(p=p))
    eta, alpha = curve.points.T
    np.testing.assert_allclose(alpha, (4 - 2 * eta) / (4 - eta), atol=1e-10)
    np.testing.assert_allclose(curve.phases, p * math.pi)
    assert not curve.closed
    assert np.ptp(eta) == pytest.approx(1.8)
    assert np.linalg.norm(np.diff(curve.points, axis=0), axis=1).max() < 0.1


@pytest.mark.parametrize("p", [2, 4, 8, 100])
def test_easgd_with_an_even_number_of_workers_has_r2s_boundary(p):
    (curve,) = stability_boundary(EASGD(eta=[0.1, 1.9], alpha=[0.05, 1.2]), RoundRobin(p=p))
    theta = curve.phases / p
    x, u = np.cos(theta), np.sin(p * theta) / np.sin(theta)
    alpha = (u * (1 - x) + np.sqrt(u**2 * (1 - x) ** 2 - 2 * u * (1 - x) * (1 + u))) / (1 + u)
    eta = 1 - alpha - np.cos(p * theta) - u * (x - 1 + alpha)
    np.testing.assert_allclose(curve.points, np.stack([eta, alpha], axis=1), atol=1e-9)


@pytest.mark.parametrize("p", [8, 1000, 10**6])
def test_downpour_has_levin_and_mays_boundary(p):
    edge = 2 * math.sin(math.pi / (2 * (2 * p - 1)))
    (curve,) = stability_boundary(DOWNPOUR(eta=[0.3 * edge, 4 * edge]), RoundRobin(p=p), h=[0.2, 3.0])
    assert curve.names == ("eta", "h")
    np.testing.assert_allclose(curve.points.prod(axis=1), edge, rtol=1e-11)
    np.testing.assert_allclose(curve.phases, p * math.pi / (2 * p - 1))


def test_an_even_period_has_three_curves():
    curves = stability_boundary(DOWNPOUR(eta=[0.01, 3.0]), RoundRobin(p=8, tau=2), h=[0.2, 3.0])
    r = math.sqrt(1 - 2 * math.sin(math.pi / 30))
    products = [curve.points.prod(axis=1) for curve in curves]
    for product, expected in zip(sorted(products, key=np.mean), [1 - r, 1 + r, 2], strict=True):
        np.testing.assert_allclose(product, expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("algorithm", "schedule", "h"),
    [
        (ADMM(eta=[1e-5, 0.01], rho=[0.01, 10]), RoundRobin(p=3), 1.0),
        (ADMM(eta=[1e-5, 0.01], rho=[0.01, 10]), RoundRobin(p=8), 1.0),
        (ADMM(eta=[1e-5, 0.01], rho=[0.01, 10]), RoundRobin(p=10**6), 1.0),
        (ADMM(eta=[1e-3, 0.1], rho=1.0), RoundRobin(p=3), [-0.1, 1.0]),
        (EAMSGD(eta=[0.05, 3], alpha=[0.05, 2], delta=0.9), RoundRobin(p=2, tau=4), 1.0),
        (EAMSGD(eta=[0.05, 3], alpha=[0.05, 2], delta=0.9), RoundRobin(p=1000), 1.0),
        (DiLoCo(eta=0.5, nu=[0.1, 4], mu=[0.05, 1.2]), Synchronous(p=8, tau=3), 1.0),
    ],
    ids=["admm-p3", "admm-p8", "admm-million", "admm-h", "eamsgd-corner", "eamsgd-many_modes", "diloco-synchronous"],
)
def test_the_radius_is_1_on_the_curve_and_crosses_it(algorithm, schedule, h):
    curves = stability_boundary(algorithm, schedule, h)
    assert curves
    for curve in curves:
        points = inside(curve, algorithm)
        assert np.abs(growth(algorithm, schedule, h, curve.names, points)).max() < 1e-9
        spans = np.ptp(curve.points, axis=0)
        along = np.gradient(points, axis=0) / spans
        normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
        normal *= 1e-3 * spans / np.linalg.norm(normal, axis=1, keepdims=True)
        middle = np.linalg.norm(along, axis=1) > 5e-3  # towards a corner points crowd
        sides = [
            growth(algorithm, schedule, h, curve.names, points[middle] + sign * normal[middle]) for sign in (1, -1)
        ]
        assert np.mean(np.sign(sides[0]) != np.sign(sides[1])) > 0.95  # but beside a corner


def test_a_region_inside_the_box_is_one_closed_curve_with_its_corners():
    (curve,) = stability_boundary(EASGD(eta=[-0.5, 3.0], alpha=[-0.5, 2.0]), RoundRobin(p=3))
    assert curve.closed
    for corner in ((0, 0), (2, 0), (0, 1)):
        assert np.linalg.norm(curve.points - corner, axis=1).min() < 1e-3
    eta, alpha = curve.points.T
    off = np.min([abs(alpha), abs(eta), abs(alpha - (4 - 2 * eta) / (4 - eta))], axis=0)
    assert off.max() < 1e-5


class Disc(EASGD):
    """Its rate is positive in a disc of the plane of its two parameters."""

    @staticmethod
    def visit(w, c, k, g):
        rate = 0.04 - (k.eta - 1) * (k.eta - 1) - (k.alpha - 1) * (k.alpha - 1)
        return (w.x - rate * g - 0.3 * (w.x - c.x),)

    @staticmethod
    def push_after(old, new, c, k):
        return 0.3 * (old.x - c.x)


@pytest.mark.parametrize("schedule", [RoundRobin(p=5), Synchronous(p=3)], ids=str)
def test_a_disc_has_a_circle(schedule):
    (curve,) = stability_boundary(Disc(eta=[0, 2], alpha=[0.5, 1.9]), schedule)
    assert curve.closed
    np.testing.assert_allclose(np.linalg.norm(curve.points - 1, axis=1), 0.2, atol=1e-12)
    np.testing.assert_allclose(curve.phases, 0, atol=1e-9)


def test_the_synchronous_boundary_with_local_steps():
    (curve,) = stability_boundary(EASGD(eta=[0.05, 0.95], alpha=[0.01, 1]), Synchronous(p=8, tau=3))
    eta, alpha = curve.points.T
    g = 1 - eta
    np.testing.assert_allclose(alpha, 2 * (1 + g**3) / (8 * (1 + g**3) + 2 * g**2), atol=1e-12)


def test_one_worker_with_momentum():
    (curve,) = stability_boundary(MSGD(eta=[0.1, 2.5], delta=[0.0, 0.95]), ONE)
    eta, delta = curve.points.T
    np.testing.assert_allclose(eta, 2 * (1 + delta) / (1 + 2 * delta), atol=1e-12)


def test_nothing_is_found_where_all_is_stable_or_unstable():
    assert stability_boundary(EASGD(eta=[0.1, 0.2], alpha=[0.1, 0.2]), RoundRobin(p=3)) == []
    assert stability_boundary(EASGD(eta=[2.1, 2.2], alpha=[0.1, 0.2]), RoundRobin(p=3)) == []


class ThreeVariables(EASGD):
    """EASGD with variables that make the pencil too large."""

    worker = ("x", "y", "z")

    @staticmethod
    def visit(w, c, k, g):
        return (w.x - k.eta * g - k.alpha * (w.x - c.x), 0.5 * w.y + 0.1 * w.x, 0.5 * w.z + 0.1 * w.y)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((EASGD(eta=[0.1, 1], alpha=0.5), RoundRobin(p=3)), ["two", "eta"]),
        ((EASGD(eta=[0.1, 1], alpha=[0.5, 1]), RoundRobin(p=3), [0.5, 1.0]), ["two", "eta, alpha, h"]),
        ((EASGD(eta=0.1, alpha=0.5), RoundRobin(p=3)), ["two", "none"]),
        ((EASGD(eta=[0.1, 0.1], alpha=[0.5, 1]), RoundRobin(p=3)), ["eta", "1-D", "two"]),
        ((EASGD(eta=[[0.1, 1]], alpha=[0.5, 1]), RoundRobin(p=3)), ["eta", "1-D"]),
        ((EAMSGD(eta=[0.1, 1], alpha=[0.5, 1]), RoundRobin(p=3)), ["EAMSGD", "delta"]),
        ((EASGD(eta=[0.1, 1], alpha=[0.5, 1]), RoundRobin(p=math.inf)), ["p", "inf"]),
        ((EASGD(eta=[0.1, 1], alpha=[0.5, 1]), RoundRobin()), ["RoundRobin", "p"]),
        ((ThreeVariables(eta=[0.1, 1], alpha=[0.5, 1]), RoundRobin(p=3)), ["ThreeVariables", "stability_map"]),
    ],
    ids=["one", "three", "none", "equal", "2-D", "missing", "infinite", "no_p", "no_pencil"],
)
def test_a_bad_box_is_refused(arguments, words, refused):
    refused(lambda: stability_boundary(*arguments), *words)
