"""Spectra of a round: the one place where eigenvalues are computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from easgd_theory.algorithm import Algorithm, as_instance, numeric_values
from easgd_theory.maps import Field, check_schedule, composed, numeric_field, synchronous_blocks
from easgd_theory.schedules import Schedule, Synchronous

TOLERANCE = 1e-9
"""A modulus this close to 1 counts as 1."""

LARGEST_STATE = 2_000
"""Dense eigenvalues serve up to this many variables."""

_CHUNK = 2**22  # floats of one batch of matrices: 32 MiB


def spectral_radius(
    algorithm: Algorithm | type[Algorithm], schedule: Schedule, h: Any = 1.0, *, over_spectrum: bool = False
) -> float | np.ndarray:
    """Largest modulus of an eigenvalue of one round's map: the factor by which a round multiplies the state.

    Parameters
    ----------
    algorithm : Algorithm
        All parameters given; they and `h` broadcast like NumPy arrays.
    schedule : Synchronous or RoundRobin
        With its number of workers p and period tau.
    h : float or array, default 1.0
        Curvature: an eigenvalue of the Hessian, of either sign.
    over_spectrum : bool, default False
        Take the maximum over the last axis of `h`; the parameters broadcast against the other axes.

    Returns
    -------
    float or ndarray
        A float if everything is scalar; inf where a round's map leaves the range of floats or is singular.

    Raises
    ------
    TypeError
        A parameter is missing or no real number.
    ValueError
        A value that is not finite, shapes that do not broadcast, a pair of algorithm and schedule that is not defined.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651, Section 4.

    Examples
    --------
    >>> from easgd_theory import ADMM, EASGD, RoundRobin, spectral_radius
    >>> round(spectral_radius(ADMM(eta=1e-3, rho=2.5), RoundRobin(p=8)), 7)
    1.0022579
    >>> spectral_radius(EASGD(eta=[[0.5], [1.0]], alpha=[0.1, 0.2, 0.3]), RoundRobin(p=4)).shape
    (2, 3)
    """
    return _reduced(algorithm, schedule, h, over_spectrum, np.max, lambda blocks: _radius(_eigenvalues(blocks)))


def is_stable(
    algorithm: Algorithm | type[Algorithm],
    schedule: Schedule,
    h: Any = 1.0,
    *,
    over_spectrum: bool = False,
    strict: bool = False,
) -> bool | np.ndarray:
    """Whether the iterates stay bounded, or with ``strict=True`` whether they converge, from every start.

    Bounded: every eigenvalue has modulus at most 1 (a modulus within 1e-9 of 1 counts as 1), and those of modulus 1 are
    semisimple; where rounding leaves that undecided the answer is False. Convergent: every modulus is below 1.

    Parameters
    ----------
    algorithm, schedule, h, over_spectrum
        As in `spectral_radius`; with ``over_spectrum=True`` all curvatures of the last axis must be stable.
    strict : bool, default False
        Ask for convergence.

    Returns
    -------
    bool or ndarray of bool

    Examples
    --------
    >>> from easgd_theory import EASGD, RoundRobin, is_stable
    >>> is_stable(EASGD(eta=1.0, alpha=2 / 3), RoundRobin(p=3))
    True
    >>> is_stable(EASGD(eta=1.0, alpha=2 / 3), RoundRobin(p=3), strict=True)
    False
    """
    return _reduced(algorithm, schedule, h, over_spectrum, np.all, lambda blocks: _bounded(blocks, strict))


def _reduced(
    algorithm: Algorithm | type[Algorithm],
    schedule: Schedule,
    h: Any,
    over_spectrum: bool,
    reduce: Callable[..., np.ndarray],
    measure: Callable[[list[np.ndarray]], np.ndarray],
) -> Any:
    """`measure` of each point's blocks, over the grid that parameters and curvature span."""
    rule = as_instance(algorithm)
    check_schedule(rule, schedule)
    if over_spectrum:
        if np.ndim(h) == 0:
            raise ValueError(f"h must have a last axis to take the spectrum from, got the scalar {h!r}")
        values, curvature = numeric_values(rule, np.asarray(h)[..., :1])  # checks shapes
        values = {name: array[..., None] for name, array in values.items()}
        curvature = numeric_values(rule, 1.0)[1] * 0 + np.asarray(h, dtype=float)
    else:
        values, curvature = numeric_values(rule, h)
    *parameters, curvature = np.broadcast_arrays(*values.values(), curvature)
    points = curvature.size
    step = max(1, _CHUNK // _state_size(rule, schedule) ** 2)
    parts = []
    for start in range(0, max(points, 1), step):
        chunk = slice(start, start + step)
        arrays = {name: array.ravel()[chunk] for name, array in zip(values, parameters, strict=True)}
        field = numeric_field(rule, arrays, curvature.ravel()[chunk])
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            blocks = _blocks(rule, schedule, field)
        parts.append(measure(blocks))
    result = np.concatenate(parts).reshape(curvature.shape)
    if over_spectrum:
        result = reduce(result, axis=-1)
    return result if result.ndim else result.item()


def _is_small(schedule: Schedule) -> bool:
    return isinstance(schedule, Synchronous) or schedule.workers() == 1


def _state_size(rule: Algorithm, schedule: Schedule) -> int:
    p = 1 if _is_small(schedule) else schedule.workers()
    size = p * len(rule.worker) + len(rule.center)
    if size > LARGEST_STATE:
        raise ValueError(f"p={p} gives {size} variables, dense eigenvalues are computed up to {LARGEST_STATE}")
    return size


def _blocks(rule: Algorithm, schedule: Schedule, field: Field) -> list[np.ndarray]:
    """Matrices whose spectra together are the round's; each of shape (points, n, n)."""
    if _is_small(schedule):
        return synchronous_blocks(type(rule), schedule.tau, field, schedule.workers())
    return [composed(type(rule), schedule, field)]


def _eigenvalues(blocks: list[np.ndarray]) -> list[np.ndarray]:
    """Eigenvalues of each block; inf where a round's map left the range of floats."""
    result = []
    for block in blocks:
        finite = np.isfinite(block).all(axis=(-2, -1))
        values = np.full(block.shape[:-1], np.inf, dtype=complex)
        values[finite] = np.linalg.eigvals(block[finite])
        result.append(values)
    return result


def _radius(eigenvalues: list[np.ndarray]) -> np.ndarray:
    return np.max([np.abs(values).max(axis=-1) for values in eigenvalues], axis=0)


def _bounded(blocks: list[np.ndarray], strict: bool) -> np.ndarray:
    eigenvalues = _eigenvalues(blocks)
    radius = _radius(eigenvalues)
    if strict:
        return radius < 1 - TOLERANCE
    stable = radius <= 1 + TOLERANCE
    for point in np.flatnonzero(stable & (radius >= 1 - TOLERANCE)):
        pairs = zip(blocks, eigenvalues, strict=True)
        stable[point] = all(_is_semisimple(block[point], values[point]) for block, values in pairs)
    return stable


def _is_semisimple(matrix: np.ndarray, eigenvalues: np.ndarray) -> bool:
    """Whether each eigenvalue of modulus 1 has as many eigenvectors as its multiplicity."""
    rest = eigenvalues[np.abs(eigenvalues) >= 1 - TOLERANCE]
    scale = max(1.0, float(np.linalg.norm(matrix, 2)))
    while rest.size:
        near = np.abs(rest - rest[0]) < 1e-6
        if near.sum() > 1:
            singular = np.linalg.svd(matrix - rest[near].mean() * np.eye(len(matrix)), compute_uv=False)
            if np.count_nonzero(singular < TOLERANCE * scale) < near.sum():
                return False
        rest = rest[~near]
    return True
