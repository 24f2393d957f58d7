r"""The slow modes of infinitely many workers: their equation, and how many of them grow (docs/limit.md, section 5).

The slow modes are the roots of :math:`h(s) = \sum H_{ijk} v^i s^j \bar S^k` with :math:`v = e^s - 1` and
:math:`\bar S = v / s`; :math:`w = e^s` is the eigenvalue of a round. For a given s the equation is a polynomial in v,
whose roots are the branches; as s grows along a vertical line they tend to those of the fast modes.
"""

from __future__ import annotations

from math import comb

import numpy as np

from easgd_theory.fast_modes import level_polynomial, multiply, polynomial_roots, small_roots

_HIGHEST = 1e3  # imaginary part up to which a line is followed
_BATCH = 2.0**16  # total height of the lines that are followed at a time
_MOST_CELLS = 4000  # of one line that are still to be halved
_NARROWEST = 1e-10  # height of a cell that is not halved
_EPSILON = 1e-15


def growth_at(H: np.ndarray, s: np.ndarray, of_w: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The value of h over e^(ms) and its derivative, at one s for each point: for large Re s neither overflows.

    Where `of_w` is true H holds the coefficients of powers of w in place of v.
    """
    x, y, S, dS = _elements(s)
    dx = y
    if of_w is not None:
        x, dx = np.where(of_w, 1.0, x), np.where(of_w, 0.0, y)
    return _horner(H, s, (x, dx), (y, -y), (S, dS))


def rounding_at(H: np.ndarray, s: np.ndarray, slope: np.ndarray, of_w: np.ndarray | None = None) -> np.ndarray:
    """By how much rounding may change the value of `growth_at`."""
    x, y, S, _ = map(np.abs, _elements(s))
    if of_w is not None:
        x = np.where(of_w, 1.0, x)
    zero = np.zeros_like(x)
    terms, _ = _horner(np.abs(H), np.abs(s), (x, zero), (y, zero), (S, zero))
    return _EPSILON * (terms + np.abs(slope * s))


def _elements(s: np.ndarray) -> tuple[np.ndarray, ...]:
    """What v, 1 and the mean of the others are over e^s, and the derivative of the last."""
    x, y, near = -np.expm1(-s), np.exp(-s), np.abs(s) < 1e-4
    S = np.where(s == 0, 1.0, x / np.where(s == 0, 1.0, s))
    dS = np.where(near, -0.5 + s / 3 - s * s / 8, (y - S) / np.where(near, 1.0, s))
    return x, y, S, dS


def _horner(H: np.ndarray, s: np.ndarray, *factors: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Sum of H_ijk x^i y^(m-i-k) S^k s^j and its derivative; x, y and S come with theirs."""
    m, q, r = (size - 1 for size in H.shape[1:])
    total, change = np.zeros_like(s), np.zeros_like(s)
    for i in range(m + 1):
        for k in range(min(r, m - i) + 1):
            c, dc = H[:, i, q, k] + 0 * s, np.zeros_like(s)
            for j in range(q - 1, -1, -1):
                dc = dc * s + c
                c = c * s + H[:, i, j, k]
            for (factor, slope), power in zip(factors, (i, m - i - k, k), strict=True):
                for _ in range(power):
                    dc = dc * factor + c * slope
                    c = c * factor
            total, change = total + c, change + dc
    return total, change


def without_means(H: np.ndarray) -> np.ndarray:
    """Coefficients of v^i s^j in s^r h, its means written out as v / s; shape (points, m + 1, q + r + 1)."""
    points, m, q, r = len(H), *(size - 1 for size in H.shape[1:])
    G = np.zeros((points, m + 1, q + r + 1))
    for i in range(m + 1):
        for k in range(min(r, m - i) + 1):
            G[:, i + k, r - k : r - k + q + 1] += H[:, i, :, k]
    return G


def branches(G: np.ndarray, s: np.ndarray) -> np.ndarray:
    """The roots v for a given s at each point; shape (m, points)."""
    return small_roots([sum(G[:, i, j] * s**j for j in range(G.shape[2])) for i in range(G.shape[1])])


def modes_right_of(H: np.ndarray, line: np.ndarray) -> np.ndarray:
    """How many slow modes have a real part above `line`; nan where that cannot be told.

    Up to the height where a branch can still be larger than e^line the argument of h is followed; beyond, every branch
    is smaller, and the rest of its turn is known.
    """
    height = _height(without_means(H), line)
    count = np.full(len(H), np.nan)
    told = np.flatnonzero(height < _HIGHEST)
    for batch in np.split(told, np.flatnonzero(np.diff(np.cumsum(height[told]) // _BATCH)) + 1):
        turns = _half_turns(H[batch], line[batch], height[batch])
        whole = np.round(turns)
        count[batch] = np.where(np.abs(turns - whole) < 1e-3, whole, np.nan)
    return count


def _half_turns(H: np.ndarray, line: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Half turns of h / e^(ms) around the upper half of what is right of the line: the number of modes there."""
    G, corner = without_means(H), line + 1j * height
    q, m, degree = H.shape[2] - 1, H.shape[1] - 1, G.shape[2] - 1
    leading = sum(G[:, m, j] * corner ** (j - degree) for j in range(degree + 1))
    beyond = q * np.angle(corner) + np.angle(leading / G[:, m, degree])
    beyond += np.angle(1 - (1 + branches(G, corner)) * np.exp(-corner)).sum(axis=0)
    return (beyond - _turn(H, line, height)) / np.pi


def _height(G: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Where on the line all branches have become smaller than e^line, and the leading coefficient is near its limit."""
    shifted = np.stack([_shifted(G[:, i], line) for i in range(G.shape[1])], axis=1)
    roots = polynomial_roots(level_polynomial(shifted, np.expm1(line), _line_product, np.array([0.0, 1.0])))
    real = np.abs(roots.imag) <= 1e-6 * np.abs(roots)
    crossing = np.sqrt(np.where(real & (roots.real > 0), roots.real, 0.0).max(axis=1, initial=0.0))
    lead, degree = G[:, -1], G.shape[2] - 1
    far = [2 * np.abs(lead[:, degree - k] / lead[:, -1]) ** (1 / k) for k in range(1, degree + 1)]  # Fujiwara's bound
    return np.maximum(1.1 * crossing + np.pi, 2 * degree * np.max([np.zeros(len(G)), *far], axis=0))


def _shifted(polynomial: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Coefficients in s - by."""
    result = polynomial.copy()
    for low in range(result.shape[1] - 1):
        for j in range(result.shape[1] - 2, low - 1, -1):
            result[:, j] += by * result[:, j + 1]
    return result


def _line_product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The `Product` on the imaginary axis, in y^2, of two polynomials in iy of one length; the weight is y^2."""
    size = a.shape[1]
    signs = (-1.0) ** (np.arange(size) // 2)
    parts = [(c * signs)[:, start::2] for c in (a, b) for start in (0, 1)]
    even_a, odd_a, even_b, odd_b = (np.pad(part, ((0, 0), (0, size // 2 + 1 - part.shape[1]))) for part in parts)
    real = multiply(even_a, even_b)
    real[:, 1:] += multiply(odd_a, odd_b)[:, :-1]
    imaginary = multiply(even_a, odd_b) - multiply(odd_a, even_b)
    return real[:, :size], imaginary[:, :size]


def _turn(H: np.ndarray, line: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Change of the argument of h / e^(ms) from s = line to line + i height; nan where a root is too near to tell.

    On each cell h stays as near to its chord as a bound of its second derivative says; cells are halved until 0 is
    further from the chord than that.
    """
    W, of_w = _powers_of_w(H), line < -1  # far left powers of v would cancel, near w = 1 powers of w
    mixed = np.where(of_w[:, None, None, None], W, H)

    def value(point: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        s, here = line[point] + 1j * y, mixed[point]
        found, slope = growth_at(here, s, of_w[point])
        return found, rounding_at(here, s, slope, of_w[point])

    cells = np.ceil(2 * height).astype(int)
    point = np.repeat(np.arange(len(H)), cells)
    index = np.arange(len(point)) - np.repeat(np.cumsum(cells) - cells, cells)
    low, high = index * (height / cells)[point], (index + 1) * (height / cells)[point]
    (first, noise), (last, last_noise) = value(point, low), value(point, high)
    noise = np.maximum(noise, last_noise)
    turn = np.zeros(len(H))
    while len(point):
        bend = _second_derivative(W, point, line, low, high) * (high - low) ** 2 / 8
        clear = _distance_from_chord(first, last) > bend + noise
        turn += np.bincount(point[clear], np.angle(last[clear] / first[clear]), len(H))
        turn[point[~clear & (high - low < _NARROWEST)]] = np.nan
        turn[np.bincount(point[~clear], minlength=len(H)) > _MOST_CELLS] = np.nan
        split = ~clear & ~np.isnan(turn[point])
        point, low, high, first, last, noise = (array[split] for array in (point, low, high, first, last, noise))
        middle = (low + high) / 2
        between, middle_noise = value(point, middle)
        low, high = np.append(low, middle), np.append(middle, high)
        first, last = np.append(first, between), np.append(between, last)
        point, noise = np.tile(point, 2), np.tile(np.maximum(noise, middle_noise), 2)
    return turn


def _distance_from_chord(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """How far 0 is from the segment between two complex numbers."""
    chord = last - first
    along = -(first * np.conj(chord)).real / np.maximum(np.abs(chord) ** 2, 1e-300)
    return np.abs(first + np.clip(along, 0.0, 1.0) * chord)


def _powers_of_w(H: np.ndarray) -> np.ndarray:
    """The coefficients of w^i s^j S^k from those of v^i s^j S^k."""
    W = np.zeros_like(H)
    for i in range(H.shape[1]):
        for power in range(i + 1):
            W[:, power] += comb(i, power) * (-1) ** (i - power) * H[:, i]
    return W


def _second_derivative(
    W: np.ndarray, point: np.ndarray, line: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """An upper bound of |(h / e^(ms))''| over cells of the line: each factor as bounds of its value and derivatives."""
    m, q, r = (size - 1 for size in W.shape[1:])
    u = np.exp(-line[point])
    near, far = np.maximum(np.maximum(np.abs(line[point]), low), 1e-300), np.hypot(line[point], high)
    most = np.maximum(1.0, u)
    S0 = np.minimum(most, (1 + u) / near)
    S1 = np.minimum(most, (u + S0) / near)
    S2 = np.minimum(most, (u + 2 * S1) / near)
    total = np.zeros_like(u)
    for i in range(m + 1):
        for k in range(min(r, m - i) + 1):
            sizes = np.abs(W[point, i, :, k])
            jet = [np.zeros_like(u) for _ in range(3)]
            for j in range(q + 1):
                jet[0] += sizes[:, j] * far**j
                jet[1] += j * sizes[:, j] * far ** max(j - 1, 0)
                jet[2] += j * (j - 1) * sizes[:, j] * far ** max(j - 2, 0)
            for factor, power in (((u, u, u), m - i - k), ((S0, S1, S2), k)):
                for _ in range(power):
                    (a, b, c), (d, e, f) = jet, factor
                    jet = [a * d, a * e + b * d, a * f + 2 * b * e + c * d]
            total += jet[2]
    return total
