"""Stability and convergence of training with many workers: maps, spectra, conditions, regions."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
    from easgd_theory.schedules import RandomOrder, RoundRobin, Synchronous
    from easgd_theory.spectrum import is_stable, spectral_radius

_HOME = {
    "algorithms": "ADMM ALGORITHMS DOWNPOUR DiLoCo EAMSGD EASGD LocalSGD Lookahead MDOWNPOUR MSGD SGD",
    "boundary": "stability_boundary",
    "conditions": "stability_condition",
    "grids": "stability_map",
    "maps": "iteration_map",
    "noise": "moments stationary_covariance",
    "regions": "critical_value stable_intervals",
    "schedules": "RandomOrder RoundRobin Synchronous",
    "spectrum": "is_stable spectral_radius",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = [
    "ADMM",
    "ALGORITHMS",
    "DOWNPOUR",
    "EAMSGD",
    "EASGD",
    "MDOWNPOUR",
    "MSGD",
    "SGD",
    "DiLoCo",
    "LocalSGD",
    "Lookahead",
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


def __getattr__(name: str) -> Any:
    """Import a public name from its module at first use (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
