"""Stable sets: all intervals along one parameter, critical values, and maps over grids."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from easgd_theory.algorithm import Algorithm, as_instance, as_real
from easgd_theory.schedules import Schedule
from easgd_theory.spectrum import TOLERANCE, round_growth

if TYPE_CHECKING:
    import xarray as xr

    LogGrowth = Callable[[np.ndarray], np.ndarray]

_DECADES = 12
_PER_DECADE = 40
_ROUNDING = 1e-12  # growth of the logarithm that rounding alone may show


def stable_intervals(
    name: str, algorithm: Algorithm | type[Algorithm], schedule: Schedule, h: Any = 1.0, *, over_spectrum: bool = False
) -> list[tuple[float, float]]:
    r"""All intervals of positive values of one parameter in which the spectral radius is at most 1.

    A stable set need not be one interval, and need not touch 0. The radius is sampled geometrically over
    :math:`10^{\pm 12}` (40 values a decade); every local extremum of the samples is then resolved, so that an interval
    between two samples shows, and every edge is bisected to rounding.

    Parameters
    ----------
    name : str
        The parameter (``"h"`` too) that varies; the others are scalars.
    algorithm, schedule, h, over_spectrum
        As in `spectral_radius`. The value that `algorithm` has for `name` is not used.

    Returns
    -------
    list of (float, float)
        In ascending order; 0.0 and inf where the set is not bounded by an edge.

    Raises
    ------
    ValueError, TypeError
        A name that is no parameter, another parameter missing or not scalar.

    Examples
    --------
    >>> from easgd_theory import DOWNPOUR, RoundRobin, stable_intervals
    >>> [(round(a, 4), round(b, 4)) for a, b in stable_intervals("eta", DOWNPOUR(), RoundRobin(p=8, tau=2))]
    [(0.0, 0.1107), (1.8893, 2.0)]
    """
    growth = _log_growth(name, as_instance(algorithm), schedule, h, over_spectrum)
    samples = np.geomspace(10.0**-_DECADES, 10.0**_DECADES, 2 * _DECADES * _PER_DECADE + 1)
    values = growth(samples)
    for sign in (1.0, -1.0):  # a stable dip between unstable samples, an unstable hump between stable ones
        found = _extrema(samples, values, growth, sign)
        samples, order = np.unique(np.concatenate([samples, found]), return_index=True)
        values = np.concatenate([values, growth(found)])[order]
    return _intervals(samples, _stable(values), growth)


def critical_value(
    name: str, algorithm: Algorithm | type[Algorithm], schedule: Schedule, h: Any = 1.0, *, over_spectrum: bool = False
) -> float:
    """Right end of the stable interval that touches 0 from above: how large `name` may grow.

    Parameters
    ----------
    name, algorithm, schedule, h, over_spectrum
        As in `stable_intervals`.

    Returns
    -------
    float
        nan if small positive values are unstable, inf if there is no upper end.

    Examples
    --------
    >>> from easgd_theory import EASGD, RoundRobin, critical_value
    >>> round(critical_value("alpha", EASGD(eta=1.0), RoundRobin(p=5)), 9)
    0.666666667
    """
    intervals = stable_intervals(name, algorithm, schedule, h, over_spectrum=over_spectrum)
    return intervals[0][1] if intervals and intervals[0][0] == 0 else float("nan")


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
    values = {name: getattr(rule, name) for name in rule.parameters()} | {"h": h}
    axes = {name: as_real(name, value) for name, value in values.items() if np.ndim(value)}
    if not axes:
        raise ValueError("no parameter spans the grid: give at least one as a 1-D array")
    for name, axis in axes.items():
        if axis.ndim != 1 or axis.size == 0:
            raise ValueError(f"{name} must be a non-empty 1-D array or a scalar, got shape {axis.shape}")
    spread = dict(zip(axes, np.meshgrid(*axes.values(), indexing="ij", sparse=True), strict=True))
    curvature = spread.pop("h", h)
    radius, certified, _ = round_growth(replace(rule, **spread), schedule, curvature)  # type: ignore[type-var]
    grid = xr.Dataset(
        {
            "spectral_radius": (tuple(axes), radius),
            "stable": (tuple(axes), certified & (radius <= 1 + TOLERANCE)),
            "certified": (tuple(axes), certified),
        },
        coords=axes,
        attrs=_attributes(rule, schedule, {name: value for name, value in values.items() if name not in axes}),
    )
    grid["spectral_radius"].attrs["long_name"] = "spectral radius of one round"
    return grid


def _attributes(rule: Algorithm, schedule: Schedule, scalars: dict[str, Any]) -> dict[str, Any]:
    from importlib.metadata import version

    options = {name: int(getattr(rule, name)) for name in rule.options()}
    return {
        "algorithm": type(rule).__name__,
        "schedule": type(schedule).__name__,
        "p": schedule.workers(),
        "tau": schedule.tau,
        **{name: float(value) for name, value in scalars.items()},
        **options,
        "easgd_version": version("easgd"),
    }


def _log_growth(name: str, rule: Algorithm, schedule: Schedule, h: Any, over_spectrum: bool) -> LogGrowth:
    """The logarithm of the radius as a function of a 1-D array of values of the parameter `name`."""
    names = (*rule.parameters(), "h")
    if name not in names:
        raise ValueError(f"{type(rule).__name__} has no parameter {name!r}; it takes {', '.join(names)}")
    for other in rule.parameters():
        if other != name and np.ndim(getattr(rule, other)):
            raise ValueError(f"{other} must be a scalar while {name} varies")
    if np.ndim(h) > (1 if over_spectrum else 0) and name != "h":
        raise ValueError(f"h must be a scalar, or a 1-D spectrum with over_spectrum=True, while {name} varies")

    def growth(values: np.ndarray) -> np.ndarray:
        if name == "h":
            radius, certified, _ = round_growth(rule, schedule, values, ask_sign=True)
        else:
            varied = replace(rule, **{name: values})  # type: ignore[type-var]
            radius, certified, _ = round_growth(varied, schedule, h, over_spectrum, ask_sign=True)
        # What is not certified is a lower bound: enough to call it unstable, never to call it stable.
        undecided = np.count_nonzero(~certified & ~(radius > 1 + TOLERANCE))
        if undecided:
            warnings.warn(
                f"{undecided} of {certified.size} values of {name} could not be certified, and count as unstable",
                RuntimeWarning,
                stacklevel=4,
            )
        radius = np.where(certified, radius, np.fmax(radius, 1 + TOLERANCE))
        if over_spectrum and name != "h":
            radius = radius.max(axis=-1)
        return np.log(np.maximum(radius, 1e-300))

    return growth


def _extrema(samples: np.ndarray, values: np.ndarray, growth: LogGrowth, sign: float) -> np.ndarray:
    """Where growth has a local minimum (sign 1) in an unstable stretch, or a maximum (-1) in a stable one."""
    v = sign * values
    peak = np.zeros(v.shape, dtype=bool)
    peak[1:-1] = (v[1:-1] <= v[:-2]) & (v[1:-1] <= v[2:]) & (sign * (values[1:-1] - _ROUNDING) > 0)
    index = np.flatnonzero(peak)
    low, high = samples[index - 1], samples[index + 1]
    fraction = np.linspace(0, 1, 9)[:, None]
    rows = np.arange(index.size)
    for _ in range(16):  # each time the bracket shrinks fourfold
        points = low + (high - low) * fraction
        best = np.argmin(sign * growth(points.ravel()).reshape(points.shape), axis=0)
        low, high = points[np.maximum(best - 1, 0), rows], points[np.minimum(best + 1, 8), rows]
    return (low + high) / 2


def _stable(values: np.ndarray) -> np.ndarray:
    """Which growth rates count as not positive, rounding set aside.

    Towards 0 every growth rate fades into rounding. Where it does so as a power, steadily from a value that is beyond
    doubt, its sign is kept: slow growth at small values is growth.
    """
    stable = values <= _ROUNDING
    first = int(np.argmin(stable))
    steps = 0
    for k in range(first - 1, -1, -1):
        if not values[k + 1] / 4 <= values[k] <= values[k + 1]:
            break
        stable[k] = False
        steps += 1
    if steps >= 10 and np.all(np.abs(values[: first - steps]) < 1e-14):
        stable[: first - steps] = False
    return stable


def _intervals(samples: np.ndarray, stable: np.ndarray, growth: LogGrowth) -> list[tuple[float, float]]:
    flips = np.flatnonzero(stable[1:] != stable[:-1])
    low, high, left = samples[flips], samples[flips + 1], stable[flips]
    for _ in range(64):
        middle = (low + high) / 2
        same = (growth(middle) <= _ROUNDING) == left
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    edges = [0.0] * bool(stable[0]) + list(map(float, (low + high) / 2)) + [float("inf")] * bool(stable[-1])
    return list(zip(edges[::2], edges[1::2], strict=True))
