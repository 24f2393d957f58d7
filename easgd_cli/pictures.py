"""The figures of the report: what is computed, how it is drawn, what one sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import data, draw

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
        drawn = self.paint(dataset)
        figure = drawn.figure if isinstance(drawn, Axes) else drawn
        assert isinstance(figure, Figure)  # no subfigure: each drawing makes its own
        return figure


def _admm_regions(quick: bool) -> xr.Dataset:
    return data.admm_regions(size=64 if quick else 256)


def _trajectories(quick: bool) -> xr.Dataset:
    return data.trajectories()


def _easgd_boundaries(quick: bool) -> xr.Dataset:
    return data.easgd_boundaries(size=9) if quick else data.easgd_boundaries()


def _largest_rates(quick: bool) -> xr.Dataset:
    return data.largest_rates(workers=(1, 2, 3, 4, 6, 8)) if quick else data.largest_rates()


def _limit_regions(quick: bool) -> xr.Dataset:
    return data.limit_regions(size=12, workers=(1, 2, 3, 8)) if quick else data.limit_regions()


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
        "The center of ADMM in that example, beside EASGD with α = ηρ from the same start. The map is linear: ADMM's "
        "“chaotic” behavior is an oscillation that grows.",
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
)
