"""Drawing: each function shows a dataset as `figures.data` or `stability_map` makes it, and computes nothing."""

from figures.areas import admm_regions, stability_map, synchronous_error
from figures.curves import easgd_boundaries, largest_rates, limit_regions, trajectories

__all__ = [
    "admm_regions",
    "easgd_boundaries",
    "largest_rates",
    "limit_regions",
    "stability_map",
    "synchronous_error",
    "trajectories",
]
