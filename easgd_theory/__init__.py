"""Stability and convergence of training with many workers: maps, spectra, conditions, regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from easgd_theory.lazily import exports

if TYPE_CHECKING:
    from easgd_theory.algorithms import (
        ADMM,
        ALGORITHMS,
        DOWNPOUR,
        EAMSGD,
        EASGD,
        MDOWNPOUR,
        MSGD,
        SGD,
        DiLoCo,
        LocalSGD,
        Lookahead,
    )
    from easgd_theory.boundary import stability_boundary
    from easgd_theory.conditions import stability_condition
    from easgd_theory.grids import stability_map
    from easgd_theory.maps import iteration_map
    from easgd_theory.noise import moments, stationary_covariance
    from easgd_theory.regions import critical_value, stable_intervals
    from easgd_theory.schedules import Asynchronous, RandomOrder, RoundRobin, Synchronous
    from easgd_theory.spectrum import is_stable, spectral_radius
    from easgd_theory.times import Deterministic, Exponential, Lognormal, Pareto, Pause

_HOME = {
    "algorithms": "ADMM ALGORITHMS DOWNPOUR DiLoCo EAMSGD EASGD LocalSGD Lookahead MDOWNPOUR MSGD SGD",
    "boundary": "stability_boundary",
    "conditions": "stability_condition",
    "grids": "stability_map",
    "maps": "iteration_map",
    "noise": "moments stationary_covariance",
    "regions": "critical_value stable_intervals",
    "schedules": "Asynchronous RandomOrder RoundRobin Synchronous",
    "spectrum": "is_stable spectral_radius",
    "times": "Deterministic Exponential Lognormal Pareto Pause",
}

__all__ = [
    "ADMM",
    "ALGORITHMS",
    "DOWNPOUR",
    "EAMSGD",
    "EASGD",
    "MDOWNPOUR",
    "MSGD",
    "SGD",
    "Asynchronous",
    "Deterministic",
    "DiLoCo",
    "Exponential",
    "LocalSGD",
    "Lognormal",
    "Lookahead",
    "Pareto",
    "Pause",
    "RandomOrder",
    "RoundRobin",
    "Synchronous",
    "critical_value",
    "is_stable",
    "iteration_map",
    "moments",
    "spectral_radius",
    "stability_boundary",
    "stability_condition",
    "stability_map",
    "stable_intervals",
    "stationary_covariance",
]

__getattr__, __dir__ = exports(__name__, _HOME)
