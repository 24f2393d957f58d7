"""The figures of the report: what is computed, how it is drawn, what one sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import data, draw, simulated
from figures.style import figure_of

Draw = Callable[[xr.Dataset], Figure | Axes]


@dataclass(frozen=True)
class Picture:
    """A figure of the report.

    Attributes
    ----------
    name : str
        Stem of its files.
    place : str
        The paper's figure or the claims that it shows.
    caption : str
        What is drawn and what one sees.
    compute : callable
        The data, coarser if its argument `quick` is true.
    paint : callable
        The drawing.
    """

    name: str
    place: str
    caption: str
    compute: Callable[[bool], xr.Dataset]
    paint: Draw

    def draw(self, dataset: xr.Dataset) -> Figure:
        """The figure of `dataset`."""
        return figure_of(self.paint(dataset))


def _admm_regions(quick: bool) -> xr.Dataset:
    return data.admm_regions(size=64 if quick else 256)


def _trajectories(quick: bool) -> xr.Dataset:
    return simulated.trajectories()


def _easgd_boundaries(quick: bool) -> xr.Dataset:
    return data.easgd_boundaries(size=9) if quick else data.easgd_boundaries()


def _largest_rates(quick: bool) -> xr.Dataset:
    return data.largest_rates(workers=(1, 2, 3, 4, 6, 8)) if quick else data.largest_rates()


def _limit_regions(quick: bool) -> xr.Dataset:
    return data.limit_regions(size=12, workers=(1, 2, 3, 8)) if quick else data.limit_regions()


def _center_variance(quick: bool) -> xr.Dataset:
    if quick:
        return simulated.center_variance(workers=(1, 2, 4, 8, 16, 32), replicas=4000)
    return simulated.center_variance()


def _stragglers(quick: bool) -> xr.Dataset:
    return simulated.stragglers(replicas=8) if quick else simulated.stragglers()


def _double_well_trap(quick: bool) -> xr.Dataset:
    return simulated.double_well_trap(size=15, replicas=50) if quick else simulated.double_well_trap()


def _synchronous_error(quick: bool) -> xr.Dataset:
    return data.synchronous_error(size=32 if quick else 128)


PICTURES = (
    Picture(
        "admm_regions",
        "the paper's Figure 1; claims 4.1 to 4.3",
        "ADMM, round-robin: the largest modulus of an eigenvalue of one round over the penalty ρ and the learning rate "
        "η. Below the line, at small η, a round grows. The star is the example of claim 4.3.",
        _admm_regions,
        draw.admm_regions,
    ),
    Picture(
        "trajectories",
        "claim 4.3",
        "The center of ADMM in that example, simulated, beside EASGD with α = ηρ from the same start. The map is "
        "linear: ADMM's “chaotic” behavior is an oscillation that grows.",
        _trajectories,
        draw.trajectories,
    ),
    Picture(
        "easgd_boundaries",
        "claims 4.5 to 4.7",
        "EASGD, round-robin: the paper's condition, and the edge found from the eigenvalues of a round. Odd p meet the "
        "condition, even p lie slightly above it.",
        _easgd_boundaries,
        draw.easgd_boundaries,
    ),
    Picture(
        "largest_rates",
        "beyond the paper, B1",
        "How far the learning rate may go as workers are added. Round-robin and at a fixed α, elastic averaging does "
        "not notice p; DOWNPOUR's limit shrinks like 1/p; ADMM has a lower limit from p = 3 on.",
        _largest_rates,
        draw.largest_rates,
    ),
    Picture(
        "limit_regions",
        "beyond the paper: infinitely many workers",
        "How the round-robin regions move as workers are added, up to the limit. EASGD's hardly moves; EAMSGD's is "
        "close to its limit from p = 4 on, while p = 1 misleads where τ > 1; ADMM diverges in a region that grows, but "
        "to a limit; DOWNPOUR's stable region shrinks to nothing.",
        _limit_regions,
        draw.limit_regions,
    ),
    Picture(
        "synchronous_error",
        "the paper's Figure 5; claims 7.1 and 7.2",
        "Synchronous EASGD with noisy gradients: mean squared error of the center over η and β = pα, for p workers "
        "(down) and after t rounds (across). The line bounds the stable region.",
        _synchronous_error,
        draw.synchronous_error,
    ),
    Picture(
        "center_variance",
        "claim 7.1d; the spread of the center once the start is forgotten",
        "The stationary variance of the center with gradient noise, against p. EASGD at a fixed β = pα averages the "
        "noise of p workers, in both schemes; DOWNPOUR in the round-robin scheme gets noisier with each worker, until "
        "it diverges.",
        _center_variance,
        draw.center_variance,
    ),
    Picture(
        "stragglers",
        "the paper's Section 5, on a noisy quadratic; result B7",
        "EASGD and DOWNPOUR with the same learning rate and the same noise, asynchronous, a quarter of the workers ten "
        "times slower: mean loss of the center against simulated seconds. DOWNPOUR's center takes the steps of all its "
        "workers: it is fast at first, ends higher, and diverges where τ is large. EASGD's settles at all nine, the "
        "lower the more workers there are.",
        _stragglers,
        draw.stragglers,
    ),
    Picture(
        "double_well_trap",
        "beyond the paper: not convex; result B6",
        "Synchronous EASGD on the double well (1−x²)²/4, started anywhere: how often workers stay in both minima, the "
        "center between them. Evenly split this is stable up to ρ = 2/3; with three of four workers in one well, to "
        "about half of that.",
        _double_well_trap,
        draw.double_well_trap,
    ),
)
