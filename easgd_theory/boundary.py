"""The boundary of a stable region in the plane of two parameters, as curves."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from easgd_theory.algorithm import Algorithm, as_instance, as_real, numeric_values
from easgd_theory.continuation import Piece, Plane
from easgd_theory.maps import check_schedule
from easgd_theory.schedules import Schedule

_GRID = 32  # points along each side of the box between which the boundary is looked for at first
_STABLE = 1e-12  # growth of the logarithm that rounding alone may show
_COVERED = 2e-3  # distance from a curve of what is on it: the curves are straight between their points
_SAME = 1e-6  # distance of two ends that are one point, against the box


@dataclass(frozen=True, eq=False)
class BoundaryCurve:
    r"""One curve of a boundary; made by `stability_boundary`.

    Attributes
    ----------
    names : tuple of str
        The two parameters.
    points : ndarray, shape (k, 2)
        Their values along the curve.
    phases : ndarray, shape (k,)
        The phase :math:`\varphi \in [0, p\pi]` of the root on the circle: an eigenvalue of the round is
        :math:`e^{i\varphi}`, and :math:`\theta = \varphi / p` is the angle per tick. It jumps where another root takes
        over.
    closed : bool
        Whether the last point is followed by the first.
    """

    names: tuple[str, str]
    points: np.ndarray
    phases: np.ndarray
    closed: bool


def stability_boundary(algorithm: Algorithm | type[Algorithm], schedule: Schedule, h: Any = 1.0) -> list[BoundaryCurve]:
    r"""The boundary of the stable region in a box of two parameters, followed as curves, not read off a grid.

    On the boundary a root of the round is on the unit circle: two real equations for the parameters and its phase,
    which are solved to rounding at each point (pseudo-arclength continuation). Where another root leaves the circle the
    curve has a corner, and goes on along that one. The curves start from the sign changes of the certified radius on a
    grid of 32 by 32; a region that no grid point meets is not found.

    Parameters
    ----------
    algorithm : Algorithm
        Two of its parameters (or one and `h`) are 1-D arrays: their smallest and largest values span the box, as in
        `stability_map`. The others are scalars.
    schedule : Synchronous or RoundRobin
        With a finite number of workers.
    h : float or 1-D array, default 1.0
        Curvature.

    Returns
    -------
    list of BoundaryCurve
        At every point the logarithm of the radius is within 1e-9 of 0.

    Raises
    ------
    ValueError
        Not exactly two of the values span a box, no pencil to follow a root of, infinitely many workers.

    Warns
    -----
    RuntimeWarning
        A sign change of the radius from which no curve could be followed.

    References
    ----------
    Allgower, Georg (1990), Numerical Continuation Methods.

    Examples
    --------
    >>> from easgd_theory import EASGD, RoundRobin, stability_boundary
    >>> (curve,) = stability_boundary(EASGD(eta=[0.1, 1.5], alpha=[0.1, 1.5]), RoundRobin(p=3))
    >>> eta, alpha = curve.points.T
    >>> bool(abs(alpha - (4 - 2 * eta) / (4 - eta)).max() < 1e-10)
    True
    """
    plane = _plane(as_instance(algorithm), schedule, h)
    pieces: list[Piece] = []
    starts = list(_crossings(plane))
    waiting = starts[::-1]
    while waiting:
        spot = plane.settled(waiting.pop())
        if spot is not None and not any(_covers(piece, spot.at, spot.outward) for piece in pieces):
            piece = plane.follow(spot)
            if len(piece.spots) > 1:
                pieces.append(piece)
                waiting += piece.rejected
    lost = sum(not any(_covers(piece, start) for piece in pieces) for start in starts)
    if lost:
        message = f"at {lost} points of the boundary no root could be followed: curves may be missing"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    pieces = [piece for piece in pieces if not any(_contains(other, piece) for other in pieces)]
    lines = _joined([(np.array([spot.at for spot in piece.spots]), piece.closed) for piece in pieces])
    return [BoundaryCurve(plane.names, plane.parameters(at), plane.phase(at), closed) for at, closed in lines]


def _plane(rule: Algorithm, schedule: Schedule, h: Any) -> Plane:
    check_schedule(rule, schedule)
    if schedule.infinite:
        raise ValueError("p must be finite for stability_boundary, got inf: in the limit no single root is followed")
    values = {name: getattr(rule, name) for name in rule.parameters()} | {"h": h}
    box = {name: as_real(name, value) for name, value in values.items() if np.ndim(value)}
    if len(box) != 2:
        raise ValueError(f"exactly two parameters must be 1-D arrays that span the box, got {', '.join(box) or 'none'}")
    for name, axis in box.items():
        if axis.ndim != 1 or axis.min(initial=np.inf) >= axis.max(initial=-np.inf):
            raise ValueError(f"{name} must be a 1-D array of two values at least, got {values[name]!r}")
    numeric_values(replace(rule, **{name: 0.0 for name in box if name != "h"}), 0.0 if "h" in box else h)  # type: ignore[type-var]
    first, second = box
    low, high = (np.array([bound(axis) for axis in box.values()]) for bound in (np.min, np.max))
    plane = Plane((first, second), low, high, rule, schedule, None if "h" in box else h)
    if not plane.has_pencil():
        raise ValueError(f"{type(rule).__name__} has no pencil in which a root could be followed: draw a stability_map")
    return plane


def _crossings(plane: Plane) -> Iterator[np.ndarray]:
    """Points just outside the stable region, one for each edge of the grid at whose ends the sign differs."""
    ticks = (np.arange(_GRID) + 0.5) / _GRID
    grid = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1)
    growth = plane.growth(grid.reshape(-1, 2)).reshape(_GRID, _GRID)
    stable, known = growth <= _STABLE, np.isfinite(growth)
    ends = []
    for near, far in (((slice(1, None),), (slice(-1),)), ((slice(None), slice(1, None)), (slice(None), slice(-1)))):
        flips = (stable[near] != stable[far]) & known[near] & known[far]
        swap = stable[near][flips][:, None]
        a, b = grid[near][flips], grid[far][flips]
        ends.append(np.stack([np.where(swap, a, b), np.where(swap, b, a)]))
    inside, outside = np.concatenate(ends, axis=1)
    for _ in range(20):
        middle = (inside + outside) / 2
        stable_there = (plane.growth(middle) <= _STABLE)[:, None] if len(middle) else np.zeros((0, 1), dtype=bool)
        inside, outside = np.where(stable_there, middle, inside), np.where(stable_there, outside, middle)
    yield from outside


def _covers(piece: Piece, point: np.ndarray, outward: np.ndarray | None = None) -> bool:
    """Whether the piece passes through a point, with the unstable side where `outward` points."""
    spots = [*piece.spots, piece.spots[0]] if piece.closed else piece.spots
    at = np.array([spot.at[:2] for spot in spots])
    start, chord = at[:-1], np.diff(at, axis=0)
    share = np.clip(((point[:2] - start) * chord).sum(axis=1) / np.maximum((chord**2).sum(axis=1), 1e-300), 0, 1)
    distance = np.linalg.norm(start + share[:, None] * chord - point[:2], axis=1)
    nearest = int(np.argmin(distance))
    same_side = outward is None or spots[nearest].outward @ outward > 0.5
    return bool(distance[nearest] < _COVERED and same_side)


def _contains(piece: Piece, other: Piece) -> bool:
    """Whether the other is a shorter stretch of the piece."""
    ends = (other.spots[0], other.spots[-1])
    return len(other.spots) < len(piece.spots) and all(_covers(piece, spot.at, spot.outward) for spot in ends)


def _joined(lines: list[tuple[np.ndarray, bool]]) -> Iterator[tuple[np.ndarray, bool]]:
    """Lines put together where their ends meet."""
    yield from ((points, True) for points, closed in lines if closed)
    left = [points for points, closed in lines if not closed]
    while left:
        line, k = left.pop(), 0
        while k < len(left):
            joined = _meet(line, left[k])
            if joined is None:
                k += 1
            else:
                line, k, _ = joined, 0, left.pop(k)
        yield line, len(line) > 2 and _near(line[0], line[-1])


def _meet(line: np.ndarray, other: np.ndarray) -> np.ndarray | None:
    for first in (line, line[::-1]):
        for second in (other, other[::-1]):
            if _near(first[-1], second[0]):
                return np.concatenate([first, second])
    return None


def _near(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.linalg.norm(a[:2] - b[:2]) < _SAME)
