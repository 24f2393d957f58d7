"""Maps over grids of parameters, in memory or, where the parameters are dask-backed, lazily."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from easgd_theory.algorithm import Algorithm, as_instance, as_real
from easgd_theory.schedules import Schedule
from easgd_theory.spectrum import TOLERANCE, round_growth

if TYPE_CHECKING:
    import xarray as xr

# Dask calls from several threads at once; but a block uses all cores by itself, and memory.
_ONE_AT_A_TIME = Lock()


def stability_map(algorithm: Algorithm | type[Algorithm], schedule: Schedule, h: Any = 1.0) -> xr.Dataset:
    """Spectral radius over the grid that the one-dimensional parameters (and `h`) span.

    Parameters
    ----------
    algorithm : Algorithm
        Parameters that are 1-D arrays become the dimensions, in the order of the record, then `h`; the others are
        scalars.
    schedule : Synchronous or RoundRobin
    h : float or 1-D array, default 1.0
        Curvature.

    Returns
    -------
    xarray.Dataset
        `spectral_radius`, `stable` (radius at most 1 + 1e-9) and `certified`. Where the last is False (see
        `spectral_radius`) the radius is that of the largest eigenvalue found, a lower bound, or nan. Attributes hold
        the algorithm, the schedule, the scalars and the version.

    Raises
    ------
    ValueError
        No parameter, or an empty one, spans the grid.

    Notes
    -----
    Where a parameter (or `h`) is a dask array, or a DataArray of one, the three variables are dask arrays with its
    chunks, and are computed when asked for: by ``.compute()``, by ``.to_zarr()``, on a cluster. The parameters
    themselves are loaded, as every index of xarray is, and checked at once. A process works on one chunk at a time,
    with all its cores; that takes about 40 bytes a point and, for any number of workers, some 100 MiB besides.

    Examples
    --------
    >>> import numpy as np
    >>> from easgd_theory import ADMM, RoundRobin, stability_map
    >>> grid = stability_map(ADMM(eta=np.linspace(0, 0.01, 5), rho=np.linspace(0, 10, 3)), RoundRobin(p=3))
    >>> dict(grid.sizes)
    {'eta': 5, 'rho': 3}
    """
    import xarray as xr

    rule = as_instance(algorithm)
    values = _values(rule, h)
    axes = {name: _axis(name, value) for name, value in values.items() if np.ndim(value)}
    if not axes:
        raise ValueError("no parameter spans the grid: give at least one as a 1-D array")
    growth = partial(_growth, rule, schedule, h, tuple(axes))
    if any(axis.chunks for axis in axes.values()):
        growth(*(axis[:1].to_numpy() for axis in axes.values()))  # what is wrong is said now, not in a worker later
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Increasing number of chunks")  # that is what a grid does
        radius, certified = xr.apply_ufunc(
            growth, *axes.values(), output_core_dims=[(), ()], dask="parallelized", output_dtypes=[float, bool]
        )
    grid = xr.Dataset(
        {"spectral_radius": radius, "stable": certified & (radius <= 1 + TOLERANCE), "certified": certified},
        coords=axes,
        attrs=map_attributes(rule, schedule, h),
    )
    grid["spectral_radius"].attrs["long_name"] = "spectral radius of one round"
    return grid


def map_attributes(rule: Algorithm, schedule: Schedule, h: Any) -> dict[str, Any]:
    """What a map is of, as its attributes say it: algorithm, schedule, what is scalar, version."""
    from importlib.metadata import version

    return {
        "algorithm": type(rule).__name__,
        "schedule": type(schedule).__name__,
        "p": "inf" if schedule.infinite else schedule.workers(),  # strict JSON has no infinity
        "tau": schedule.tau,
        **{name: float(value) for name, value in _values(rule, h).items() if not np.ndim(value)},
        **{name: int(getattr(rule, name)) for name in rule.options()},
        "easgd_version": version("easgd"),
    }


def _values(rule: Algorithm, h: Any) -> dict[str, Any]:
    return {name: getattr(rule, name) for name in rule.parameters()} | {"h": h}


def _axis(name: str, value: Any) -> xr.Variable:
    """One axis in its own dimension, its values loaded, chunked as `value` is."""
    import xarray as xr

    loaded = as_real(name, value)
    if loaded.ndim != 1 or loaded.size == 0:
        raise ValueError(f"{name} must be a non-empty 1-D array or a scalar, got shape {loaded.shape}")
    if isinstance(value, tuple):  # of which xarray would take the first entry for dimensions
        value = loaded
    axis, chunks = xr.Variable(name, loaded), xr.Variable(name, value).chunks
    if chunks is None:
        return axis
    if np.isnan(chunks[0]).any():
        raise ValueError(f"{name} must have chunks of known sizes: call its compute_chunk_sizes() first")
    return axis.chunk(dict(zip(axis.dims, chunks, strict=True)))


def _growth(
    rule: Algorithm, schedule: Schedule, h: Any, names: tuple[str, ...], *columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Radius and certificate over one block of the grid, whose axes broadcast against each other."""
    spread = dict(zip(names, columns, strict=True))
    curvature = spread.pop("h", h)
    with _ONE_AT_A_TIME:
        radius, certified, _ = round_growth(replace(rule, **spread), schedule, curvature)  # type: ignore[type-var]
    return radius, certified
