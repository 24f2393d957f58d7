r"""The limit of infinitely many workers, round-robin: the limit of the radii as p grows, not a radius at some large p.

As :math:`p \to \infty` the eigenvalues :math:`w = z^p` of a round that do not vanish are of three kinds
(docs/limit.md): *fast modes*, dense in the branches over the unit circle; *slow modes*, where :math:`z = e^{s/p}` with
a bounded s; and those of the center alone, whose :math:`|z|` does not tend to 1. All come from the visit's blocks as
expansions in 1/p, which one run of the definition yields exactly.
"""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np

from easgd_theory.algorithm import Algorithm
from easgd_theory.delay import pencil_coefficients, visit_blocks
from easgd_theory.expansion import Expansion
from easgd_theory.fast_modes import loudest_branch
from easgd_theory.maps import Field
from easgd_theory.slow_equation import growth_at
from easgd_theory.slow_modes import rightmost
from easgd_theory.spectrum import TOLERANCE, Growth

_ROUNDING = 1e-14  # a modulus within it of 1 is 1
_ZERO = 1e-13  # a coefficient below it, relative to others, is 0
_SIMPLE = 1e-10  # the slope at a simple root is larger


def limit_growth(rule: Algorithm, tau: int, field: Field) -> Growth:
    """Limit of the spectral radii of a round as p grows, its certificate, and whether the iterates stay bounded.

    The limit is inf where the radii grow without bound. Without a certificate the radius is a lower bound, or nan.
    *Bounded*: the limit is below 1, or is 1 and neither w = 1 nor the dominant slow mode is a multiple root.

    Raises
    ------
    ValueError
        The visit itself grows with p.
    """
    points = field.h.size
    blocks = [np.broadcast_to(part, (points, *part.shape[-2:])) for part in visit_expansion(type(rule), tau, field)]
    result = Growth(np.full(points, np.inf), np.ones(points, dtype=bool), np.zeros(points, dtype=bool))
    regular = np.all([np.isfinite(part).all(axis=(1, 2)) for part in blocks], axis=0)
    if regular.any():
        for known, found in zip(result, _regular_growth([part[regular] for part in blocks], rule), strict=True):
            known[regular] = found
    return result._replace(bounded=result.bounded & result.certified)


def visit_expansion(rule: type[Algorithm], tau: int, field: Field) -> list[np.ndarray]:
    """The coefficients of 1, 1/p, ..., 1/p^n in the blocks of `delay.visit_blocks`, n the variables of the center."""
    p: Any = Expansion(1, 1.0)
    blocks: Any = visit_blocks(rule, tau, p, field)
    expansion = blocks if isinstance(blocks, Expansion) else Expansion(0, blocks)  # p may not occur
    if expansion.grows():
        raise ValueError(f"{rule.__name__} has no limit p=inf: one visit moves its variables by a multiple of p")
    return [expansion.coefficient(-order) for order in range(len(rule.center) + 1)]


def _regular_growth(blocks: list[np.ndarray], rule: Algorithm) -> Growth:
    F = _pencil_expansion(blocks, len(rule.worker))
    center = np.linalg.eigvals(blocks[0][:, -len(rule.center) :, -len(rule.center) :]) if rule.center else None
    if F is None:
        return _without_pencil(blocks, center)
    c, at_one, at_minus_one = _without_common_factors(F[0][..., 0])
    diverges, decided = _center_on_circle(_in_powers_of_w(c), center, at_one + at_minus_one)
    radius, certified, simple = np.full(len(c), np.inf), decided.copy(), at_minus_one <= 1
    rest = np.flatnonzero(~diverges)
    radius[rest], counted = loudest_branch(c[rest])
    certified[rest] &= counted
    p_enters = len(F) > 1 or F[0].shape[3] > 1
    for q in np.unique(at_one[rest]):
        these = rest[at_one[rest] == q]
        H, complete = _slow_part(F, these, q)
        value, slope = growth_at(H, np.zeros(len(these), dtype=complex))
        simple[these] &= (np.abs(value) > _ZERO) | (np.abs(slope) > _SIMPLE)
        if p_enters:
            top, slope, counted = rightmost(H, np.log(np.maximum(radius[these], 1e-300)))
            radius[these] = np.maximum(radius[these], np.exp(top))
            certified[these] &= counted & complete & (at_minus_one[these] == 0)
            simple[these] &= (slope > _SIMPLE) | (top < -TOLERANCE)
        else:  # every slow mode is the end of a branch, or s = 0
            radius[these] = np.maximum(radius[these], (q + at_minus_one[these] > 0) * 1.0)
    bounded = (radius < 1 - TOLERANCE) | ((radius <= 1 + TOLERANCE) & simple)
    return Growth(radius, certified, bounded)


def _without_pencil(blocks: list[np.ndarray], center: np.ndarray | None) -> Growth:
    """Where nothing reads a worker the center is alone; else more than two variables of a worker matter: unknown."""
    points = len(blocks[0])
    size = np.zeros(points) if center is None else np.abs(center).max(axis=1)
    alone = center is not None and not any(np.any(part[:, :, : -center.shape[1]]) for part in blocks)
    if not alone or any(np.any(part) for part in blocks[1:]):
        return Growth(np.full(points, np.nan), np.zeros(points, dtype=bool), np.zeros(points, dtype=bool))
    radius = np.where(size > 1 + _ROUNDING, np.inf, np.where(size < 1 - _ROUNDING, 0.0, 1.0))
    return Growth(radius, np.ones(points, dtype=bool), radius == 0)


def _pencil_expansion(blocks: list[np.ndarray], m: int) -> list[np.ndarray] | None:
    """The coefficients of 1, 1/p, ... in those of the delay pencil; the first alone where p does not enter.

    With blocks cut off after a power of 1/p the determinant is a polynomial in 1/p, which a few of its values tell.
    """
    degree = max((order for order, part in enumerate(blocks) if np.any(part)), default=0) * blocks[0].shape[1]
    degree += degree % 2
    nodes = np.cos(np.pi * (np.arange(degree) + 0.5) / max(degree, 1))  # of even number: none is 0
    values = [sum(part * node**order for order, part in enumerate(blocks)) for node in (0.0, *nodes)]
    found = pencil_coefficients(np.concatenate(values), m)
    if found is None:
        return None
    F = found.reshape(len(values), len(blocks[0]), *found.shape[1:])
    F = F / np.abs(F[0]).max(axis=(1, 2, 3))[:, None, None, None]
    if not degree:
        return [F[0]]
    higher = np.linalg.solve(nodes[:, None] ** np.arange(1, degree + 1), (F[1:] - F[0]).reshape(degree, -1))
    return [F[0], *higher.reshape(F[1:].shape)[: len(blocks) - 1]]


def _in_powers_of_w(c: np.ndarray) -> np.ndarray:
    """Coefficients of w^i zeta^j from those of v^i zeta^j."""
    a = np.zeros_like(c)
    for i in range(c.shape[1]):
        for power in range(i + 1):
            a[:, power] += comb(i, power) * (-1) ** (i - power) * c[:, i]
    return a


def _without_common_factors(c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The polynomial divided by z - 1 and by z + 1 where these divide it, and how often each does."""
    times = []
    for root in (0.0, -2.0):
        count = np.zeros(len(c), dtype=int)
        for _ in range(c.shape[2] - 1):
            a = _in_powers_of_w(c)  # one of these may be all small, and yet more than rounding
            least = _ZERO * np.abs(a).max(axis=2)
            divides = np.all(np.abs(a @ root ** np.arange(c.shape[2])) <= least, axis=1)
            quotient = np.zeros_like(c)
            for j in range(c.shape[2] - 2, -1, -1):
                quotient[..., j] = c[..., j + 1] + root * quotient[..., j + 1]
            c = np.where(divides[:, None, None], quotient, c)
            count += divides
        times.append(count)
    return c, times[0], times[1]


def _center_on_circle(a: np.ndarray, center: np.ndarray | None, divided: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where an eigenvalue of the center, on the unit circle or outside, makes the radii diverge; and whether all tell.

    One on the circle that is no common factor is a pole of a branch. `divided` counts the common factors known.
    """
    if center is None:
        return np.zeros(len(a), dtype=bool), np.ones(len(a), dtype=bool)
    size, zeta = np.abs(center), center - 1
    outside, on_circle = (size > 1 + _ROUNDING).any(axis=1), np.abs(size - 1) <= _ROUNDING
    pole = np.zeros(center.shape, dtype=bool)
    for i in range(a.shape[1] - 1):
        value = sum(a[:, i, j, None] * zeta**j for j in range(a.shape[2]))
        pole |= np.abs(value) > _ZERO * np.abs(a[:, i]).max(axis=1, keepdims=True)
    left = on_circle.sum(axis=1) > divided
    diverges = outside | (left & (on_circle & pole).any(axis=1))
    return diverges, diverges | ~left


def _slow_part(F: list[np.ndarray], these: np.ndarray, q: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of p^q f(e^(s/p)) that stays as p grows, and whether the parts that would grow are 0."""
    H = np.zeros((len(these), F[0].shape[1], q + 1, F[0].shape[3]))
    complete = np.ones(len(these), dtype=bool)
    for order, part in enumerate(F):
        for j in range(part.shape[2]):
            if order + j == q:
                H[:, :, j] = part[these, :, j]
            elif order + j < q:
                complete &= np.abs(part[these, :, j]).max(axis=(1, 2)) <= _ZERO
    return H, complete
