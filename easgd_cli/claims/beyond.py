"""Results beyond the paper that the pictures and the README lean on; h = 1."""

from __future__ import annotations

import numpy as np

from easgd_cli.claims.kit import ROUNDING, Effort, Finding, Statement, about, middles, near_one
from easgd_theory import (
    DOWNPOUR,
    EAMSGD,
    EASGD,
    MDOWNPOUR,
    DiLoCo,
    RoundRobin,
    Synchronous,
    critical_value,
    iteration_map,
    spectral_radius,
)


def downpour(effort: Effort) -> Finding:
    """DOWNPOUR's largest learning rate against Levin and May's formula."""
    workers = range(2, 17)
    found = np.array([critical_value("eta", DOWNPOUR(), RoundRobin(p=p)) for p in workers])
    formula = 2 * np.sin(np.pi / (2 * (2 * np.array(workers) - 1)))
    error = float(np.abs(found - formula).max())
    return Finding(
        f"Edges bisected from eigenvalues for p = 2 to 16 meet the formula to {about(error)}: {found[0]:.4f} at p = 2, "
        f"{found[6]:.4f} at p = 8, {found[-1]:.4f} at p = 16.",
        {f"largest_eta_p{p}": float(value) for p, value in zip(workers, found, strict=True)} | {"error": error},
        error < 1e-8,
    )


def momentum_downpour(effort: Effort) -> Finding:
    """MDOWNPOUR's largest learning rate at p = 1 and p = 2."""
    numbers: dict[str, float] = {}
    error = 0.0
    for delta in (0.5, 0.9, 0.99):
        one, two = (critical_value("eta", MDOWNPOUR(delta=delta), RoundRobin(p=p)) for p in (1, 2))
        error = max(error, abs(one - 2 * (1 + delta) / delta), abs(two - (1 - delta) / delta))
        numbers |= {f"delta_{delta}_p1": one, f"delta_{delta}_p2": two}
    return Finding(
        f"At δ = 0.9 the limit on ηh falls from {numbers['delta_0.9_p1']:.4f} (p = 1) to "
        f"{numbers['delta_0.9_p2']:.4f} (p = 2); δ = 0.5, 0.9, 0.99 meet both formulas to {about(error)}.",
        numbers | {"error": error},
        error < 1e-8,
    )


def momentum_elastic(effort: Effort) -> Finding:
    """EAMSGD at strong momentum."""
    algorithm = EAMSGD(eta=1.0, alpha=0.5, delta=0.99)
    radii = {p: float(spectral_radius(algorithm, RoundRobin(p=p))) for p in range(1, 9)}
    return Finding(
        f"Radius of a round: {radii[1]:.4f} (p = 1), {radii[2]:.4f} (p = 2), {radii[4]:.4f} (p = 4), {radii[8]:.4f} "
        f"(p = 8), at most {max(radii.values()):.4f} for p = 1 to 8.",
        {f"radius_p{p}": radius for p, radius in radii.items()},
        max(radii.values()) < 1 - ROUNDING,
    )


def outer_momentum(effort: Effort) -> Finding:
    """DiLoCo's largest outer learning rate."""
    error = 0.0
    for mu in (0.0, 0.5, 0.9, 0.99):
        for eta in middles(0, 1, effort.edges):
            for tau in (1, 5):
                kappa = 1 - (1 - eta) ** tau
                limit = critical_value("nu", DiLoCo(eta=eta, mu=mu), Synchronous(p=4, tau=tau))
                error = max(error, abs(limit * kappa - 2 * (1 + mu) / (1 + 2 * mu)))
    at = critical_value("nu", DiLoCo(eta=0.5, mu=0.9), Synchronous(p=4))
    return Finding(
        f"Edges bisected from eigenvalues (p = 4, τ = 1 and 5, μ = 0 to 0.99) meet the formula to {about(error)}; at "
        f"μ = 0.9, η = 0.5, τ = 1 the outer rate ends at ν = {at:.4f}.",
        {"error": float(error), "largest_nu": at},
        bool(error < 1e-8),
    )


def any_order(effort: Effort) -> Finding:
    """Random orders of EASGD's visits: norms of long products inside the region, and the growth just outside."""
    draw = np.random.default_rng(2015)
    p, length, norm, growth = 5, 300, 0.0, np.inf
    for _ in range(effort.samples):
        eta = draw.uniform(0, 2)
        limit = (4 - 2 * eta) / (4 - eta)
        inside = iteration_map(EASGD(eta=eta, alpha=draw.uniform(0, 1) * limit), RoundRobin(p=p), h=1.0).steps
        product = np.eye(p + 1)
        for i in draw.integers(p, size=length):
            product = inside[i] @ product
            norm = max(norm, float(np.linalg.norm(product, 2)))
        outside = iteration_map(EASGD(eta=eta, alpha=1.01 * limit + 0.01), RoundRobin(p=p), h=1.0).steps[0]
        growth = min(growth, float(np.abs(np.linalg.eigvalsh(outside)).max()))
    return Finding(
        f"{effort.samples} random points inside the region, each with a random order of {length} visits of p = {p} "
        f"workers: no product has a norm above {near_one(norm)}. Outside, at α 1% + 0.01 beyond the edge, the order "
        f"that visits one worker only grows by {growth:.5f} a visit or more.",
        {"points": effort.samples, "largest_norm": norm, "smallest_growth_outside": growth},
        norm <= 1 + ROUNDING and growth > 1,
    )


STATEMENTS = (
    Statement(
        "B1",
        "Levin and May (1976), for DOWNPOUR",
        "DOWNPOUR, round-robin, τ = 1, is stable up to ηh = 2 sin(π/(2(2p−1))): it shrinks like 1/p.",
        downpour,
    ),
    Statement(
        "B2",
        "Jury's criterion",
        "MDOWNPOUR as printed: a second worker lowers the limit on ηh from 2(1+δ)/δ to (1−δ)/δ.",
        momentum_downpour,
    ),
    Statement(
        "B3",
        "Theorem on EAMSGD, docs/theorems.md",
        "EAMSGD at δ = 0.99, α = 0.5, ηh = 1 is stable for p = 1 to 8.",
        momentum_elastic,
    ),
    Statement(
        "B4",
        "Jury's criterion",
        "DiLoCo, synchronous, is stable up to νκ = 2(1+μ)/(1+2μ), κ = 1 − (1−ηh)^τ, for every p.",
        outer_momentum,
    ),
    Statement(
        "B5",
        "Norms of symmetric maps",
        "The paper's condition for EASGD is necessary and sufficient for iterates that stay bounded under every "
        "order of visits.",
        any_order,
    ),
)
