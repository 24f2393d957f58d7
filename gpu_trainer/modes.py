"""Two checks along single eigenvectors: the matrix of one round, and the growth over many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from easgd_theory.algorithm import Algorithm
from easgd_theory.growth import measured_growth
from easgd_theory.maps import iteration_map
from gpu_trainer.catalogue import ModeCase, at_curvature, growth_cases, map_cases, written
from gpu_trainer.checks import Check
from gpu_trainer.crew import Crew
from gpu_trainer.measured import displace, every_x, measured_map, variables
from gpu_trainer.site import EIGENVECTORS, Ground
from gpu_trainer.sweeps import Row

ENTRY = 1e-6
"""An entry of the matrix may be off by this part of the largest one,"""

LOG_RADIUS = 1e-4
"""and the logarithm of its spectral radius by so much."""

GROWTH = 0.01
"""The logarithm of a fitted growth may be off by this part, where its modulus is above the same number."""

_DISPLACEMENT = 1e-5  # of a variable, for the map: at 1e-4 the third derivative shows with 1e-6
_SMALL, _LARGE = 1e-8, 1e-4  # displacements between which a run that grows is followed; one that shrinks starts large,
_VANISHED = 1e-11  # and is followed to here, where rounding begins to tell
_NOT_LINEAR = 1e-6  # of the first root's share: what the loss's fourth derivative adds is below that
_FEWEST = 12  # rounds from which a growth can be read
_FORGOTTEN = 1e-3  # of the first root's share, what the third may have left where the fit begins


@dataclass(frozen=True, kw_only=True)
class MapCheck(Check):
    """Whether the matrix of a round along an eigenvector is the predicted one; `measured_map` reads it off.

    Attributes
    ----------
    workers, periods : sequence of int
        The numbers of workers p and, where an algorithm has them, the communication periods tau.
    eigenvectors : sequence of str
        Of `gpu_trainer.site.EIGENVECTORS`.
    """

    workers: Sequence[int] = (2, 4, 8)
    periods: Sequence[int] = (1, 4)
    eigenvectors: Sequence[str] = EIGENVECTORS

    name = "map"

    def cases(self) -> list[ModeCase]:
        return map_cases(self.workers, self.periods, self.eigenvectors)

    def measure(self, ground: Ground, case: ModeCase) -> Row:
        mode = _mode(ground, case)
        gradient, point = ground.stationary()
        vector = point.new_tensor(mode.vector)
        measured = measured_map(mode.rule, case.schedule, gradient, point, vector, displacement=_DISPLACEMENT)
        scale = np.abs(mode.matrix).max()
        error = np.abs(measured.matrix - mode.matrix).max() / scale
        off = abs(np.log(measured.spectral_radius) - np.log(mode.radius))
        return mode.columns() | {
            "predicted": mode.radius,
            "measured": measured.spectral_radius,
            "error": float(error),
            "log_radius_error": float(off),
            "leakage": float(measured.leakage.max() / scale),
            "agrees": bool(error <= ENTRY and off <= LOG_RADIUS),
        }


@dataclass(frozen=True, kw_only=True)
class GrowthCheck(Check):
    """Whether a run near the point grows, or shrinks, by the predicted factor in each round.

    Every x starts off the point along the eigenvector, each by its own amount so that no root is left out. A second run
    starts on the other side, and half of the difference is followed: what is of second order cancels. Growth is fitted
    to the second half of the rounds, by a recursion with two roots. A run ends, too, where it is farther off the
    eigenvector than along it: a direction that grows faster has begun to take over from rounding.

    Attributes
    ----------
    workers, periods : sequence of int
        As in `MapCheck`.
    rounds : int
        A run is no longer than that.
    """

    workers: Sequence[int] = (2, 4)
    periods: Sequence[int] = (1, 4)
    rounds: int = 1_000

    name = "growth"

    def setup(self) -> Row:
        return super().setup() | {"rounds_at_most": self.rounds}

    def cases(self) -> list[ModeCase]:
        return growth_cases(self.workers, self.periods)

    def measure(self, ground: Ground, case: ModeCase) -> Row:
        mode = _mode(ground, case)
        log = float(np.log(mode.radius))
        path = self._path(ground, case, mode) if abs(log) > GROWTH else np.zeros((0, 1))
        growth, misfit = measured_growth(path[len(path) // 2 :], _NOT_LINEAR)
        return mode.columns() | {
            "predicted": mode.radius,
            "measured": growth,
            "rounds": len(path),
            "third_root": mode.third_root,
            "misfit": misfit,
            "error": float(abs(np.log(growth) / log - 1)),
            "left_out": _reason(log, mode.third_root / mode.radius, len(path)),
            "agrees": bool(abs(np.log(growth) / log - 1) <= GROWTH),
        }

    def _path(self, ground: Ground, case: ModeCase, mode: _Mode) -> np.ndarray:
        """All variables' components along the eigenvector after each round; shape (rounds, variables)."""
        gradient, point = ground.stationary()
        vector, grows = point.new_tensor(mode.vector), mode.radius > 1
        sides = [Crew(mode.rule, case.schedule, point) for _ in range(2)]
        for crew, start in zip(sides, np.array([1, -1]) * (_SMALL if grows else _LARGE), strict=True):
            for owner, x in enumerate(every_x(crew)):
                displace(crew, x, start / (1 + owner) * vector)
        path: list[np.ndarray] = []
        while len(path) < self.rounds:
            above, below = (torch.stack(variables(crew)) for crew in sides)
            difference = (above - below) / 2
            along = difference @ vector
            path.append(along.numpy())
            size, beside = float(along.abs().max()), float((difference - along[:, None] * vector).norm())
            if not (beside < size <= _LARGE if grows else size >= max(_VANISHED, beside)):
                break
            for crew in sides:
                crew.round(lambda worker, clock, at: gradient(at))
        return np.array(path)


@dataclass(frozen=True, eq=False)
class _Mode:
    """A case at its eigenpair: the rule in the network's units, and the predicted matrix of a round."""

    rule: Algorithm
    h: float
    residual: float
    vector: np.ndarray
    matrix: np.ndarray

    def columns(self) -> Row:
        return {"parameters": written(self.rule), "h": self.h, "h_error": self.residual}

    @property
    def radius(self) -> float:
        return float(np.abs(np.linalg.eigvals(self.matrix)).max())

    @property
    def third_root(self) -> float:
        """The modulus of the first root that a recursion with two roots leaves out, equal ones counted once."""
        apart: list[complex] = []
        values = np.linalg.eigvals(self.matrix)
        for value in values[np.argsort(-np.abs(values))]:
            if all(abs(value - other) > 1e-6 * self.radius for other in apart):
                apart.append(value)
        return float(abs(apart[2])) if len(apart) > 2 else 0.0


def _mode(ground: Ground, case: ModeCase) -> _Mode:
    which = EIGENVECTORS.index(case.eigenvector)
    rule, h = at_curvature(case.rule, ground.h_max), float(ground.h[which])
    matrix = iteration_map(rule, case.schedule, h=h).matrix
    return _Mode(rule, h, float(ground.residuals[which]), ground.vectors[which], matrix)


def _reason(log: float, ratio: float, rounds: int) -> str:
    """Why a growth is not held against the prediction; empty if it is."""
    if abs(log) <= GROWTH:
        return "hardly any growth is predicted"
    if rounds < _FEWEST:
        return "too fast for the linear regime"
    if ratio ** (rounds // 2) > _FORGOTTEN:
        return "a third root is close"
    return ""
