"""Do real networks obey the predicted maps? Along eigenvectors of the Hessian, one round of the trainer's own steps."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from easgd_theory import (
    ADMM,
    DOWNPOUR,
    EAMSGD,
    EASGD,
    MDOWNPOUR,
    DiLoCo,
    LocalSGD,
    RoundRobin,
    Synchronous,
    iteration_map,
    spectral_radius,
)
from gpu_trainer.batches import Batches
from gpu_trainer.curvature import HessianVectorProduct
from gpu_trainer.data import load
from gpu_trainer.lanczos import extremes
from gpu_trainer.measured import measured_map, stationary_gradient
from gpu_trainer.models import build

TOLERANCE = 1e-6
"""Of an entry of the matrix, relative to the largest one."""


@cache
def network():
    """The tilted gradient, its point, and two eigenpairs of the Hessian: the top and the most negative one."""
    model = build("tiny", load("digits"), seed=1, dtype=torch.float64).eval()
    images, labels = Batches(load("digits"), size=256, seed=1, dtype=torch.float64).train(0, 0)

    def losses():
        yield cross_entropy(model(images), labels)

    found = extremes(HessianVectorProduct(model, losses), 1446, tolerance=1e-9, dtype=torch.float64)
    gradient, point = stationary_gradient(model, losses)
    return gradient, point, found


@dataclass(frozen=True, eq=False)
class ElasticAfter(EASGD):
    """The elastic step after the gradient step: another algorithm, as some implementations have it."""

    @staticmethod
    def visit(w, c, k, g):
        x = w.x - k.eta * g
        return (x - k.alpha * (x - c.x),)


def rules(h):
    """Each algorithm on both sides of 1; eta is chosen for the top curvature h."""
    return [
        (EASGD(eta=0.5 / h, alpha=0.1), RoundRobin(2, 4)),
        (EASGD(eta=1.9 / h, alpha=0.3), RoundRobin(4)),
        (EASGD(eta=0.5 / h, alpha=0.2), Synchronous(4, 4)),
        (EASGD(eta=0.5 / h, alpha=0.55), Synchronous(4)),
        (EAMSGD(eta=0.3 / h, alpha=0.1, delta=0.9), RoundRobin(2, 4)),
        (EAMSGD(eta=1.5 / h, alpha=0.4, delta=0.9), Synchronous(2)),
        (ADMM(eta=0.5 / h, rho=h), RoundRobin(3)),
        (ADMM(eta=0.001 / h, rho=2.5 * h), RoundRobin(3)),
        (ADMM(eta=0.5 / h, rho=h), Synchronous(2)),
        (DOWNPOUR(eta=0.1 / h), RoundRobin(2, 4)),
        (DOWNPOUR(eta=0.5 / h), RoundRobin(4, 4)),
        (DOWNPOUR(eta=0.1 / h), Synchronous(4)),
        (MDOWNPOUR(eta=0.05 / h, delta=0.5), RoundRobin(4)),
        (MDOWNPOUR(eta=1.5 / h, delta=0.9), RoundRobin(2)),
        (LocalSGD(eta=0.5 / h), Synchronous(4, 4)),
        (LocalSGD(eta=1.5 / h), RoundRobin(4)),
        (DiLoCo(eta=0.2 / h, nu=0.7, mu=0.5), Synchronous(2, 4)),
        (DiLoCo(eta=0.5 / h, nu=2.5, mu=0.9), Synchronous(2, 4)),
    ]


NAMES = [f"{type(rule).__name__}-{schedule!r}-{i}" for i, (rule, schedule) in enumerate(rules(1.0))]


@pytest.mark.parametrize("end", ["top", "most negative"])
@pytest.mark.parametrize("number", range(len(NAMES)), ids=NAMES)
def test_a_network_has_the_map_that_the_theory_predicts(number, end):
    gradient, point, found = network()
    rule, schedule = rules(found.values[-1])[number]
    at = -1 if end == "top" else 0
    predicted = iteration_map(rule, schedule, h=found.values[at]).matrix
    measured = measured_map(rule, schedule, gradient, point, found.vectors[at])
    scale = np.abs(predicted).max()
    np.testing.assert_allclose(measured.matrix, predicted, rtol=0, atol=TOLERANCE * scale)
    assert measured.leakage.max() < 1e-5 * scale


def test_the_cases_lie_on_both_sides_of_1():
    found = network()[2]
    assert found.values[0] < -1e-4 < 0.1 < found.values[-1]
    radii = [spectral_radius(rule, schedule, h=found.values[-1]) for rule, schedule in rules(found.values[-1])]
    assert sum(radius > 1.0001 for radius in radii) >= 5
    assert sum(radius < 0.9999 for radius in radii) >= 5


def test_the_radius_is_that_of_the_prediction():
    gradient, point, found = network()
    h = found.values[-1]
    rule, schedule = ADMM(eta=0.001 / h, rho=2.5 * h), RoundRobin(3)
    measured = measured_map(rule, schedule, gradient, point, found.vectors[-1]).spectral_radius
    predicted = spectral_radius(rule, schedule, h=h)
    assert predicted > 1.0009
    assert np.log(measured) == pytest.approx(np.log(predicted), rel=1e-4)


def test_a_wrong_rule_is_caught():
    """MATH: (1 - alpha)(1 - eta h) in the place of 1 - alpha - eta h."""
    gradient, point, found = network()
    h = found.values[-1]
    wrong, schedule = ElasticAfter(eta=0.5 / h, alpha=0.2), RoundRobin(2)
    measured = measured_map(wrong, schedule, gradient, point, found.vectors[-1]).matrix
    paper = iteration_map(EASGD(eta=0.5 / h, alpha=0.2), schedule, h=h).matrix
    assert np.abs(measured - paper).max() > 100 * TOLERANCE * np.abs(paper).max()
    own = iteration_map(wrong, schedule, h=h).matrix
    np.testing.assert_allclose(measured, own, rtol=0, atol=TOLERANCE)


def test_what_cannot_be_measured_is_refused():
    gradient, point, found = network()
    rule, schedule = EASGD(eta=0.1, alpha=0.1), RoundRobin(2)
    with pytest.raises(ValueError, match="direction must have length 1, got 2"):
        measured_map(rule, schedule, gradient, point, 2 * found.vectors[-1])
    with pytest.raises(ValueError, match="point must be stationary"):
        measured_map(rule, schedule, gradient, point + 0.1, found.vectors[-1])
