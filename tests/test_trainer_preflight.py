"""The preflight: what it measures, what it predicts, and that what it suggests is stable."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

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
    RandomOrder,
    RoundRobin,
    Synchronous,
    is_stable,
    spectral_radius,
    stability_condition,
)
from gpu_trainer.curvature import HessianVectorProduct, exact_spectrum
from gpu_trainer.preflight import PRODUCTS, measure, preflight

ONE = Synchronous(p=1)


# Prediction


@pytest.mark.parametrize("eta", [1e-4, 0.05, 0.5])
def test_the_paper_says_alpha_below_beta_over_p(eta):
    """Synchronous EASGD, p = 4, alpha = 0.55: unstable at any learning rate, flat directions included."""
    prediction = preflight(EASGD(eta=eta, alpha=0.55), Synchronous(p=4, tau=1), h_max=2.0)
    assert prediction.stable is False
    assert prediction.spectral_radius > 1
    assert prediction.margin == 1 - prediction.spectral_radius
    assert set(prediction.changes) == {"alpha"}
    edge = 2 * (2 - 2 * eta) / (2 + 4 * (2 - 2 * eta))
    assert 0.85 * edge < prediction.changes["alpha"] < edge
    assert prediction.suggestion == f"alpha = {prediction.changes['alpha']:g} instead of 0.55"


@pytest.mark.parametrize(
    ("algorithm", "schedule"),
    [
        (EASGD(eta=0.05, alpha=0.2), Synchronous(p=4, tau=10)),
        (EASGD(eta=0.05, alpha=0.55), RoundRobin(p=4)),
        (EAMSGD(eta=0.05, alpha=0.1, delta=0.9), RoundRobin(p=3, tau=2)),
        (ADMM(eta=0.05, rho=2.0), RoundRobin(p=3)),
        (DOWNPOUR(eta=0.01), RoundRobin(p=3, tau=4)),
        (MDOWNPOUR(eta=0.01, delta=0.5), Synchronous(p=2)),
        (LocalSGD(eta=0.1), Synchronous(p=8, tau=16)),
        (DiLoCo(eta=0.1, nu=0.7, mu=0.9), Synchronous(p=4, tau=20)),
        (SGD(eta=0.1), ONE),
        (MSGD(eta=0.1, delta=0.9), ONE),
    ],
    ids=lambda value: type(value).__name__,
)
def test_stable_runs_are_called_stable_with_the_margin_of_the_sharpest_direction(algorithm, schedule):
    h_max = 4.0
    prediction = preflight(algorithm, schedule, h_max)
    assert prediction.stable is True
    assert (prediction.suggestion, prediction.changes, prediction.note) == (None, {}, "")
    assert prediction.h_max == h_max
    assert prediction.margin == pytest.approx(1 - spectral_radius(algorithm, schedule, h_max), abs=1e-14)
    assert prediction.margin > 0
    assert spectral_radius(algorithm, schedule, 0.0) <= prediction.spectral_radius + 1e-14
    assert prediction.spectral_radius <= 1 + 1e-9


def test_a_flat_direction_may_be_the_unstable_one():
    """ADMM with a small eta*rho grows at h = 0 and not at h_max (MATH.md, section 6)."""
    algorithm, schedule, h_max = ADMM(eta=1e-3, rho=2.5), RoundRobin(p=3), 1000.0
    assert is_stable(algorithm, schedule, h_max)
    assert not is_stable(algorithm, schedule, 0.0)
    prediction = preflight(algorithm, schedule, h_max)
    assert prediction.stable is False
    assert prediction.spectral_radius >= spectral_radius(algorithm, schedule, 0.0)
    assert prediction.margin < 0


def test_a_direction_in_between_may_be_the_unstable_one():
    """DOWNPOUR with an even tau is stable for kappa near 0 on both sides of eta*h = 1."""
    algorithm, schedule, h_max = DOWNPOUR(eta=1.0), RoundRobin(p=3, tau=2), 1.9
    assert is_stable(algorithm, schedule, [0.0, h_max]).all()
    assert not is_stable(algorithm, schedule, 1.0)
    prediction = preflight(algorithm, schedule, h_max)
    assert prediction.stable is False
    assert prediction.changes["eta"] * h_max < 0.4  # the lower interval, not the one that h_max alone would allow


UNSTABLE = [
    pytest.param(EASGD(eta=0.1, alpha=0.9), Synchronous(p=4), ["alpha"], id="easgd"),
    pytest.param(EASGD(eta=0.3, alpha=0.1), Synchronous(p=4), ["eta"], id="easgd-rate"),
    pytest.param(EASGD(eta=0.3, alpha=0.55), Synchronous(p=4), ["eta", "alpha"], id="easgd-both"),
    pytest.param(EASGD(eta=0.1, alpha=1.5), RoundRobin(p=3, tau=4), ["alpha"], id="easgd-round-robin"),
    pytest.param(EASGD(eta=0.1, alpha=-0.2), Synchronous(p=4), ["alpha"], id="easgd-negative"),
    pytest.param(EAMSGD(eta=0.01, alpha=0.7, delta=0.9), Synchronous(p=4), ["alpha"], id="eamsgd"),
    pytest.param(EAMSGD(eta=0.18, alpha=0.1, delta=0.9), Synchronous(p=4), ["eta"], id="eamsgd-rate"),
    pytest.param(ADMM(eta=1e-3, rho=2.5), RoundRobin(p=3), ["rho"], id="admm"),
    pytest.param(DOWNPOUR(eta=0.1), RoundRobin(p=3, tau=8), ["eta"], id="downpour"),
    pytest.param(MDOWNPOUR(eta=0.2, delta=0.9), Synchronous(p=4), ["eta"], id="mdownpour"),
    pytest.param(LocalSGD(eta=0.3), Synchronous(p=4, tau=3), ["eta"], id="local-sgd"),
    pytest.param(DiLoCo(eta=0.1, nu=3.0, mu=0.9), Synchronous(p=4, tau=4), ["eta"], id="diloco"),
    pytest.param(SGD(eta=0.3), ONE, ["eta"], id="sgd"),
    pytest.param(MSGD(eta=0.19, delta=0.9), ONE, ["eta"], id="msgd"),
]


@pytest.mark.parametrize(("algorithm", "schedule", "names"), UNSTABLE)
def test_what_is_suggested_is_stable(algorithm, schedule, names):
    """At curvatures that the preflight did not look at, too."""
    h_max = 10.0
    prediction = preflight(algorithm, schedule, h_max)
    assert prediction.stable is False
    assert prediction.margin < 0
    assert list(prediction.changes) == names
    changed = replace(algorithm, **prediction.changes)
    assert is_stable(changed, schedule, np.linspace(0, h_max, 301), over_spectrum=True)
    assert preflight(changed, schedule, h_max).stable is True
    for name, value in prediction.changes.items():
        assert f"{name} = {value:g} instead of {getattr(algorithm, name):g}" in prediction.suggestion


@pytest.mark.parametrize("eta", [0.02, 0.1, 0.19])
@pytest.mark.parametrize("alpha", [0.05, 0.3, 0.6, 1.1])
def test_the_verdict_is_that_of_the_closed_form(eta, alpha):
    for schedule in (Synchronous(p=5), RoundRobin(p=3)):
        known = stability_condition(EASGD, schedule).holds(eta=eta, alpha=alpha, h=np.linspace(0, 10.0, 50))
        assert preflight(EASGD(eta=eta, alpha=alpha), schedule, 10.0).stable is bool(known.all())


def test_where_nothing_is_found_nothing_is_suggested():
    prediction = preflight(EASGD(eta=0.1, alpha=0.1), Synchronous(p=2), h_max=-1.0)  # every direction is downhill
    assert prediction.stable is False
    assert (prediction.suggestion, prediction.changes) == (None, {})


# What has no iteration map


def test_a_varying_learning_rate_is_judged_at_the_start():
    schedule = Synchronous(p=4)
    varying = preflight(EASGD(eta=lambda clock: 0.1 / (1 + clock) ** 0.5, alpha=0.55), schedule, 2.0)
    constant = preflight(EASGD(eta=0.1, alpha=0.55), schedule, 2.0)
    assert varying.note == "predicted for the start, where eta = 0.1"
    assert replace(varying, note="") == constant


def test_a_schedule_without_rounds_is_judged_as_round_robin():
    algorithm = DOWNPOUR(eta=0.1)
    prediction = preflight(algorithm, RandomOrder(p=3, tau=4), 1.0)
    assert prediction.note == "RandomOrder has no fixed round: predicted for RoundRobin(p=3, tau=4)"
    assert replace(prediction, note="") == preflight(algorithm, RoundRobin(p=3, tau=4), 1.0)


@pytest.mark.parametrize(
    ("algorithm", "schedule", "h_max", "word"),
    [
        (ADMM(eta=0.1, rho=1.0), RoundRobin(p=3, tau=2), 1.0, "tau=1"),
        (EASGD(eta=0.1), Synchronous(p=3), 1.0, "alpha"),
        (EASGD(eta=0.1, alpha=0.1), Synchronous(), 1.0, "p"),
        (EASGD(eta=0.1, alpha=0.1), Synchronous(p=3), math.nan, "not finite"),
        (EASGD(eta=0.1, alpha=0.1), Synchronous(p=3), math.inf, "not finite"),
        (SGD(eta=lambda clock: None), ONE, 1.0, "NoneType"),
    ],
)
def test_what_cannot_be_predicted_is_a_note(algorithm, schedule, h_max, word):
    prediction = preflight(algorithm, schedule, h_max)
    assert prediction.note.startswith("nothing is predicted: ")
    assert word in prediction.note
    assert (prediction.stable, prediction.spectral_radius, prediction.margin) == (None, None, None)


def test_a_prediction_is_plain_data():
    prediction = preflight(EASGD(eta=0.05, alpha=0.55), Synchronous(p=4), 10.0)
    assert json.loads(json.dumps(asdict(prediction), allow_nan=False)) == asdict(prediction)


# Measurement


def trained_a_little():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 4)).double()
    x = torch.randn(60, 8, dtype=torch.float64)
    labels = torch.randint(0, 4, (60,))
    calls = []

    def losses():
        calls.append(1)
        yield functional.cross_entropy(model(x), labels)

    return model, losses, calls


def test_h_max_is_measured_within_a_percent_by_few_products():
    model, losses, calls = trained_a_little()
    exact = exact_spectrum(HessianVectorProduct(model, losses)).values[-1]
    for seed in range(5):
        calls.clear()
        h_max = measure(model, losses, seed=seed)
        assert len(calls) <= PRODUCTS
        assert 0.99 * exact <= h_max <= exact * (1 + 1e-12)


def test_a_model_that_is_not_finite_measures_nan():
    model, losses, _ = trained_a_little()
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    h_max = measure(model, losses)
    assert math.isnan(h_max)
    assert preflight(EASGD(eta=0.1, alpha=0.1), Synchronous(p=2), h_max).stable is None
