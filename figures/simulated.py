"""What the figures of simulated runs show: each function simulates and returns one `xarray.Dataset`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr

from easgd_theory import (
    ADMM,
    DOWNPOUR,
    EASGD,
    Asynchronous,
    Deterministic,
    Lognormal,
    RoundRobin,
    Synchronous,
    spectral_radius,
    stationary_covariance,
)
from easgd_theory.algorithm import Algorithm
from easgd_theory.schedules import Schedule
from figures.data import attributes
from simulations import DoubleWell, Quadratic, Record, simulate

WORKERS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Numbers of workers at which `center_variance` looks by default."""

_APART = 0.05  # of the spread: a run that has not settled on one minimum is far above it, one that has far below
_FORGOTTEN = 1e-3  # what is left of the start when a variance is taken for the stationary one


def trajectories(
    rounds: int = 10_000,
    workers: Sequence[int] = (3, 8),
    eta: float = 0.001,
    rho: float = 2.5,
    start: float = 1000.0,
) -> xr.Dataset:
    r"""The center of round-robin ADMM and EASGD, simulated without noise from the same start.

    Multipliers start at 0, workers and center at `start`; EASGD has :math:`\alpha = \eta\rho`; h = 1.

    Parameters
    ----------
    rounds : int, default 10000
        How many rounds of p ticks.
    workers : sequence of int, default (3, 8)
        Numbers of workers p.
    eta, rho, start : float
        Learning rate, penalty and start; by default those of the paper's "chaotic" example.

    Returns
    -------
    xarray.Dataset
        `center` (algorithm, p, round), after each round, the start included, and `spectral_radius` (algorithm, p).

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651: Section 4.

    Examples
    --------
    >>> from figures import simulated
    >>> simulated.trajectories(rounds=3, workers=(3,)).center.sel(algorithm="EASGD", p=3).values.round(3).tolist()
    [1000.0, 1000.0, 999.993, 999.978]
    """
    algorithms = {"ADMM": ADMM(eta=eta, rho=rho), "EASGD": EASGD(eta=eta, alpha=eta * rho)}
    centers = [[_center(rule, p, rounds, start) for p in workers] for rule in algorithms.values()]
    radii = [[spectral_radius(rule, RoundRobin(p=p)) for p in workers] for rule in algorithms.values()]
    return xr.Dataset(
        {"center": (("algorithm", "p", "round"), centers), "spectral_radius": (("algorithm", "p"), radii)},
        coords={"algorithm": list(algorithms), "p": list(workers), "round": np.arange(rounds + 1)},
        attrs=attributes("ADMM, EASGD", "RoundRobin", eta=eta, rho=rho, alpha=eta * rho, h=1.0, start=start),
    )


def _center(rule: Algorithm, p: int, rounds: int, start: float) -> np.ndarray:
    """The center after each of the rounds; shape (rounds + 1,)."""
    return simulate(rule, RoundRobin(p=p), Quadratic(h=1.0), rounds=rounds, start=start).center.values[0, :, 0]


def double_well_trap(
    size: int = 30,
    workers: Sequence[int] = (2, 4),
    replicas: int = 400,
    rounds: int = 20_000,
    eta: float = 0.1,
    seed: int = 0,
) -> xr.Dataset:
    r"""How often synchronous EASGD gets trapped on the double well: workers in both minima, the center between them.

    Without noise; every worker and the center start anywhere in (-1, 1), independently. Evenly split, with the center
    on the saddle, the state is stable up to :math:`\rho = 2/3`.

    Parameters
    ----------
    size : int, default 30
        Values of the penalty :math:`\rho = \alpha/\eta`, midpoints in (0, 1).
    workers : sequence of int, default (2, 4)
        Numbers of workers p.
    replicas, rounds : int
        Runs for each penalty, from the same starts, and their length.
    eta : float, default 0.1
        Learning rate.
    seed : int, default 0
        Of the starts.

    Returns
    -------
    xarray.Dataset
        `even` and `uneven` (p, rho): the fractions of the runs that end with as many workers in one minimum as in the
        other, and with more in one of them. The threshold is an attribute of `even`.

    References
    ----------
    Zhang (2016), arXiv:1605.02216, chapter 5.

    Examples
    --------
    >>> from figures import simulated
    >>> simulated.double_well_trap(size=2, workers=(2,), replicas=100, rounds=5000).even.values.tolist()
    [[0.48, 0.0]]
    """
    penalties = (np.arange(size) + 0.5) / size
    even, uneven = [], []
    for p in workers:
        start = np.random.default_rng(seed).uniform(-1, 1, (replicas, p + 1, 1))
        centers, apart = zip(*(_ends(eta, rho, p, rounds, start) for rho in penalties), strict=True)
        between = np.array(apart) & (np.abs(centers) < 1 / (2 * p))  # unevenly split, it is at about 2/p or further
        even.append(between.mean(axis=1))
        uneven.append((np.array(apart) & ~between).mean(axis=1))
    return xr.Dataset(
        {"even": (("p", "rho"), even, {"threshold": 2 / 3}), "uneven": (("p", "rho"), uneven)},
        coords={"p": list(workers), "rho": penalties},
        attrs=attributes("EASGD", "Synchronous", eta=eta, tau=1, rounds=rounds, replicas=replicas, seed=seed),
    )


def _ends(eta: float, rho: float, p: int, rounds: int, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the centers are after the rounds, and whether the workers are still apart."""
    rule, record = EASGD(eta=eta, alpha=eta * rho), Record(spread=True)
    replicas = len(start)
    last = simulate(
        rule, Synchronous(p=p), DoubleWell(), rounds=rounds, replicas=replicas, start=start, record=record
    ).isel(round=-1)
    return last.center.values[:, 0], last.spread.values > _APART


def center_variance(
    workers: Sequence[int] = WORKERS,
    replicas: int = 10_000,
    eta: float = 0.05,
    beta: float = 0.9,
    seed: int = 0,
) -> xr.Dataset:
    r"""Stationary variance of the center under gradient noise against p: simulated, and from the Lyapunov equation.

    EASGD with :math:`\alpha = \beta/p`, synchronous and round-robin, and DOWNPOUR, round-robin; h = 1, noise 1.

    Parameters
    ----------
    workers : sequence of int
        Numbers of workers p.
    replicas : int, default 10000
        Independent runs of each, until less than a thousandth of the start is left.
    eta, beta : float
        Learning rate and the moving rate of the center.
    seed : int, default 0
        Of the noise.

    Returns
    -------
    xarray.Dataset
        `theory`, `simulated` and its standard `error` (scheme, p), nan where a round does not contract.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651: Lemma 7.1, Corollary 7.1.

    Examples
    --------
    >>> from figures import simulated
    >>> one = simulated.center_variance(workers=(2,), replicas=1000).sel(scheme="EASGD, synchronous", p=2)
    >>> bool(abs(one.simulated - one.theory) < 4 * one.error)
    True
    """
    schemes = {
        "EASGD, synchronous": lambda p: (EASGD(eta=eta, alpha=beta / p), Synchronous(p=p)),
        "EASGD, round-robin": lambda p: (EASGD(eta=eta, alpha=beta / p), RoundRobin(p=p)),
        "DOWNPOUR, round-robin": lambda p: (DOWNPOUR(eta=eta), RoundRobin(p=p)),
    }
    rows = [[_variances(*scheme(p), replicas, seed) for p in workers] for scheme in schemes.values()]
    simulated, theory = np.moveaxis(np.array(rows), 2, 0)
    return xr.Dataset(
        {
            "simulated": (("scheme", "p"), simulated),
            "error": (("scheme", "p"), simulated * math.sqrt(2 / (replicas - 1))),  # of a normal variable's variance
            "theory": (("scheme", "p"), theory),
        },
        coords={"scheme": list(schemes), "p": list(workers)},
        attrs=attributes(
            "EASGD, DOWNPOUR", "Synchronous, RoundRobin", eta=eta, beta=beta, tau=1, h=1.0, sigma=1.0,
            replicas=replicas, seed=seed,
        ),
    )  # fmt: skip


def _variances(rule: Algorithm, schedule: Schedule, replicas: int, seed: int) -> tuple[float, float]:
    """The center's variance, simulated and exact."""
    radius = float(spectral_radius(rule, schedule))
    if radius >= 1:
        return math.nan, math.nan
    rounds = math.ceil(math.log(_FORGOTTEN) / math.log(radius))
    record, noisy = Record(statistics=True), Quadratic(h=1.0, noise=1.0)
    run = simulate(rule, schedule, noisy, rounds=rounds, replicas=replicas, seed=seed, record=record)
    exact = stationary_covariance(rule, schedule)[-1, -1]
    return run.center.sel(statistic="variance").values[-1, 0], exact


def stragglers(
    workers: Sequence[int] = (4, 16, 64),
    periods: Sequence[int] = (1, 10, 64),
    replicas: int = 128,
    seconds: float = 3000.0,
    eta: float = 0.02,
    beta: float = 0.9,
    slowness: float = 10.0,
    seed: int = 0,
) -> xr.Dataset:
    r"""Loss of the center against simulated seconds where a quarter of the workers are slow: EASGD beside DOWNPOUR.

    Asynchronous, each visit atomic. A gradient step takes a lognormal time of mean 1 and shape 0.3, `slowness` times as
    long for a straggler, and a trip to the center 0.1; h = 1, noise 1, :math:`\alpha = \beta/p`.

    Parameters
    ----------
    workers : sequence of int
        Numbers of workers p, multiples of 4.
    periods : sequence of int
        Communication periods :math:`\tau`.
    replicas : int, default 128
        Independent runs of each.
    seconds : float, default 3000
        Simulated, from 0 on.
    eta, beta : float
        Learning rate of both, and the moving rate of EASGD's center.
    slowness : float, default 10
        How much slower a straggler computes.
    seed : int, default 0
        Of noise and times: both algorithms have the same.

    Returns
    -------
    xarray.Dataset
        `loss` (algorithm, p, tau, time), the mean over the replicas; between the ends of two rounds the earlier one's.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651: Section 5, where both train networks.

    Examples
    --------
    >>> from figures import simulated
    >>> end = simulated.stragglers(workers=(16,), periods=(64,), replicas=4).loss.isel(time=-1, p=0, tau=0)
    >>> (end > 1).values.tolist()
    [False, True]
    """
    times = np.geomspace(seconds / 1000, seconds, 121)
    algorithms = {"EASGD": lambda p: EASGD(eta=eta, alpha=beta / p), "DOWNPOUR": lambda p: DOWNPOUR(eta=eta)}

    def loss_of(rule: Algorithm, p: int, tau: int) -> np.ndarray:
        speeds = np.repeat([1.0, 1.0 / slowness], [p - p // 4, p // 4])
        schedule = Asynchronous(
            p=p, tau=tau, compute=Lognormal(1.0, 0.3), communication=Deterministic(0.1), speeds=speeds
        )
        rounds = math.ceil(1.25 * seconds * speeds.mean() / tau) + 3  # some more than the seconds have
        record, noisy = Record(loss=True), Quadratic(h=1.0, noise=1.0)
        run = simulate(rule, schedule, noisy, rounds=rounds, replicas=replicas, seed=seed, record=record)
        return np.mean([_held(*pair, times) for pair in zip(run.time.values, run.loss.values, strict=True)], axis=0)

    losses = [[[loss_of(make(p), p, tau) for tau in periods] for p in workers] for make in algorithms.values()]
    return xr.Dataset(
        {"loss": (("algorithm", "p", "tau", "time"), losses)},
        coords={"algorithm": list(algorithms), "p": list(workers), "tau": list(periods), "time": times},
        attrs=attributes(
            "EASGD, DOWNPOUR", "Asynchronous", eta=eta, beta=beta, h=1.0, sigma=1.0, slowness=slowness,
            replicas=replicas, seed=seed,
        ),
    )  # fmt: skip


def _held(ends: np.ndarray, values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The values at some times, each held until the next round ends; a replica that diverged stays where it did so."""
    return values[np.searchsorted(ends, times, side="right") - 1]
