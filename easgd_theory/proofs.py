"""The stable set along one parameter, interval by interval and with proof: docs/intervals.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from easgd_theory.line import Line
from easgd_theory.spectrum import TOLERANCE

LogGrowth = Callable[[np.ndarray], np.ndarray]

_PARTS = 8  # into which what could not be proved is cut
_NARROWEST = 1e-10  # width of an interval, relative to its ends, that is cut no further
_EDGE = 1e-8  # relative width of an interval that may be missed, at most
_BLUR = 0.1  # of the largest growth that counts as stable: rounding
_MOST_OPEN = 500  # intervals of one kind that are still open, at most
_BEYOND_DOUBT = 100.0  # logarithm of a radius: what grows by this in a round does so between two such points, too


class Pieces(NamedTuple):
    """Intervals of the parameter, and the growth at their ends."""

    low: np.ndarray
    high: np.ndarray
    left: np.ndarray
    right: np.ndarray

    def at(self, these: np.ndarray) -> Pieces:
        return Pieces(*(column[these] for column in self))


@dataclass(frozen=True)
class Resolution:
    """What is known of the stable set along a line.

    Attributes
    ----------
    samples, values : ndarray
        Values of the parameter in ascending order, and the logarithm of the radius at each.
    unproved : list of (float, float)
        Where both ends agree, but edges in between could not be ruled out, in pieces of relative width above 1e-8.
    uncertified : int
        How many of the values were not certified, and count as unstable.
    """

    samples: np.ndarray
    values: np.ndarray
    unproved: list[tuple[float, float]]
    uncertified: int


def resolved(line: Line, growth: LogGrowth, samples: np.ndarray, values: np.ndarray, sigma: float) -> Resolution:
    """More samples, until each interval between two of them is proved stable or unstable, or is as narrow as an edge.

    Parameters
    ----------
    line : Line
    growth : callable
        The logarithm of the certified radius at an array of values, nan where it is not known.
    samples, values : ndarray
        Values of the parameter in ascending order, with which to begin, and their growth.
    sigma : float
        The largest growth that counts as stable.
    """
    [values], uncertified = _completed(line, samples[None], values[None], sigma)
    faint = np.cumsum(values > sigma) == 0  # towards 0 growth fades into rounding: what is its sign?
    values[faint] = np.where(line.unstable(samples[faint], samples[faint]), 2 * sigma, values[faint])
    points, found, left_open = [samples], [values], []
    pieces = Pieces(samples[:-1], samples[1:], values[:-1], values[1:])
    while pieces.low.size:
        pieces = pieces.at(~_proved(line, pieces, sigma))
        last = _are_last(pieces, sigma)
        left_open.append(pieces.at(last))
        pieces = pieces.at(~last)
        inner = pieces.low[:, None] + (pieces.high - pieces.low)[:, None] * np.arange(1, _PARTS) / _PARTS
        between = growth(inner.ravel()).reshape(inner.shape) if inner.size else inner
        ends = np.column_stack([pieces.low, inner, pieces.high])
        values, more = _completed(line, ends, np.column_stack([pieces.left, between, pieces.right]), sigma)
        uncertified += more
        points.append(inner.ravel())
        found.append(values[:, 1:-1].ravel())
        pieces = Pieces(*(part.ravel() for part in (ends[:, :-1], ends[:, 1:], values[:, :-1], values[:, 1:])))
    samples, order = np.unique(np.concatenate(points), return_index=True)
    return _concluded(samples, np.concatenate(found)[order], left_open, uncertified, sigma)


def _are_last(pieces: Pieces, sigma: float) -> np.ndarray:
    """Which of the unproved pieces are cut no further."""
    same = (pieces.left <= sigma) == (pieces.right <= sigma)
    uncertified = (pieces.left == TOLERANCE) | (pieces.right == TOLERANCE)
    last: np.ndarray = (pieces.high - pieces.low <= _NARROWEST * pieces.high) | (same & uncertified)
    return last | same if np.count_nonzero(same & ~last) > _MOST_OPEN else last


def _concluded(
    samples: np.ndarray, values: np.ndarray, left_open: list[Pieces], uncertified: int, sigma: float
) -> Resolution:
    """The samples without those on whose sign rounding decides, and what is unproved."""
    clear = np.abs(values - sigma) > _BLUR * sigma
    samples, values = samples[clear], values[clear]
    unproved = []
    rows = np.column_stack([np.concatenate(column) for column in zip(*left_open, strict=True)])
    for start, end, *growths in _merged(rows.tolist()):
        narrow = end - start <= _EDGE * end
        if narrow and (growths[0] <= sigma) != (growths[1] <= sigma):  # one edge, as far as can be told
            inside = (samples > start) & (samples < end)
            samples, values = samples[~inside], values[~inside]
        if not narrow and max(abs(growth - sigma) for growth in growths) > _BLUR * sigma:
            unproved.append((start, end))
    return Resolution(samples, values, unproved, uncertified)


def _completed(line: Line, points: np.ndarray, values: np.ndarray, sigma: float) -> tuple[np.ndarray, int]:
    """The values with nan replaced: as a neighbour in the row, if no root crosses in between; else as unstable.

    Returns the values, and how many are of the latter kind.
    """
    values = values.copy()
    unknown = np.isnan(values)
    linked = unknown[:, :-1] | unknown[:, 1:]
    linked[linked] = line.unchanged(points[:, :-1][linked], points[:, 1:][linked], sigma)
    last = points.shape[1] - 1
    steps = [(k, k + 1, k) for k in range(last)] + [(k + 1, k, k) for k in reversed(range(last))]
    for source, target, between in steps if unknown.any() else ():
        fill = linked[:, between] & np.isnan(values[:, target])
        values[fill, target] = values[fill, source]
    unknown = np.isnan(values)
    values[unknown] = TOLERANCE
    return values, int(np.count_nonzero(unknown))


def _proved(line: Line, pieces: Pieces, sigma: float) -> np.ndarray:
    low, high, left, right = pieces
    proved: np.ndarray = (left > _BEYOND_DOUBT) & (right > _BEYOND_DOUBT)
    stable = (left <= sigma) & (right <= sigma)
    unstable = (left > sigma) & (right > sigma) & ~proved
    proved[stable] = line.unchanged(low[stable], high[stable], sigma)
    proved[unstable] = line.unstable(low[unstable], high[unstable])
    unstable &= ~proved
    proved[unstable] = line.unchanged(low[unstable], high[unstable], sigma)  # two roots meet, perhaps
    return proved


def _merged(rows: list[list[float]]) -> list[list[float]]:
    """Adjacent pieces made one, in ascending order."""
    merged: list[list[float]] = []
    for low, high, left, right in sorted(rows):
        if merged and low <= merged[-1][1]:
            merged[-1][1::2] = high, right
        else:
            merged.append([low, high, left, right])
    return merged
