"""The predicted maps, held against a real network's training steps: a small network on scikit-learn's digits."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from easgd_cli.claims.kit import Effort, Finding, Statement, about

if TYPE_CHECKING:
    import xarray as xr

    from gpu_trainer.checks import Check


def _checked(check: Check) -> xr.Dataset:
    """The rows of a check's table."""
    from figures.validated import rows
    from gpu_trainer.checks import validate

    with TemporaryDirectory() as directory:
        return rows(validate(check, Path(directory), processes=1))


def measured_maps(effort: Effort) -> Finding:
    """The matrix of one round of the trainer along eigenvectors of the network's Hessian."""
    from gpu_trainer.modes import MapCheck
    from gpu_trainer.site import Site

    found = _checked(MapCheck(site=Site(), workers=(2,)))  # `easgd validate map` has 4 and 8 workers, too
    cases, agree = found.sizes["row"], int(found.agrees.sum())
    error, log_error = float(found.error.max()), float(found.log_radius_error.max())
    return Finding(
        f"{agree} of {cases} measured matrices of a round are the predicted ones: entries to {about(error)} of the "
        f"largest, the logarithm of the radius to {about(log_error)}.",
        {"cases": cases, "agree": agree, "largest_error": error, "largest_log_radius_error": log_error},
        agree == cases,
    )


def local_fates(effort: Effort) -> Finding:
    """Who leaves a stationary point, over a grid of EASGD's parameters."""
    from gpu_trainer.fate import FateCheck, easgd_grid
    from gpu_trainer.site import Site

    found = _checked(FateCheck(site=Site(), grids=(easgd_grid(6, 60),)))  # `easgd validate fate` has finer ones
    outside = ~found.near_edge.values
    agree = found.predicted.values == found.measured.values
    share, left = float(agree[outside].mean()), int(found.measured.values.sum())
    return Finding(
        f"Of {agree.size} runs that start 1e-6 from the point {left} leave it. Away from the predicted edge by more "
        f"than 5% in both parameters {share:.1%} of {int(outside.sum())} do what is predicted.",
        {"runs": agree.size, "left": left, "outside": int(outside.sum()), "agreement": share},
        share >= 0.95 and bool(np.any(found.measured.values)) and not bool(np.all(found.measured.values)),
    )


BEYOND = (
    Statement(
        "N1",
        "A network on the digits: one round",
        "Along an eigenvector of the Hessian at a stationary point, a round of training is the predicted matrix: "
        "EASGD, EAMSGD, ADMM, DOWNPOUR, MDOWNPOUR, Local SGD, DiLoCo, synchronous and round-robin, stable or not.",
        measured_maps,
    ),
    Statement(
        "N2",
        "A network on the digits: many rounds",
        "Synchronous EASGD, p = 4, leaves a stationary point where the spectral radius over the network's curvatures "
        "says so, and nowhere else.",
        local_fates,
    ),
)
