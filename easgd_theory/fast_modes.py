r"""The loudest branch on the unit circle: half of the limit of infinitely many workers (docs/limit.md, section 5).

The branches are the roots :math:`w = 1 + v` of :math:`c_m(z) v^m + \dots + c_0(z)`, m = 1 or 2, at
:math:`z = e^{i\theta}`. They all lie inside :math:`|w| < \rho` iff a polynomial in :math:`t = 1 - \cos\theta` is
positive on [0, 2]: so the level :math:`\rho` climbs to the largest modulus in a few steps, and nothing is left above.
All is held in powers of v and :math:`\zeta = z - 1`, which keeps the digits near w = z = 1, where roots crowd.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Product = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
r"""Coefficients of Re :math:`\bar a b` and Im :math:`\bar a b / \sqrt\omega` along a curve, from those of a and b."""

_STEPS = 20
_SLACK = 1e-9  # times the radius, or 1: how far above the largest modulus nothing is left
_SLACK_OF_SMALL = 1e-7  # of radii below 0.1, where a double root near w = 0 has lost half its digits
_EPSILON = 5e-16
_CIRCLE = np.array([0.0, 2.0, -1.0])  # the weight omega of `circle_product`, t (2 - t)


def loudest_branch(c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Largest modulus of a branch over the unit circle, and whether it is certified.

    Parameters
    ----------
    c : ndarray, shape (points, m + 1, n + 1)
        Coefficients of :math:`v^i \zeta^j`; m is 1 or 2, and the leading one has no zero on the circle.
    """
    c = c / np.abs(c).max(axis=(1, 2), keepdims=True)
    ends = np.broadcast_to([0.0, 2.0], (len(c), 2))
    samples = np.append(2.0 ** -np.arange(2.0, 48.0, 2.0), [0.5, 0.8, 1.1, 1.4, 1.6, 1.8, 1.9, 1.98])  # crowd at 0
    cuts = np.concatenate([ends, np.broadcast_to(samples, (len(c), samples.size))], axis=1)
    level = branch_moduli(c, cuts).max(axis=1)
    for _ in range(_STEPS):
        polynomial = level_polynomial(c, level - 1, circle_product, _CIRCLE)
        cuts = np.sort(np.concatenate([ends, _turning_points(polynomial), _clipped_roots(polynomial)], axis=1))
        candidates = np.concatenate([cuts, (cuts[:, 1:] + cuts[:, :-1]) / 2], axis=1)
        before, level = level, np.maximum(level, branch_moduli(c, candidates).max(axis=1))
        if np.all(level <= before * (1 + 1e-15)):
            break
    above = level + np.where(level > 0.1, _SLACK * np.maximum(level, 1.0), _SLACK_OF_SMALL)
    lowest = _turning_points(level_polynomial(c, above - 1, circle_product, _CIRCLE))
    return level, branch_moduli(c, np.concatenate([cuts, lowest], axis=1), blurred=True).max(axis=1) <= above


def branch_moduli(c: np.ndarray, t: np.ndarray, blurred: bool = False) -> np.ndarray:
    """The largest modulus of a branch at each t, if `blurred` as large as rounding may make it; (points, samples)."""
    zeta = -t + 1j * np.sqrt(np.maximum(t * (2 - t), 0.0))
    values = [sum(c[:, i, j, None] * zeta**j for j in range(c.shape[2])) for i in range(c.shape[1])]
    v = small_roots(values)
    moduli = np.abs(1 + v)
    if blurred:
        change = _EPSILON * sum(np.abs(value * v**i) for i, value in enumerate(values))
        slope = np.abs(sum(i * value * v ** (i - 1) for i, value in enumerate(values) if i))
        degree = len(values) - 1
        with np.errstate(divide="ignore", invalid="ignore"):  # a double root moves by a square root
            moduli = moduli + np.fmin(change / slope, 2 * (change / np.abs(values[-1])) ** (1 / degree))
    return moduli.max(axis=0)


def small_roots(values: list[np.ndarray]) -> np.ndarray:
    """The roots of a linear or quadratic polynomial from its coefficients, lowest first; the larger root first."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if len(values) == 2:
            return np.stack([-values[0] / values[1]])
        half, product = -values[1] / (2 * values[2]), values[0] / values[2]
        root = np.sqrt(half * half - product)
        larger = half + np.where((np.conj(half) * root).real < 0, -root, root)
        return np.stack([larger, np.where(larger == 0, 0.0, product / larger)])


def level_polynomial(c: np.ndarray, excess: np.ndarray, product: Product, weight: np.ndarray) -> np.ndarray:
    r"""A polynomial along a curve: 0 where a branch has modulus 1 + excess, positive where all branches have less.

    :math:`w = \rho(1+u)/(1-u)` takes :math:`|w| < \rho` to Re u < 0, and :math:`\sum c_i v^i` to a polynomial
    :math:`\sum d_i u^i`, whose roots lie there iff Re :math:`\bar d_1 d_0 > 0` (m = 1), or Re :math:`\bar d_2 d_1 > 0`
    and Re :math:`\bar d_2 d_1` Re :math:`\bar d_0 d_1` > (Im :math:`\bar d_2 d_0)^2` (m = 2).
    """
    inverse = 1 / (excess[:, None] + 2)  # of rho + 1; with it a large level does not overflow
    ratio = excess[:, None] * inverse
    c = c * np.stack([inverse ** (c.shape[1] - 1 - i) for i in range(c.shape[1])], axis=1)
    if c.shape[1] == 2:
        return product(c[:, 1] - c[:, 0], c[:, 0] + ratio * c[:, 1])[0]
    d0 = c[:, 0] + ratio * c[:, 1] + ratio * ratio * c[:, 2]
    d1 = 2 * (inverse * c[:, 1] - c[:, 0] + ratio * c[:, 2])
    d2 = c[:, 0] - c[:, 1] + c[:, 2]
    outer = product(d2, d0)[1]
    total = multiply(product(d2, d1)[0], product(d0, d1)[0])
    square = multiply(multiply(outer, outer), weight[None])
    return total - square[:, : total.shape[1]]  # its last coefficients are 0


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Products of polynomials, whose coefficients are along the last axis."""
    product = np.zeros((*np.broadcast_shapes(a.shape[:-1], b.shape[:-1]), a.shape[-1] + b.shape[-1] - 1))
    for j in range(a.shape[-1]):
        product[..., j : j + b.shape[-1]] += a[..., j, None] * b
    return product


def circle_product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""The `Product` on the unit circle, in t, of two polynomials in zeta of one length; :math:`\omega = t(2-t)`.

    There :math:`|\zeta|^2 = 2t`, and both parts of :math:`\zeta^d` obey :math:`r_{d+1} = -2t(r_d + r_{d-1})`.
    """
    size = a.shape[-1]
    one, t = np.eye(size, size + 1)[0], np.eye(size, size + 1, k=1)[0]
    real, imaginary = [one, -t], [0 * one, one]
    for parts in (real, imaginary):
        while len(parts) < size:
            parts.append(np.concatenate([[0.0], -2 * (parts[-1] + parts[-2])[:-1]]))
    totals = np.zeros((2, len(a), size))
    for j in range(size):
        for k in range(size):
            low, apart = min(j, k), abs(j - k)
            factor = (2.0**low * a[:, j] * b[:, k])[:, None]
            totals[0, :, low:] += factor * real[apart][: size - low]
            totals[1, :, low:] += np.sign(k - j) * factor * imaginary[apart][: size - low]
    return totals[0], totals[1]


def polynomial_roots(polynomial: np.ndarray) -> np.ndarray:
    """All roots, at every point; where the degree is lower there are huge ones in place of those that lack."""
    degree = polynomial.shape[1] - 1
    if degree < 1:
        return np.zeros((len(polynomial), 0))
    least = 1e-14 * np.maximum(np.abs(polynomial).max(axis=1), 1e-280)
    lead = np.where(np.abs(polynomial[:, -1]) < least, least, polynomial[:, -1])
    companion = np.zeros((len(polynomial), degree, degree))
    companion[:, 1:, :-1] = np.eye(degree - 1)
    companion[:, :, -1] = -polynomial[:, :-1] / lead[:, None]
    return np.linalg.eigvals(companion)


def _clipped_roots(polynomial: np.ndarray) -> np.ndarray:
    """Real parts of the roots, moved into [0, 2]; shape (points, degree)."""
    return np.clip(polynomial_roots(polynomial).real, 0.0, 2.0)


def _turning_points(polynomial: np.ndarray) -> np.ndarray:
    return _clipped_roots(polynomial[:, 1:] * np.arange(1, polynomial.shape[1]))
