"""Drawing: each function shows a dataset that was computed or simulated elsewhere, and computes nothing."""

from figures.areas import admm_regions, stability_map, synchronous_error
from figures.curves import easgd_boundaries, largest_rates, limit_regions, trajectories
from figures.runs import center_variance, double_well_trap, simulation, stragglers

__all__ = [
    "admm_regions",
    "center_variance",
    "double_well_trap",
    "easgd_boundaries",
    "largest_rates",
    "limit_regions",
    "simulation",
    "stability_map",
    "stragglers",
    "synchronous_error",
    "trajectories",
]
