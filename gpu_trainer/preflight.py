"""Before a run: the curvature that is there, what the theory predicts for it, and a stable value where that is bad.

Around a stationary point training is linear along each eigenvector of the Hessian, so a round multiplies the distance
by the largest spectral radius over the Hessian's eigenvalues. Measured is the largest of them, h_max; the others lie
below, and in a network most are nearly 0. Negative curvature is left aside: there every setting grows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from easgd_theory.algorithm import Algorithm, as_instance
from easgd_theory.regions import sampled_intervals, values_inside
from easgd_theory.schedules import RoundRobin, Schedule, Synchronous
from easgd_theory.spectrum import TOLERANCE, is_stable, round_growth
from gpu_trainer.curvature import HessianVectorProduct, Losses
from gpu_trainer.lanczos import extremes

EXAMPLES = 2_000
"""A sample of so many training examples is enough to measure h_max for a prediction."""

PRODUCTS = 30
"""Hessian-vector products that the measurement takes at most."""

_ACCURACY = 0.01
_FRACTIONS = np.array([0, 1e-3, 1e-2, 0.05, *np.linspace(0.125, 1, 8)])  # of h_max, where the radius is looked at
_COUPLING = ("alpha", "rho")  # how strongly workers and center pull at each other, as the records name it


@dataclass(frozen=True)
class Prediction:
    """What the theory says of a run before it starts.

    Attributes
    ----------
    h_max : float
        The largest curvature: an eigenvalue of the Hessian.
    spectral_radius : float or None
        The largest factor by which a round multiplies the distance to a stationary point, over curvatures from 0 to
        h_max. A flat direction keeps its distance in most algorithms: then it is 1 wherever the run is stable.
    stable : bool or None
        Whether the iterates stay bounded at all these curvatures. None: nothing is predicted, and `note` says why.
    margin : float or None
        The distance of the radius to 1. If stable, that of the radius in the direction of h_max itself, which flat
        directions do not hide: 1 less that radius. If not, 1 less `spectral_radius`: negative (0 where growth is slower
        than exponential).
    suggestion : str or None
        If unstable: what to change, in words.
    changes : dict
        The same for programs: the parameters and their values that are stable at all these curvatures. Mostly one;
        two where no single parameter suffices; empty if the run is stable or nothing was found.
    note : str
        What was predicted in place of what will run, or why nothing was; empty if there is nothing to say.
    """

    h_max: float
    spectral_radius: float | None
    stable: bool | None
    margin: float | None
    suggestion: str | None
    changes: dict[str, float]
    note: str


def measure(model: torch.nn.Module, losses: Losses, *, seed: int = 0) -> float:
    """The largest eigenvalue of the Hessian, to about 1%: at most 30 Hessian-vector products.

    Parameters
    ----------
    model, losses
        As in `HessianVectorProduct`; some 2,000 training examples are enough.
    seed : int, default 0
        Of the random start.

    Returns
    -------
    float
        Never above the true value, up to rounding; nan if the loss or a derivative is not finite there.

    Examples
    --------
    >>> model = torch.nn.Linear(2, 1, bias=False).double()
    >>> scale = torch.tensor([3.0, 1.0], dtype=torch.float64)
    >>> round(measure(model, lambda: [(scale * model.weight.square()).sum() / 2]), 9)
    3.0
    """
    product = HessianVectorProduct(model, losses)
    try:
        found = extremes(
            product,
            product.n,
            largest=1,
            smallest=0,
            tolerance=_ACCURACY,
            products=PRODUCTS,
            seed=seed,
            dtype=product.dtype,
            device=product.device,
        )
    except FloatingPointError:
        return math.nan
    return float(found.values[-1])


def preflight(algorithm: Algorithm, schedule: Schedule, h_max: float) -> Prediction:
    """Predict whether a run is stable where the largest curvature is h_max, and if not, what would be.

    Parameters
    ----------
    algorithm : Algorithm
        All parameters given: numbers, or functions of the worker's clock, which count with their value at the start.
    schedule : Schedule
        Where it has no fixed round, the round-robin schedule with its p and tau is judged in its place.
    h_max : float
        The largest eigenvalue of the Hessian.

    Returns
    -------
    Prediction
        Always: what cannot be predicted is a note in it, not an error.

    Examples
    --------
    >>> from easgd_theory import EASGD
    >>> prediction = preflight(EASGD(eta=0.05, alpha=0.55), Synchronous(p=4), h_max=10.0)
    >>> prediction.stable, prediction.suggestion
    (False, 'alpha = 0.338 instead of 0.55')
    """
    if not math.isfinite(h_max):
        return _nothing(h_max, "the curvature at the start is not finite")
    try:
        rule, at_start = _at_start(as_instance(algorithm))
        judged, in_its_place = _with_rounds(schedule)
        note = "; ".join(filter(None, (at_start, in_its_place)))
        return _predicted(rule, judged, h_max, note)
    except (TypeError, ValueError) as error:
        return _nothing(h_max, str(error))


def _nothing(h_max: float, reason: str) -> Prediction:
    return Prediction(h_max, None, None, None, None, {}, f"nothing is predicted: {reason}")


def _at_start(rule: Algorithm) -> tuple[Algorithm, str]:
    """The algorithm with the values that its parameters have at clock 0, and a note if any of them varies."""
    values = {name: getattr(rule, name) for name in rule.parameters()}
    first = {name: value(0) for name, value in values.items() if callable(value)}
    note = ", ".join(f"{name} = {value:g}" for name, value in first.items())
    return _with(rule, first), f"predicted for the start, where {note}" if note else ""


def _with_rounds(schedule: Schedule) -> tuple[Schedule, str]:
    """The schedule, or round-robin if it has no fixed round, and a note if so."""
    if isinstance(schedule, Synchronous | RoundRobin):
        return schedule, ""
    judged = RoundRobin(p=schedule.workers(), tau=schedule.tau)
    return judged, f"{type(schedule).__name__} has no fixed round: predicted for {judged}"


def _predicted(rule: Algorithm, schedule: Schedule, h_max: float, note: str) -> Prediction:
    h = h_max * _FRACTIONS
    growth = round_growth(rule, schedule, h, ask_bounded=True)
    largest = float(growth.radius.max())
    if bool((growth.certified & growth.bounded).all()):
        return Prediction(h_max, largest, True, 1 - float(growth.radius[-1]), None, {}, note)
    if largest <= 1 + TOLERANCE and not growth.certified.all():
        return _nothing(h_max, "the spectral radius could not be certified")
    changes = _stabilising(rule, schedule, h)
    words = [f"{name} = {value:g} instead of {getattr(rule, name):g}" for name, value in changes.items()]
    return Prediction(h_max, largest, False, min(0.0, 1 - largest), " and ".join(words) or None, changes, note)


def _stabilising(rule: Algorithm, schedule: Schedule, h: np.ndarray) -> dict[str, float]:
    """The nearest stable value of one parameter; else a smaller learning rate and, with it, that of another."""
    coupling = [name for name in rule.parameters() if name in _COUPLING]
    others = [name for name in rule.parameters() if name not in ("eta", *_COUPLING)]
    rate = [name for name in rule.parameters() if name == "eta"]
    step = max((_value(rule, name) * h[-1] for name in rate), default=0.0)
    order = [*coupling, *rate] if step <= 2 else [*rate, *coupling]  # beyond 2 gradient descent alone diverges
    for name in (*order, *others):
        value = _nearest_stable(name, rule, schedule, h)
        if value is not None:
            return {name: value}
    if step > 1:
        eased = _with(rule, {"eta": _rounded(1 / h[-1])})
        for name in (*coupling, *others):
            value = _nearest_stable(name, eased, schedule, h)
            if value is not None:
                return {"eta": _value(eased, "eta"), name: value}
    return {}


def _nearest_stable(name: str, rule: Algorithm, schedule: Schedule, h: np.ndarray) -> float | None:
    """A value of one parameter with which all curvatures are stable, the others held; None if none was found."""
    intervals = sampled_intervals(name, rule, schedule, h, over_spectrum=True)
    for inside in values_inside(_value(rule, name), intervals):
        value = _rounded(inside)
        if is_stable(_with(rule, {name: value}), schedule, h, over_spectrum=True):
            return value
    return None


def _rounded(value: float) -> float:
    """To three digits, as one writes a parameter."""
    return float(f"{value:.3g}")


def _value(rule: Algorithm, name: str) -> float:
    return float(getattr(rule, name))


def _with(rule: Algorithm, values: dict[str, Any]) -> Algorithm:
    return replace(rule, **values)  # type: ignore[type-var]
