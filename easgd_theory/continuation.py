r"""A root on the unit circle followed through the plane of two parameters: docs/intervals.md, section 6.

A point of a curve is (X, Y, :math:`\Phi`): the two parameters scaled to the box, and the phase :math:`\varphi` of the
root :math:`w = e^{i\varphi}` of one of the round's pencils, scaled. On it :math:`f(i\varphi; x, y) = 0`, two real
equations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from easgd_theory.algorithm import Algorithm
from easgd_theory.delay import compiled, dominant_roots, pencil_coefficients, visit_blocks
from easgd_theory.line import characteristic, known_roots
from easgd_theory.maps import numeric_field, synchronous_blocks
from easgd_theory.schedules import Schedule, Synchronous
from easgd_theory.spectrum import round_growth

ON_CURVE = 1e-11  # the growth of another root by which a point is still on the boundary

_NEAR = 1e-9  # the same where many roots crowd
_PHASE = 0.1  # of a radian of the phase, against the width of the box
_DIFFERENCE = 1e-6  # step of a difference quotient, against the width of the box
_FIRST, _LARGEST, _SMALLEST = 1e-3, 0.02, 1e-10  # steps along a curve
_TURN = 0.99  # least cosine between the tangents of neighbouring points
_SKIPPED = 1e-3  # a corner between steps this long may be passed over, if it cannot be seen
_MOST_SPOTS = 5000
_DENSE = 500  # variables of the workers up to which dense eigenvalues stand in for a missing certificate


class Spot(NamedTuple):
    """A point of a curve: which pencil its root is of, where it is, the tangent, and where growth increases (X, Y)."""

    kind: int
    at: np.ndarray
    tangent: np.ndarray
    outward: np.ndarray


@dataclass(frozen=True)
class Piece:
    """Part of a boundary between two corners, two walls of the box, or one of each; or all of a closed one.

    Attributes
    ----------
    spots : list of Spot
    closed : bool
        Whether the last is followed by the first.
    rejected : list of ndarray
        Points just beyond the corners, where another root is outside: there the boundary goes on along that one.
    """

    spots: list[Spot]
    closed: bool
    rejected: list[np.ndarray]


@dataclass(frozen=True)
class Plane:
    """Two parameters that vary in a box, the others fixed.

    Attributes
    ----------
    names : tuple of str
        The two, of the rule's parameters and "h".
    low, high : ndarray, shape (2,)
        Corners of the box.
    rule : Algorithm
        Its other parameters are scalars.
    schedule : Synchronous or RoundRobin
    h : float
    """

    names: tuple[str, str]
    low: np.ndarray
    high: np.ndarray
    rule: Algorithm
    schedule: Schedule
    h: Any

    def parameters(self, points: np.ndarray) -> np.ndarray:
        """The parameters at scaled points (X, Y, ...)."""
        return self.low + points[..., :2] * (self.high - self.low)

    def phase(self, points: np.ndarray) -> np.ndarray:
        """The phases at points (X, Y, Phi)."""
        return np.maximum(points[..., 2] / _PHASE, 0.0)

    def has_pencil(self) -> bool:
        """Whether there is a pencil in which a root can be followed."""
        return bool(self._pencils(np.full((2, 2), [0.4, 0.6])))

    def growth(self, points: np.ndarray) -> np.ndarray:
        """Logarithm of the certified radius at each of the points, nan without a certificate.

        From the pencil even where dense eigenvalues would do: near double roots it is the more accurate.
        """
        result = np.full(len(points), np.nan)
        if not self._is_small():
            [F] = self._pencils(points)
            logarithm, _, certified = dominant_roots(F / np.abs(F).max(axis=(1, 2, 3), keepdims=True), int(self._p()))
            result[certified] = logarithm[certified]
        rest = np.isnan(result)
        if rest.any() and self._p() * len(self.rule.worker) <= _DENSE:
            values = self._values(points[rest])
            curvature = values.pop("h")
            radius, certified, _ = round_growth(replace(self.rule, **values), self.schedule, curvature)  # type: ignore[type-var]
            result[rest] = np.where(certified, np.log(np.maximum(radius, 1e-300)), np.nan)
        return result

    def largest_root(self, point: np.ndarray) -> tuple[int, complex]:
        """Which pencil has the largest root s at a point, and that root; its imaginary part is not negative."""
        found = [self._roots(F[0]) for F in self._pencils(point[None])]
        kind = int(np.argmax([roots.real.max(initial=-np.inf) for roots in found]))
        s = found[kind][np.argmax(found[kind].real)]
        return kind, complex(s.real, abs(s.imag))

    def settled(self, point: np.ndarray) -> Spot | None:
        """The boundary next to a point: where the largest root is on the circle. None if it was not found."""
        for attempt in range(12):
            kind, root = self.largest_root(point)
            found = self._on_curve(kind, np.array([*point[:2], root.imag * _PHASE]))
            if found is None:
                return None
            if self.is_boundary(found, ON_CURVE if attempt < 4 else _NEAR):
                return self._spot(kind, found)
            point = found
        return None

    def follow(self, start: Spot) -> Piece:
        """The piece around a spot of a boundary, in both directions."""
        ahead, closed, end = self._walk(start, start.tangent)
        if closed:
            return Piece(ahead, True, [])
        behind, _, other = self._walk(start, -start.tangent)
        return Piece(behind[:0:-1] + ahead, False, [point for point in (other, end) if point is not None])

    def is_boundary(self, point: np.ndarray, growth: float = ON_CURVE) -> bool:
        """Whether no other root grows faster, as far as is known."""
        return not self.growth(np.stack([point, point]))[0] > growth

    def _walk(self, start: Spot, direction: np.ndarray) -> tuple[list[Spot], bool, np.ndarray | None]:
        """Spots from `start` on, whether they close, and where another root was found outside."""
        spots, step, rejected = [start], _FIRST, None
        while len(spots) < _MOST_SPOTS and step > _SMALLEST:
            here = spots[-1].at
            guess = here + step * direction
            there = self._correct(guess, spots[-1].kind, direction)
            if there is None or np.linalg.norm(there - guess) > step / 2 or not self._is_phase(there):
                step /= 2
                continue
            if np.any((there[:2] < 0) | (there[:2] > 1)):
                last = self._wall(spots[-1].kind, here, there)
                if last is not None:
                    return [*spots, last], False, None
                step /= 2
                continue
            spot: Spot | None = self._spot(spots[-1].kind, there)
            if not self.is_boundary(there):
                rejected = there if rejected is None else rejected
                spot = self.settled(there) if step > _SKIPPED else None
            if spot is None or not _is_smooth(spot, there, direction, step):
                step /= 2
                continue
            passed = (spot.at - start.at)[:2] @ direction[:2] >= 0 > (here - start.at)[:2] @ direction[:2]
            if len(spots) > 3 and passed and np.linalg.norm((spot.at - start.at)[:2]) < 2 * step:
                return spots, True, None
            spots.append(spot)
            direction = spot.tangent if spot.tangent[:2] @ direction[:2] > 0 else -spot.tangent
            step, rejected = min(1.5 * step, _LARGEST), None
        return spots, False, rejected

    def _spot(self, kind: int, point: np.ndarray) -> Spot:
        _, jacobian = self._equations(kind, point)
        tangent = np.cross(*jacobian)
        outward = -jacobian[0, :2]
        return Spot(kind, point, tangent / np.linalg.norm(tangent), outward / np.linalg.norm(outward))

    def _on_curve(self, kind: int, guess: np.ndarray) -> np.ndarray | None:
        """The point of the curve next to a guess, None where Newton's method finds none."""
        point = guess
        for _ in range(20):
            residual, jacobian = self._equations(kind, point)
            step = -np.linalg.lstsq(jacobian, residual, rcond=None)[0]
            if not np.linalg.norm(step) < 0.5:
                return None
            point = point + step
            if np.linalg.norm(step) < 1e-13 * (1 + abs(point[2])):
                return point
        return None

    def _correct(self, guess: np.ndarray, kind: int, normal: np.ndarray) -> np.ndarray | None:
        """The point of the curve in the plane through the guess with this normal, None where there is none near."""
        point = guess
        for _ in range(8):
            residual, jacobian = self._equations(kind, point)
            system = np.vstack([jacobian, normal])
            try:
                step = np.linalg.solve(system, [*-residual, normal @ (guess - point)])
            except np.linalg.LinAlgError:
                return None
            if not np.linalg.norm(step) < 0.5:
                return None
            point = point + step
            if np.linalg.norm(step) < 1e-12 * (1 + abs(point[2])):
                return point
        return None

    def _is_phase(self, point: np.ndarray) -> bool:
        """Whether the root has not passed through the real axis, to where its conjugate was."""
        return bool(-1e-9 <= point[2] / _PHASE <= np.pi * self._p() * (1 + 1e-12))

    def _wall(self, kind: int, here: np.ndarray, there: np.ndarray) -> Spot | None:
        """Where the boundary leaves the box between two points, None if that is not found."""
        beyond = np.concatenate([-there[:2], there[:2] - 1])
        inside = np.concatenate([here[:2], 1 - here[:2]])
        side = int(np.argmin(np.where(beyond > 0, inside / np.maximum(inside + beyond, 1e-300), np.inf)))
        axis, wall = side % 2, float(side // 2)
        guess = here + (wall - here[axis]) / (there[axis] - here[axis]) * (there - here)
        for _ in range(12):
            guess[axis] = wall
            found = self._correct(guess, kind, np.eye(3)[axis])
            if found is None:
                return None
            if self.is_boundary(found):
                return self._spot(kind, found)
            kind, root = self.largest_root(found)
            guess = np.array([*found[:2], root.imag * _PHASE])
        return None

    def _p(self) -> float:
        return 1.0 if self._is_small() else float(self.schedule.workers())

    def _is_small(self) -> bool:
        return isinstance(self.schedule, Synchronous) or self.schedule.workers() == 1

    def _values(self, points: np.ndarray) -> dict[str, Any]:
        """What varies, h always among it."""
        return {"h": self.h} | dict(zip(self.names, self.parameters(points).T, strict=True))

    def _pencils(self, points: np.ndarray) -> list[np.ndarray]:
        """Coefficients of the round's pencils, shape (points, m + 1, n + 1, r + 1) each."""
        varied = self._values(points)
        values = {name: np.asarray(getattr(self.rule, name), dtype=float) for name in self.rule.parameters()} | varied
        curvature = np.broadcast_to(np.asarray(values.pop("h"), dtype=float), len(points))
        field = numeric_field(self.rule, values, curvature)
        rule, tau = type(self.rule), self.schedule.tau
        p = self.schedule.workers()
        if self._is_small():
            return [_coefficients(block, len(points)) for block in synchronous_blocks(rule, tau, field, p)]
        blocks = visit_blocks(rule, tau, p, field)
        found = pencil_coefficients(np.broadcast_to(blocks, (len(points), *blocks.shape[-2:])), len(rule.worker))
        return [] if found is None else [found]

    def _roots(self, F: np.ndarray) -> np.ndarray:
        """The largest roots s of one pencil."""
        if F.shape[0] == 1:
            z = 1 + np.roots(F[0, ::-1, 0]).astype(complex)
            return np.log(z[z != 0])
        guesses = known_roots(F[None], self._p())[0]
        found = np.array([compiled()["polish"](F, self._p(), s) for s in guesses[np.isfinite(guesses)]])
        return found[np.isfinite(found)]

    def _equations(self, kind: int, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The real and the imaginary part of f over f', and their derivatives; shapes (2,) and (2, 3).

        The first row of the derivatives is minus the gradient of the root's growth.
        """
        steps = _DIFFERENCE * np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
        F = self._pencils(point + steps)[kind]
        s = complex(0.0, point[2] / _PHASE)
        (f, slope), *around = (compiled()["pencil"](each, self._p(), s) for each in F)
        by_x, by_y = ((around[i][0] - around[i + 1][0]) / (2 * _DIFFERENCE) for i in (0, 2))
        columns = np.array([f, by_x, by_y, 1j * slope / _PHASE]) / (slope or 1e-300)
        equations = np.array([columns.real, columns.imag])
        return equations[:, 0], equations[:, 1:]


def _is_smooth(spot: Spot, reached: np.ndarray, direction: np.ndarray, step: float) -> bool:
    """Whether the boundary goes on to the spot without a corner that could be seen."""
    along, onward = (
        vector[:2] / max(float(np.linalg.norm(vector[:2])), 1e-300) for vector in (direction, spot.tangent)
    )
    return bool(abs(along @ onward) > _TURN and np.linalg.norm((spot.at - reached)[:2]) < 0.2 * step)


def _coefficients(block: np.ndarray, points: int) -> np.ndarray:
    """det(z I - block) in powers of z - 1, as a pencil without w."""
    result = np.zeros((points, 1, block.shape[-1] + 1, 1))
    for (_, power, _), value in characteristic(block).items():
        result[:, 0, power, 0] = value
    return result
