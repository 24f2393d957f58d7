"""Claims that only a simulation can check: noise as it is drawn, and what is not quadratic."""

from __future__ import annotations

import math

import numpy as np

from easgd_cli.claims.kit import Effort, Finding, Statement, about
from easgd_theory import EASGD, Synchronous, spectral_radius
from easgd_theory.noise import easgd_center_moments
from figures.simulated import stragglers
from simulations import DoubleWell, Quadratic, Record, simulate

_START = 0.5  # the loss on h = 1 where every x starts at 1
_STANDARD_ERRORS = 4.5
"""Monte Carlo may be off by this much: with a dozen comparisons, once in ten thousand seeds."""


def variance_in_simulation(effort: Effort) -> Finding:
    """The center's stationary variance in simulated runs, against the lemma's at t = infinity."""
    numbers: dict[str, float] = {}
    largest = 0.0
    for p in (1, 2, 4, 8, 16):
        rule, schedule = EASGD(eta=0.1, alpha=0.8 / p), Synchronous(p=p)
        rounds = math.ceil(math.log(1e-3) / math.log(spectral_radius(rule, schedule)))
        record, noisy = Record(statistics=True), Quadratic(h=1.0, noise=1.0)
        run = simulate(rule, schedule, noisy, rounds=rounds, replicas=effort.replicas, seed=2015, record=record)
        found = float(run.center.sel(statistic="variance")[-1, 0])
        _, exact = easgd_center_moments(rule, schedule, float("inf"))
        numbers |= {f"simulated_p{p}": found, f"lemma_p{p}": float(exact)}
        largest = max(largest, abs(found / float(exact) - 1))
    error = math.sqrt(2 / (effort.replicas - 1))
    by_workers = [value for name, value in numbers.items() if name.startswith("simulated")]
    shown = ", ".join(
        f"{numbers[f'simulated_p{p}']:.5f} against {numbers[f'lemma_p{p}']:.5f} (p = {p})" for p in (1, 8)
    )
    return Finding(
        f"{effort.replicas:,} simulated runs at η = 0.1, β = 0.8, σ = 1, h = 1: variance {shown}; over p = 1 to 16 the "
        f"largest difference is {largest:.1%}, {largest / error:.1f} standard errors.",
        numbers | {"largest_relative_difference": largest, "standard_error": error},
        largest < _STANDARD_ERRORS * error and by_workers == sorted(by_workers, reverse=True),
    )


def _share_that_stays(p: int, rho: float) -> float:
    """Of runs that start next to the even split of the double well, the share that is there at the end."""
    eta, replicas, rounds = 0.1, 32, 40_000
    away = np.random.default_rng(p).normal(size=(replicas, p + 1, 1))
    split = np.append(np.tile([1.0, -1.0], p // 2) * math.sqrt(1 - rho), 0.0)[:, None]
    start = split + 1e-3 * away / np.abs(away).max()
    rule = EASGD(eta=eta, alpha=eta * rho)
    run = simulate(rule, Synchronous(p=p), DoubleWell(), rounds=rounds, replicas=replicas, start=start)
    return float((run.center[:, -1, 0] ** 2 < 0.25).mean())  # else it is in a well, at -1 or 1


def trap_of_the_double_well(effort: Effort) -> Finding:
    """Which penalties hold the even split of the double well, on both sides of the threshold."""
    below, above = 2 / 3 - 0.003, 2 / 3 + 0.003
    numbers: dict[str, float] = {}
    for p in (2, 4, 8):
        numbers |= {f"stay_below_p{p}": _share_that_stays(p, below), f"stay_above_p{p}": _share_that_stays(p, above)}
    shown = ", ".join(
        f"{numbers[f'stay_below_p{p}']:.0%} and {numbers[f'stay_above_p{p}']:.0%} (p = {p})" for p in (2, 4, 8)
    )
    return Finding(
        f"Simulated runs that start within 0.001 of the split state, at ρ = {below:.4f} and {above:.4f}: there stay "
        f"{shown}; the others end in one well.",
        numbers,
        all(share == (1.0 if "below" in name else 0.0) for name, share in numbers.items()),
    )


def downpour_is_unstable_at_large_periods(effort: Effort) -> Finding:
    """EASGD and DOWNPOUR with stragglers, after 3,000 simulated seconds, from the loss 0.5."""
    end = stragglers(replicas=max(4, effort.replicas // 1000)).loss.isel(time=-1)
    easgd, downpour = end.sel(algorithm="EASGD"), end.sel(algorithm="DOWNPOUR")
    numbers = {"largest_loss_easgd": float(easgd.max())} | {
        f"loss_downpour_p{p}_tau{tau}": float(downpour.sel(p=p, tau=tau))
        for p in end.p.values
        for tau in end.tau.values
    }
    unstable = [
        f"τ = {tau}: p = {', '.join(map(str, end.p.values[downpour.sel(tau=tau) > _START]))}"
        for tau in end.tau.values
        if (downpour.sel(tau=tau) > _START).any()
    ]
    return Finding(
        f"Nine simulations of each, p = 4, 16, 64, τ = 1, 10, 64, η = 0.02, a quarter of the workers ten times slower: "
        f"from the loss {_START:g}, EASGD's falls to {about(numbers['largest_loss_easgd'])} or less in all; DOWNPOUR "
        f"diverges at {'; '.join(unstable)}, and elsewhere its loss ends above EASGD's.",
        numbers,
        bool((easgd < _START / 100).all() and (downpour > easgd).all())
        and bool((downpour.sel(tau=1) < _START).all() and (downpour.sel(tau=64) > _START).all()),
    )


PAPER = (
    Statement(
        "7.1d",
        "Supplement, Lemma 7.1, simulated",
        "With gradient noise the center fluctuates with the lemma's variance, which falls with the number of workers.",
        variance_in_simulation,
    ),
)

BEYOND = (
    Statement(
        "B6",
        "Zhang's thesis (2016), chapter 5: the double well",
        "EASGD on (1−x²)²/4 with its workers split evenly between the minima, x = ±√(1−ρ), x̃ = 0, is trapped there if "
        "and only if 0 < ρ < 2/3.",
        trap_of_the_double_well,
    ),
    Statement(
        "B7",
        "Section 5 of the paper, of networks; here a noisy quadratic",
        "Asynchronous DOWNPOUR is good at τ = 1 and highly unstable at large τ; EASGD hardly depends on τ.",
        downpour_is_unstable_at_large_periods,
    ),
)
