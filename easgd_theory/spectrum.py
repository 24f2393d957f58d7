"""Spectra of a round: the one place where eigenvalues are computed.

Synchronous rounds fall into two small blocks for any p. Round-robin rounds are those of a delay pencil (`delay`), whose
cost does not grow with p; where few eigenvalues are asked for, or the pencil's certificate fails, the composed map's
dense eigenvalues serve.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from easgd_theory.algorithm import Algorithm, as_instance, as_real, numeric_values
from easgd_theory.maps import Field, check_schedule, composed, numeric_field, synchronous_blocks
from easgd_theory.schedules import Schedule, Synchronous

TOLERANCE = 1e-9
"""A modulus this close to 1 counts as 1."""

LARGEST_STATE = 2_000
"""Dense eigenvalues serve up to this many variables."""

_LARGEST_MARGINAL = 500  # up to here a double root on the circle is looked at densely, too
_CHUNK = 2**22  # floats of one batch of matrices: 32 MiB
_PENCIL_CHUNK = 2**15  # points whose pencils are held at a time
_LIMIT_CHUNK = 2**13
_DENSE_WORK = 2e7  # points times variables^3 that dense eigenvalues do in a tenth of a second


class Growth(NamedTuple):
    """What is known of a round at each point of a grid."""

    radius: np.ndarray
    certified: np.ndarray
    bounded: np.ndarray


def spectral_radius(
    algorithm: Algorithm | type[Algorithm], schedule: Schedule, h: Any = 1.0, *, over_spectrum: bool = False
) -> float | np.ndarray:
    """Largest modulus of an eigenvalue of one round's map: the factor by which a round multiplies the state.

    Parameters
    ----------
    algorithm : Algorithm
        All parameters given; they and `h` broadcast like NumPy arrays.
    schedule : Synchronous or RoundRobin
        With its number of workers p and period tau. ``RoundRobin(p=inf)`` asks for the limit of the radii as p grows,
        which may be inf.
    h : float or array, default 1.0
        Curvature: an eigenvalue of the Hessian, of either sign.
    over_spectrum : bool, default False
        Take the maximum over the last axis of `h`; the parameters broadcast against the other axes.

    Returns
    -------
    float or ndarray
        A float if everything is scalar. inf where a round's map leaves the range of floats or is singular; nan, with a
        warning, where a value could not be certified (more than 2,000 variables only: few values, but many of EAMSGD's
        below 1e-5, and all of a rule in which more than two variables of a worker matter).

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
    radius, certified, _ = round_growth(algorithm, schedule, h, over_spectrum)
    if over_spectrum:
        radius, certified = np.max(radius, axis=-1), np.asarray(certified.all(axis=-1))
    radius = np.where(certified, radius, np.nan)
    _warn_of_open(certified, "are nan")
    return radius if radius.ndim else radius.item()


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
    semisimple; where rounding leaves that undecided the answer is False, with a warning where it is a radius that could
    not be certified. Convergent: every modulus is below 1.

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
    radius, certified, bounded = round_growth(algorithm, schedule, h, over_spectrum, ask_bounded=not strict)
    stable: np.ndarray = certified & ((radius < 1 - TOLERANCE) if strict else bounded)
    result = np.asarray(stable.all(axis=-1) if over_spectrum else stable)
    _warn_of_open(certified, "count as unstable")
    return result if result.ndim else result.item()


def _warn_of_open(certified: np.ndarray, consequence: str) -> None:
    if not certified.all():
        warnings.warn(
            f"{np.count_nonzero(~certified)} of {certified.size} spectral radii could not be certified and "
            f"{consequence}; up to {LARGEST_STATE} variables dense eigenvalues would serve",
            RuntimeWarning,
            stacklevel=3,
        )


def round_growth(
    algorithm: Algorithm | type[Algorithm],
    schedule: Schedule,
    h: Any = 1.0,
    over_spectrum: bool = False,
    *,
    ask_bounded: bool = False,
    ask_sign: bool = False,
) -> Growth:
    """Radius, certificate and (if asked for) boundedness over the grid that parameters and curvature span.

    With ``over_spectrum=True`` the last axis is that of `h`, not yet reduced. Without a certificate the radius is a
    lower bound; with ``ask_sign=True`` one above 1 is left at that.
    """
    rule = as_instance(algorithm)
    check_schedule(rule, schedule)
    if over_spectrum:
        if np.ndim(h) == 0:
            raise ValueError(f"h must have a last axis to take the spectrum from, got the scalar {h!r}")
        if np.size(h) == 0:
            raise ValueError("h must hold at least one curvature, got an empty array")
        given = {name: getattr(rule, name) for name in rule.parameters()}
        spread = {name: as_real(name, value)[..., None] for name, value in given.items() if value is not None}
        rule = replace(rule, **spread)  # type: ignore[type-var]
    values, curvature = numeric_values(rule, h)
    *parameters, curvature = np.broadcast_arrays(*values.values(), curvature)
    columns = {name: array.ravel() for name, array in zip(values, parameters, strict=True)}
    limit = schedule.infinite
    variables = 1 if limit else _variables(rule, schedule)
    dense = not limit and (
        _is_small(schedule) or (variables <= LARGEST_STATE and curvature.size * variables**3 <= _DENSE_WORK)
    )
    step = _LIMIT_CHUNK if limit else max(1, _CHUNK // variables**2) if dense else _PENCIL_CHUNK
    parts = []
    for start in range(0, max(curvature.size, 1), step):
        chunk = slice(start, start + step)
        field = numeric_field(rule, {name: array[chunk] for name, array in columns.items()}, curvature.ravel()[chunk])
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            if limit:
                parts.append(_limit_growth(rule, schedule, field))
            elif dense:
                parts.append(_dense_growth(rule, schedule, field, ask_bounded))
            else:
                parts.append(_pencil_or_dense_growth(rule, schedule, field, ask_bounded, ask_sign))
    return Growth(*(np.concatenate(columns).reshape(curvature.shape) for columns in zip(*parts, strict=True)))


def _limit_growth(rule: Algorithm, schedule: Schedule, field: Field) -> Growth:
    from easgd_theory.limit import limit_growth

    return limit_growth(rule, schedule.tau, field)


def _is_small(schedule: Schedule) -> bool:
    return isinstance(schedule, Synchronous) or schedule.workers() == 1


def _variables(rule: Algorithm, schedule: Schedule) -> int:
    return (1 if _is_small(schedule) else schedule.workers()) * len(rule.worker) + len(rule.center)


def _pencil_or_dense_growth(
    rule: Algorithm, schedule: Schedule, field: Field, ask_bounded: bool, ask_sign: bool
) -> Growth:
    """The pencil's answer; dense eigenvalues where it leaves one open and they can be had."""
    found = _pencil_growth(rule, schedule, field)
    variables = _variables(rule, schedule)
    ask_dense = np.zeros(found.radius.shape, dtype=bool)
    if variables <= LARGEST_STATE:
        ask_dense |= ~found.certified & ~(ask_sign & (found.radius > 1 + TOLERANCE))
    if ask_bounded and variables <= _LARGEST_MARGINAL:
        ask_dense |= ~found.bounded & (np.abs(found.radius - 1) <= TOLERANCE)
    points = np.flatnonzero(ask_dense)
    step = max(1, _CHUNK // variables**2)
    for batch in (points[start : start + step] for start in range(0, len(points), step)):
        for known, exact in zip(found, _dense_growth(rule, schedule, field.at(batch), ask_bounded), strict=True):
            known[batch] = exact
    return found


def _pencil_growth(rule: Algorithm, schedule: Schedule, field: Field) -> Growth:
    from easgd_theory.delay import dominant_roots, pencil_coefficients, visit_blocks

    p, points = schedule.workers(), field.h.size
    blocks = visit_blocks(type(rule), schedule.tau, p, field)
    coefficients = pencil_coefficients(np.broadcast_to(blocks, (points, *blocks.shape[-2:])), len(rule.worker))
    if coefficients is None:
        return Growth(np.full(points, np.nan), np.zeros(points, dtype=bool), np.zeros(points, dtype=bool))
    scale = np.abs(coefficients).max(axis=(1, 2, 3))
    finite = np.isfinite(scale)
    radius, certified, bounded = np.full(points, np.inf), np.ones(points, dtype=bool), np.zeros(points, dtype=bool)
    logarithm, slope, certified[finite] = dominant_roots((coefficients / scale[:, None, None, None])[finite], p)
    radius[finite] = np.exp(logarithm)
    # A simple root of the pencil is a semisimple eigenvalue; a double one is left undecided, that is, not bounded.
    simple = slope > 1e-4 / p
    bounded[finite] = (radius[finite] < 1 - TOLERANCE) | ((radius[finite] <= 1 + TOLERANCE) & simple)
    return Growth(radius, certified, bounded & certified)


def _dense_growth(rule: Algorithm, schedule: Schedule, field: Field, ask_bounded: bool) -> Growth:
    if _is_small(schedule):
        blocks = synchronous_blocks(type(rule), schedule.tau, field, schedule.workers())
    else:
        blocks = [composed(type(rule), schedule, field)]
    eigenvalues = _eigenvalues(blocks)
    radius = _radius(eigenvalues)
    bounded = radius <= 1 + TOLERANCE
    for point in np.flatnonzero(bounded & (radius >= 1 - TOLERANCE)) if ask_bounded else ():
        pairs = zip(blocks, eigenvalues, strict=True)
        bounded[point] = all(_is_semisimple(block[point], values[point]) for block, values in pairs)
    return Growth(radius, np.ones(radius.shape, dtype=bool), bounded)


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
