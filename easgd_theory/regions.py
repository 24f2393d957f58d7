"""Stable sets: all intervals along one parameter, and critical values."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from easgd_theory.algorithm import Algorithm, as_instance
from easgd_theory.line import Line
from easgd_theory.proofs import LogGrowth, resolved
from easgd_theory.schedules import Schedule
from easgd_theory.spectrum import TOLERANCE, round_growth

_DECADES = 12
_PER_DECADE = 40
_ROUNDING = 1e-12  # growth of the logarithm that rounding alone may show


def stable_intervals(
    name: str, algorithm: Algorithm | type[Algorithm], schedule: Schedule, h: Any = 1.0, *, over_spectrum: bool = False
) -> list[tuple[float, float]]:
    r"""All intervals of positive values of one parameter in which the spectral radius is at most 1.

    A stable set need not be one interval, and need not touch 0. Each piece of :math:`10^{\pm 12}` is *proved* stable,
    or unstable, by enclosing the round for a whole interval of the parameter at once (docs/intervals.md); what remains
    are pieces of relative width below 1e-8, and in those an edge is bisected to rounding. So no wider interval is
    missed, unless a warning says where the proof did not succeed. In the limit p = inf, and for a rule in which more
    than two variables of a worker matter, nothing is proved: edges are then those that samples show (40 values a
    decade, and every local extremum of them resolved).

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

    Warns
    -----
    RuntimeWarning
        Where it could not be proved that no edge is left, or a value could not be certified and counts as unstable.

    Examples
    --------
    >>> from easgd_theory import DOWNPOUR, RoundRobin, stable_intervals
    >>> [(round(a, 4), round(b, 4)) for a, b in stable_intervals("eta", DOWNPOUR(), RoundRobin(p=8, tau=2))]
    [(0.0, 0.1107), (1.8893, 2.0)]
    """
    rule = as_instance(algorithm)
    growth = _log_growth(name, rule, schedule, h, over_spectrum)
    samples = _samples()
    values = growth(samples)
    line = Line(name, rule, schedule, h)
    if not line.has_pencil():
        return _from_samples(name, growth, samples, values)
    found = resolved(line, growth, samples, values, _ROUNDING)
    intervals = _intervals(found.samples, found.values <= _ROUNDING, growth)
    if found.uncertified:
        message = f"{found.uncertified} values of {name} could not be certified, and count as unstable"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    if found.unproved:
        low, high = found.unproved[0][0], found.unproved[-1][1]
        message = (
            f"in {len(found.unproved)} pieces between {name} = {low:.9g} and {high:.9g} "
            "no edge was found, nor could it be proved that none is there"
        )
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    return intervals


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


def sampled_intervals(
    name: str, algorithm: Algorithm | type[Algorithm], schedule: Schedule, h: Any = 1.0, *, over_spectrum: bool = False
) -> list[tuple[float, float]]:
    """`stable_intervals` as samples show them: nothing is proved, and up to some 25 variables nothing is compiled.

    Parameters
    ----------
    name, algorithm, schedule, h, over_spectrum
        As in `stable_intervals`.

    Returns
    -------
    list of (float, float)

    Examples
    --------
    >>> from easgd_theory import EASGD, RoundRobin
    >>> [(low, round(high, 6)) for low, high in sampled_intervals("alpha", EASGD(eta=1.0), RoundRobin(p=3))]
    [(0.0, 0.666667)]
    """
    growth = _log_growth(name, as_instance(algorithm), schedule, h, over_spectrum)
    samples = _samples()
    return _from_samples(name, growth, samples, growth(samples))


def values_inside(value: float, intervals: list[tuple[float, float]]) -> list[float]:
    """A value in each interval, 10% from the end that is nearer to `value`; the nearest interval first, by ratio.

    The 10% are of the interval's length, or of its lower end if that is less. Where every positive value is stable
    there is no scale to choose one.
    """
    found = []
    for low, high in sorted(
        intervals, key=lambda ends: max(ends[0] / value, value / ends[1]) if value > 0 else ends[0]
    ):
        step = 0.1 * min(high - low, low or high)
        if math.isfinite(step):
            found.append(low + step if abs(value - low) <= abs(value - high) else high - step)
    return found


def _from_samples(name: str, growth: LogGrowth, samples: np.ndarray, values: np.ndarray) -> list[tuple[float, float]]:
    uncertified = int(np.count_nonzero(np.isnan(values)))
    for sign in (1.0, -1.0):  # a stable dip between unstable samples, an unstable hump between stable ones
        values = np.where(np.isnan(values), TOLERANCE, values)
        found = _extrema(samples, values, growth, sign)
        samples, order = np.unique(np.concatenate([samples, found]), return_index=True)
        values = np.concatenate([values, growth(found)])[order]
    if uncertified:
        message = f"{uncertified} values of {name} could not be certified, and count as unstable"
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    return _intervals(samples, _stable(values), growth)


def _samples() -> np.ndarray:
    return np.geomspace(10.0**-_DECADES, 10.0**_DECADES, 2 * _DECADES * _PER_DECADE + 1)


def _log_growth(name: str, rule: Algorithm, schedule: Schedule, h: Any, over_spectrum: bool) -> LogGrowth:
    """The logarithm of the radius as a function of a 1-D array of values of the parameter `name`; nan if unknown."""
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
        known = certified | (radius > 1 + TOLERANCE)
        if over_spectrum and name != "h":
            radius = np.where(known, radius, 0).max(axis=-1)
            known = known.all(axis=-1) | (radius > 1 + TOLERANCE)
        return np.where(known, np.log(np.maximum(radius, 1e-300)), np.nan)

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
        at = np.nan_to_num(growth(points.ravel()), nan=TOLERANCE).reshape(points.shape)
        best = np.argmin(sign * at, axis=0)
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
    while np.any((low < (middle := (low + high) / 2)) & (middle < high)):
        same = (growth(middle) <= _ROUNDING) == left
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    edges = [0.0] * bool(stable[0]) + list(map(float, (low + high) / 2)) + [float("inf")] * bool(stable[-1])
    return list(zip(edges[::2], edges[1::2], strict=True))
