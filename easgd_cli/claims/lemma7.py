"""Lemma 7.1 and Corollary 7.1 of the paper's supplement: synchronous EASGD with additive gradient noise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from easgd_cli.claims.kit import ROUNDING, Effort, Finding, Statement, about, middles
from easgd_theory import EASGD, Synchronous, moments, spectral_radius, stationary_covariance
from easgd_theory.noise import easgd_center_moments

ROUNDS = 30
SIGMA = 10.0
INFINITY = float("inf")


def _configurations(effort: Effort) -> Iterator[tuple[EASGD, Synchronous, float]]:
    """Random stable configurations: the algorithm, the schedule and the curvature."""
    draw = np.random.default_rng(2015)
    for _ in range(effort.samples):
        p, h = int(draw.integers(1, 9)), float(draw.uniform(0.2, 3.0))
        eta = float(draw.uniform(0.02, 1.98)) / h
        limit = 2 * (2 - eta * h) / (2 + p * (2 - eta * h))
        yield EASGD(eta=eta, alpha=float(draw.uniform(0.02, 0.98)) * limit), Synchronous(p=p), h


def mean_of_the_center(effort: Effort) -> Finding:
    """The lemma's mean against repeated multiplication by the round's matrix."""
    difference = 0.0
    for algorithm, schedule, h in _configurations(effort):
        means, _ = moments(algorithm, schedule, ROUNDS, h=h, sigma=SIGMA)
        for t in range(1, ROUNDS + 1):
            mean, _ = easgd_center_moments(algorithm, schedule, t, h=h, sigma=SIGMA)
            difference = max(difference, abs(float(mean) - float(means[t, -1])))
    return Finding(
        f"Formula and the exact mean propagated by the round's matrix differ by at most {about(difference)} (the start "
        f"is 1) over {effort.samples} random stable configurations, p = 1 to 8, t = 1 to {ROUNDS}.",
        {"configurations": effort.samples, "rounds": ROUNDS, "largest_difference": difference},
        difference < 1e-10,
    )


def variance_of_the_center(effort: Effort) -> Finding:
    """The lemma's variance against the propagated covariance, and its limit against a Lyapunov equation."""
    difference = stationary = 0.0
    for algorithm, schedule, h in _configurations(effort):
        _, covariances = moments(algorithm, schedule, ROUNDS, h=h, sigma=SIGMA)
        for t in range(1, ROUNDS + 1):
            _, variance = easgd_center_moments(algorithm, schedule, t, h=h, sigma=SIGMA)
            exact = float(covariances[t, -1, -1])
            difference = max(difference, abs(float(variance) - exact) / max(exact, SIGMA**2 * 1e-6))
        _, variance = easgd_center_moments(algorithm, schedule, INFINITY, h=h, sigma=SIGMA)
        exact = float(stationary_covariance(algorithm, schedule, h=h, sigma=SIGMA)[-1, -1])
        stationary = max(stationary, abs(float(variance) / exact - 1))
    return Finding(
        f"Formula and the exact covariance propagated by the round's matrix differ by at most {about(difference)}, "
        f"relative, over {effort.samples} random stable configurations, p = 1 to 8, t = 1 to {ROUNDS}; for t → ∞ it "
        f"differs from the solution of the Lyapunov equation by {about(stationary)}.",
        {
            "configurations": effort.samples,
            "rounds": ROUNDS,
            "largest_relative_difference": difference,
            "largest_stationary_difference": stationary,
        },
        difference < 1e-8 and stationary < 1e-8,
    )


def condition_of_the_lemma(effort: Effort) -> Finding:
    """The lemma's condition on gamma and phi, its two inequalities, and the radius, on a grid."""
    eta, beta = np.meshgrid(middles(0, 2.5, effort.grid), middles(0, 4.5, effort.grid), indexing="ij")
    points = stable_points = by_roots = by_inequalities = 0
    for p in (1, 2, 3, 4, 8, 100):
        alpha = beta / p
        a, c_squared = eta + (p + 1) * alpha, eta * beta
        root = np.sqrt(a**2 - 4 * c_squared)
        gamma, phi = 1 - (a - root) / 2, 1 - (a + root) / 2
        roots = (phi > -1) & (phi < gamma) & (gamma < 1)
        inequalities = ((2 - eta) * (2 - beta) > 2 * alpha) & ((2 - eta) + (2 - beta) > alpha)
        stable = np.asarray(spectral_radius(EASGD(eta=eta, alpha=alpha), Synchronous(p=p))) < 1 - ROUNDING
        points, stable_points = points + stable.size, stable_points + int(stable.sum())
        by_roots += int((stable != roots).sum())
        by_inequalities += int((stable != inequalities).sum())
    return Finding(
        f"At {points:,} points (p = 1 to 100, 0 < η < 2.5, 0 < β < 4.5), of which {stable_points:,} are stable, the "
        f"radius of the whole map is below 1 just where −1 < φ < γ < 1 ({by_roots} exceptions), and just where the two "
        f"inequalities hold ({by_inequalities} exceptions).",
        {
            "points": points,
            "stable_points": stable_points,
            "exceptions_gamma_phi": by_roots,
            "exceptions_inequalities": by_inequalities,
        },
        by_roots == 0 and by_inequalities == 0,
    )


def _scaled_variance(eta: float, beta: float, p: int, t: float) -> float:
    """P times the variance of the center after t rounds, by Lemma 7.1, at h = sigma = 1."""
    _, variance = easgd_center_moments(EASGD(eta=eta, alpha=beta / p), Synchronous(p=p), t)
    return p * float(variance)


def limit_of_the_variance(effort: Effort) -> Finding:
    """Corollary 7.1 as the limit of Lemma 7.1 at growing t and p; the error in 1/p is extrapolated away."""
    workers, rounds = (1_000, 10_000, 100_000, 1_000_000), (10, 100, 1_000, 10_000)
    in_p, in_t, extrapolated = np.zeros(len(workers)), np.zeros(len(rounds)), 0.0
    for eta in middles(0, 2, effort.edges):
        for beta in middles(0, 2, effort.edges):
            sum_ = eta + beta - eta * beta
            limit = beta * eta / ((2 - beta) * (2 - eta)) * (2 - sum_) / sum_
            at_p = np.array([_scaled_variance(eta, beta, p, INFINITY) for p in workers]) / limit
            at_t = np.array([_scaled_variance(eta, beta, workers[-1], t) for t in rounds]) / limit
            in_p, in_t = np.maximum(in_p, abs(at_p - 1)), np.maximum(in_t, abs(at_t - at_p[-1]))
            extrapolated = max(extrapolated, float(abs((10 * at_p[-1] - at_p[-2]) / 9 - 1)))
    shown_p = ", ".join(f"{about(error)} (p = {p:,})" for p, error in zip(workers, in_p, strict=True))
    shown_t = ", ".join(f"{about(error)} (t = {t:,})" for t, error in zip(rounds, in_t, strict=True))
    return Finding(
        f"Over η, β in (0, 2), p·V at t = ∞ by Lemma 7.1 differs from the formula, relative, by at most {shown_p}; "
        f"extrapolated to p = ∞, by {about(extrapolated)}. At p = {workers[-1]:,}, t rounds differ from t = ∞ by at "
        f"most {shown_t}.",
        {f"difference_p{p}": float(error) for p, error in zip(workers, in_p, strict=True)}
        | {f"difference_t{t}": float(error) for t, error in zip(rounds, in_t, strict=True)}
        | {"extrapolated_difference": extrapolated},
        bool(extrapolated < 1e-6 and in_t[-1] < 1e-9 and in_p[-1] < 2 * in_p[-2] / 10),
    )


STATEMENTS = (
    Statement(
        "7.1a",
        "Supplement, Lemma 7.1, the mean",
        "E x̃ₜ − x* = γᵗ(x̃₀ − x*) + (γᵗ − φᵗ)/(γ − φ)·α·u₀.",
        mean_of_the_center,
    ),
    Statement(
        "7.1b",
        "Supplement, Lemma 7.1, the variance",
        "V x̃ₜ = p²α²η²/(γ−φ)² · [(γ²−γ²ᵗ)/(1−γ²) + (φ²−φ²ᵗ)/(1−φ²) − 2(γφ−(γφ)ᵗ)/(1−γφ)] · σ²/p.",
        variance_of_the_center,
    ),
    Statement(
        "7.1c",
        "Supplement, Lemma 7.1, the condition",
        "The center converges in mean and variance if −1 < φ < γ < 1, that is (2−ηh)(2−β) > 2β/p and "
        "(2−ηh) + (2−β) > β/p.",
        condition_of_the_lemma,
    ),
    Statement(
        "7.2",
        "Supplement, Corollary 7.1",
        "As p → ∞ and t → ∞, p·V x̃ₜ → βηh/((2−β)(2−ηh)) · (2−β−ηh+βηh)/(β+ηh−βηh) · σ²/h².",
        limit_of_the_variance,
    ),
)
