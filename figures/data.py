"""What the figures show: each function computes one `xarray.Dataset`, with its parameters as attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version

import numpy as np
import xarray as xr

from easgd_theory import (
    ADMM,
    DOWNPOUR,
    EAMSGD,
    EASGD,
    RoundRobin,
    Synchronous,
    critical_value,
    spectral_radius,
    stability_map,
    stable_intervals,
)
from easgd_theory.algorithm import Algorithm
from easgd_theory.noise import easgd_center_moments
from easgd_theory.spectrum import TOLERANCE, round_growth

Question = Callable[[np.ndarray], tuple[Algorithm, float | np.ndarray]]
"""A rule and the curvature, for values of whatever is varied."""

WORKERS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Numbers of workers at which `largest_rates` looks by default."""


def attributes(algorithm: str, schedule: str, **parameters: float) -> dict[str, str | float]:
    """What a dataset carries beside its numbers."""
    return {"algorithm": algorithm, "schedule": schedule, **parameters, "easgd_version": version("easgd")}


def _midpoints(low: float, high: float, size: int) -> np.ndarray:
    """Middles of `size` equal cells: they fill the open interval, whose ends are not among them."""
    return low + (high - low) * (np.arange(size) + 0.5) / size


def admm_regions(size: int = 256, workers: Sequence[int] = (3, 8)) -> xr.Dataset:
    r"""Spectral radius of round-robin ADMM over the learning rate and the penalty, for several numbers of workers.

    Over :math:`\eta \in (0, 10^{-2})` and :math:`\rho \in (0, 10)`, at h = 1.

    Parameters
    ----------
    size : int, default 256
        Points along each axis.
    workers : sequence of int, default (3, 8)
        Numbers of workers p.

    Returns
    -------
    xarray.Dataset
        `spectral_radius` and `stable` (p, eta, rho), and `example_radius` (p), the radius at the paper's example, whose
        `eta` and `rho` are its attributes.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651: Figure 1, Section 4.

    Examples
    --------
    >>> from figures import data
    >>> regions = data.admm_regions(size=4)
    >>> dict(regions.sizes), regions.example_radius.values.round(7).tolist()
    ({'p': 2, 'eta': 4, 'rho': 4}, [1.0009739, 1.0022579])
    """
    etas, rhos = _midpoints(0, 0.01, size), _midpoints(0, 10, size)
    example = {"eta": 0.001, "rho": 2.5}
    grids = [stability_map(ADMM(eta=etas, rho=rhos), RoundRobin(p=p)) for p in workers]
    regions = xr.concat(grids, xr.Variable("p", list(workers)), combine_attrs="drop_conflicts")
    radii = [spectral_radius(ADMM(**example), RoundRobin(p=p)) for p in workers]
    regions["example_radius"] = ("p", radii, example)
    return regions


def easgd_boundaries(size: int = 65, workers: Sequence[int] = (1, 2, 3, 4, 8)) -> xr.Dataset:
    r"""Largest stable moving rate of round-robin EASGD: the paper's condition, and the exact boundary at each p.

    The paper's is :math:`\alpha \le (4 - 2\eta h)/(4 - \eta h)`, :math:`0 \le \eta h \le 2`. The exact one is found
    from the eigenvalues of the round alone, by bisection.

    Parameters
    ----------
    size : int, default 65
        How many values of :math:`\eta h`, equidistant in [0, 2].
    workers : sequence of int, default (1, 2, 3, 4, 8)
        Numbers of workers p.

    Returns
    -------
    xarray.Dataset
        `paper` (eta), `exact` and `excess` = exact - paper (p, eta), nan where no positive rate is stable; h = 1.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651: Section 4, eqs. 12-13.

    Examples
    --------
    >>> from figures import data
    >>> boundaries = data.easgd_boundaries(size=3, workers=(2, 3)).sel(eta=1.0)
    >>> boundaries.exact.values.round(6).tolist(), float(boundaries.paper.round(6))
    ([0.707107, 0.666667], 0.666667)
    """
    etas = np.linspace(0, 2, size)
    exact = [[critical_value("alpha", EASGD(eta=eta), RoundRobin(p=p)) for eta in etas] for p in workers]
    boundaries = xr.Dataset(
        {"paper": ("eta", (4 - 2 * etas) / (4 - etas)), "exact": (("p", "eta"), exact)},
        coords={"eta": etas, "p": list(workers)},
        attrs=attributes("EASGD", "RoundRobin", tau=1, h=1.0),
    )
    return boundaries.assign(excess=boundaries.exact - boundaries.paper)


def largest_rates(
    workers: Sequence[int] = WORKERS, alpha: float = 0.1, delta: float = 0.9, rho: float = 2.5
) -> xr.Dataset:
    r"""Largest stable learning rate of the round-robin methods against p, and ADMM's smallest.

    Parameters
    ----------
    workers : sequence of int
        Numbers of workers p.
    alpha, delta, rho : float
        Moving rate of EASGD and EAMSGD, momentum of EAMSGD, penalty of ADMM.

    Returns
    -------
    xarray.Dataset
        `largest_rate` (algorithm, p), from eigenvalues; `closed_form` (p), DOWNPOUR's
        :math:`2\sin(\pi/(2(2p-1)))`; `admm_threshold` (p), below which ADMM diverges, nan where it does not; h = 1.

    References
    ----------
    Levin, May (1976), for the closed form.

    Examples
    --------
    >>> from figures import data
    >>> rates = data.largest_rates(workers=(2, 3))
    >>> rates.largest_rate.sel(algorithm="DOWNPOUR").values.round(6).tolist()
    [1.0, 0.618034]
    >>> rates.admm_threshold.values.round(6).tolist()
    [nan, 0.002091]
    """
    algorithms = {
        "EASGD": EASGD(alpha=alpha),
        "EAMSGD": EAMSGD(alpha=alpha, delta=delta),
        "DOWNPOUR": DOWNPOUR(),
    }
    largest = [[critical_value("eta", rule, RoundRobin(p=p)) for p in workers] for rule in algorithms.values()]
    lower = np.array([stable_intervals("eta", ADMM(rho=rho), RoundRobin(p=p))[0][0] for p in workers])
    p = np.array(workers)
    return xr.Dataset(
        {
            "largest_rate": (("algorithm", "p"), largest),
            "closed_form": ("p", 2 * np.sin(np.pi / (2 * (2 * p - 1)))),
            "admm_threshold": ("p", np.where(lower > 0, lower, np.nan)),
        },
        coords={"algorithm": list(algorithms), "p": p},
        attrs=attributes("EASGD, EAMSGD, DOWNPOUR, ADMM", "RoundRobin", alpha=alpha, delta=delta, rho=rho, tau=1, h=1),
    )


def limit_regions(
    size: int = 64, workers: Sequence[int] = (1, 2, 3, 4, 8, 64, 10**6), delta: float = 0.9, tau: int = 4
) -> xr.Dataset:
    r"""How the round-robin regions move as workers are added, up to the limit of infinitely many.

    An edge is where a growing mode is first found, on the way from the stable side.

    Parameters
    ----------
    size : int, default 64
        Points along each edge.
    workers : sequence of int
        Finite numbers of workers; the limit is added to them.
    delta, tau : float, int
        Momentum and communication period of EAMSGD; the others have tau = 1.

    Returns
    -------
    xarray.Dataset
        `easgd` (p, rate) and `eamsgd` (p, momentum_rate), the moving rate up to which it is stable, over
        :math:`\eta h`; `admm` (p, share), the :math:`\eta h` below which it diverges, over `penalty` (p, share), which
        is :math:`\eta\rho` and ends where ADMM is stable at h = 0, nan where it always is; `downpour` (p), the largest
        stable :math:`\eta h`. p = inf is the last.

    References
    ----------
    docs/limit.md.

    Examples
    --------
    >>> from figures import data
    >>> regions = data.limit_regions(size=1, workers=(2, 3))
    >>> regions.easgd.sel(rate=1.0).values.round(4).tolist()
    [0.7071, 0.6667, 0.6667]
    >>> regions.penalty.sel(share=1.0).values.round(4).tolist()
    [nan, 0.0088, 0.0265]
    """
    rates, momentum_rates = _midpoints(0, 2, size), _midpoints(0, 2 * (1 + delta) / (1 + 2 * delta), size)
    shares = np.linspace(0, 1, size + 1)[1:] ** 2  # they crowd at 0, where the edge is steep
    schedules = [*(RoundRobin(p=p) for p in workers), RoundRobin(p=np.inf)]
    with_period = [RoundRobin(p=schedule.p, tau=tau) for schedule in schedules]

    def admm_at(penalty: np.ndarray) -> Question:
        return lambda e: (ADMM(1.0, penalty), e)

    easgd = [_edge(lambda a: (EASGD(rates, a), 1.0), s, 0.0, 2.0, size) for s in schedules]
    eamsgd = [_edge(lambda a: (EAMSGD(momentum_rates, a, delta), 1.0), s, 0.0, 2.1, size) for s in with_period]
    penalties = [shares * _edge(lambda r: (ADMM(1.0, r), 0.0), s, 0.04, 0.0, 1) for s in schedules]
    admm = [_edge(admm_at(r), s, 0.008, 0.0, size) for s, r in zip(schedules, penalties, strict=True)]
    largest = [critical_value("eta", DOWNPOUR(), schedule) for schedule in schedules[:-1]]
    return xr.Dataset(
        {
            "easgd": (("p", "rate"), easgd),
            "eamsgd": (("p", "momentum_rate"), eamsgd),
            "admm": (("p", "share"), admm),
            "penalty": (("p", "share"), np.where(np.array(penalties) > 0, penalties, np.nan)),
            "downpour": ("p", [*largest, 0.0]),
        },
        coords={"p": [*map(float, workers), np.inf], "rate": rates, "momentum_rate": momentum_rates, "share": shares},
        attrs=attributes("EASGD, EAMSGD, ADMM, DOWNPOUR", "RoundRobin", delta=delta, tau=tau, h=1.0),
    )


def _edge(question: Question, schedule: RoundRobin, start: float, stop: float, size: int) -> np.ndarray:
    """Where growth first begins on the way from `start` to `stop`, for each of `size` curves; `stop` if it does not."""

    def grows(values: np.ndarray) -> np.ndarray:
        rule, h = question(values)
        return round_growth(rule, schedule, h, ask_sign=True).radius > 1 + TOLERANCE  # not certified: a lower bound

    steps = np.linspace(start, stop, 101)[1:]
    growing = grows(np.repeat(steps[:, None], size, axis=1))
    first = np.argmax(growing, axis=0)
    low, high = np.append(start, steps)[first], steps[first]
    for _ in range(18):
        middle = (low + high) / 2
        beyond = grows(middle)
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    return np.where(growing.any(axis=0), low, stop)


def synchronous_error(
    size: int = 128,
    workers: Sequence[int] = (1, 10, 100, 1000, 10_000),
    rounds: Sequence[float] = (1, 2, 10, 100, np.inf),
    sigma: float = 10.0,
    start: float = 1.0,
) -> xr.Dataset:
    r"""Mean squared error of the center of synchronous EASGD under gradient noise, in closed form.

    Over :math:`\eta, \beta \in (0, 2)` with :math:`\beta = p\alpha`, at h = 1.

    Parameters
    ----------
    size : int, default 128
        Points along each axis.
    workers : sequence of int
        Numbers of workers p.
    rounds : sequence of int or inf
        Rounds t.
    sigma, start : float
        Standard deviation of the noise; where all workers and the center start. The minimum is at 0.

    Returns
    -------
    xarray.Dataset
        `mse` (p, round, beta, eta), inf where it diverges as t grows without bound; `spectral_radius` (p, beta, eta).

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651: Figure 5, Lemma 7.1.

    Examples
    --------
    >>> from figures import data
    >>> data.synchronous_error(size=1, workers=(10,), rounds=(1, float("inf"))).mse.values.ravel().round(6).tolist()
    [1.0, 10.227273]
    """
    eta, beta = _midpoints(0, 2, size), _midpoints(0, 2, size)
    errors, radii = [], []
    for p in workers:
        rule = EASGD(eta=eta, alpha=beta[:, None] / p)
        pairs = [easgd_center_moments(rule, Synchronous(p=p), t, sigma=sigma, start=start) for t in rounds]
        errors.append([mean**2 + variance for mean, variance in pairs])
        radii.append(spectral_radius(rule, Synchronous(p=p)))
    return xr.Dataset(
        {"mse": (("p", "round", "beta", "eta"), errors), "spectral_radius": (("p", "beta", "eta"), radii)},
        coords={"p": list(workers), "round": list(map(float, rounds)), "beta": beta, "eta": eta},
        attrs=attributes("EASGD", "Synchronous", tau=1, h=1.0, sigma=sigma, start=start),
    )
