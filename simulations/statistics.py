"""Mean and variance over replicas as they come, a block at a time (Welford; Chan, Golub, LeVeque 1983)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulations.arrays import merge_moments, moments_over_lanes


class Moments(NamedTuple):
    """Numbers of values, means and sums of squared deviations of each entry of a record; shape (rounds, columns)."""

    number: np.ndarray
    mean: np.ndarray
    square: np.ndarray

    @classmethod
    def nothing(cls, rounds: int, columns: int) -> Moments:
        """Of no replica at all."""
        return cls(*(np.zeros((rounds, columns)) for _ in range(3)))

    def part(self, first: int, last: int) -> Moments:
        """Those of some rounds, as views."""
        return Moments(*(array[first:last] for array in self))

    def average(self) -> np.ndarray:
        """The mean; nan where there is no replica."""
        return np.where(self.number > 0, self.mean, np.nan)

    def variance(self) -> np.ndarray:
        """The unbiased estimate; nan where there are fewer than two replicas."""
        return np.divide(self.square, self.number - 1, out=np.full(self.square.shape, np.nan), where=self.number > 1)


def moments(record: np.ndarray) -> Moments:
    """Over the last axis of a record of shape (rounds, columns, lanes), without replicas that have diverged."""
    result = Moments.nothing(*record.shape[:2])
    moments_over_lanes(record, *result)
    return result


def merge(known: Moments, more: Moments) -> None:
    """Take more replicas into what is known; the order in which they come decides on the last bits."""
    merge_moments(*known, *more)
