"""What came out of a simulation: statistics over its replicas, the growth of its center, the curves of its picture."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

from easgd_theory.growth import measured_growth

_MISFIT = 1e-6  # up to here a path has one factor, and what was measured is it
_MOST_POINTS = 2000  # of a curve: the picture shows no more


def over_replicas(result: xr.Dataset) -> xr.Dataset:
    """Mean and variance over the replicas that have not diverged, as ``Record(statistics=True)`` has them."""
    observed = result[[str(name) for name in result.data_vars if "round" in result[name].dims]]
    if "statistic" in observed.dims:
        return observed.where(observed["count"] > 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where none is left there is no mean, and nan says so
        parts = [observed.mean("replica"), observed.var("replica", ddof=1)]
    return xr.concat(parts, xr.Variable("statistic", ["mean", "variance"]))


def growth_of(result: xr.Dataset) -> float | None:
    """The factor by which the mean of the center grows in a round; None where it is not one factor by the end."""
    end = result.diverged.min().item()
    mean = over_replicas(result).center.sel(statistic="mean").transpose("round", ...)
    factors = []
    for path in mean.values[: None if np.isnan(end) else int(end)].T:
        small = np.abs(path) < 1e-200  # the digits of what has nearly vanished are lost
        growth, misfit = measured_growth(path[: np.argmax(small) if small.any() else None, None])
        if not misfit < _MISFIT:
            return None
        factors.append(growth)
    return max(factors)


def curves(result: xr.Dataset) -> xr.Dataset:
    """What `figures.draw.simulation` draws: mean and standard deviation over the replicas, at up to 2,000 rounds.

    Where time is simulated, the mean time at which these rounds end is the coordinate `time`.
    """
    rounds = np.arange(result.sizes["round"])
    some = np.unique(np.linspace(0, rounds[-1], min(len(rounds), _MOST_POINTS)).round().astype(int))
    observed = over_replicas(result.assign_coords(round=rounds).isel(round=some))
    observed = observed[[str(name) for name in observed if "statistic" in observed[name].dims]]
    mean = observed.sel(statistic="mean", drop=True)
    deviation = observed.sel(statistic="variance", drop=True).fillna(0.0) ** 0.5
    kinds = xr.Variable("kind", ["mean", "low", "high"])
    shown = xr.concat([mean, mean - deviation, mean + deviation], kinds)
    if "time" in shown:
        shown = shown.assign_coords(time=mean["time"])
    return shown.assign_attrs(result.attrs)
