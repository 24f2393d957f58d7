r"""The dominant root of a delay pencil, with a certificate, at a cost bounded independently of p.

The branches tell modulus and phase of the roots near every angle; the best few start Newton's method, and the largest
root found is certified by `easgd_theory.certificate`, which else tells where a larger one is.
"""

from cmath import phase
from math import log, pi

import numpy as np

from easgd_theory.certificate import ROUNDING, roots_outside
from easgd_theory.pencil import branches, cexpm1, log_modulus, pencil, polish, slow_polynomial, taylor, wrapped

prange = range  # numba's, where this is compiled
LARGEST = 700.0  # logarithm of the largest modulus that is told from infinity
SMALLEST = -20.0  # below this a root may be rounding


def add_known(F, p, guess, known, count):
    """Polish a guess and keep it, the largest root first; returns the new count."""
    s = polish(F, p, guess)
    if not np.isfinite(s.real):
        return count
    s = complex(s.real, abs(p * wrapped(s.imag / p)))  # the same z, or its conjugate
    for q in range(count):
        if abs(s - known[q]) <= 1e-9 * max(1.0, abs(s)):
            return count
    count = min(count + 1, known.shape[0])
    known[count - 1] = s
    if s.real > known[0].real:
        known[0], known[count - 1] = s, known[0]
    return count


def leading_zeros(g, zeros):
    """Find the zeros in zeta of the leading coefficient (Durand and Kerner beyond two); returns their number."""
    m, J = g.shape[0] - 1, g.shape[1] - 1
    while J > 0 and g[m, J] == 0.0:
        J -= 1
    if 1 <= J <= 2:
        column = np.empty((J + 1, 1), dtype=np.complex128)
        column[:, 0] = g[m, : J + 1]
        branches(column, zeros)
        return J
    for i in range(J):
        zeros[i] = complex(0.4, 0.9) ** i
    for _ in range(60):
        for i in range(J):
            value, others = complex(g[m, J]), complex(g[m, J])
            for j in range(J - 1, -1, -1):
                value = value * zeros[i] + g[m, j]
            for q in range(J):
                if q != i:
                    others *= zeros[i] - zeros[q]
            if others != 0.0:
                zeros[i] -= value / others
    return J


def dominant_root(F, p, known):
    """Logarithm of the round's spectral radius, and whether it is certified; nan if no root was found.

    F : float array (m + 1, n + 1, r + 1), m = 1 or 2; `known` is room for the largest roots found.
    """
    m, n, r = F.shape[0] - 1, F.shape[1] - 1, F.shape[2] - 1
    g = np.empty((m + 1, n + r + 1))
    t = np.empty((m + 1, n + r + 1), dtype=np.complex128)
    v = np.empty(m, dtype=np.complex128)
    slow_polynomial(F, p, g)
    count = 0
    # The branches on the unit circle, at angles that crowd at 0: each tells modulus and argument of a root nearby.
    samples = 2 * (4 + int(log(p) / log(2.0) + 0.999)) + 1
    level, mode = np.full((samples, m), -np.inf), np.zeros((samples, m))
    for q in range(samples):
        theta = pi * 0.5 ** (q // 2) * (0.75 if q % 2 else 1.0) if q < samples - 1 else 1e-3 / p
        taylor(g, cexpm1(complex(0.0, theta)), t)
        if branches(t, v):
            for j in range(m):
                mode[q, j] = abs(p * theta - wrapped(p * theta - phase(1.0 + v[j])))
                level[q, j] = log_modulus(v[j])
    for _ in range(3):
        q = int(np.argmax(level))
        s = complex(level[q // m, q % m], mode[q // m, q % m])
        if count == 0 or s.real > known[0].real - 0.05:
            count = add_known(F, p, s, known, count)
        for q in range(samples):
            for j in range(m):
                if abs(mode[q, j] - s.imag) < 0.5:
                    level[q, j] = -np.inf
    # Near a zero of the leading coefficient a branch is infinite: there roots hide that no sample shows.
    zeros = np.empty(n + r, dtype=np.complex128)
    for q in range(leading_zeros(g, zeros)):
        z = 1.0 + zeros[q]
        if zeros[q].imag >= 0.0 and z != 0.0:
            s = complex(p * log_modulus(zeros[q]), p * phase(z))
            if count == 0 or s.real > known[0].real - 0.5:
                count = add_known(F, p, s, known, count)
    if count == 0:
        return np.nan, False
    for _ in range(30):
        top = known[0].real
        if top > LARGEST:
            return np.inf, True
        if top < SMALLEST:
            return top, False
        # Just above the root, but further than rounding can move it; too far means that it is not known well enough.
        _, slope = pencil(F, p, known[0])
        slack = max(min(1e-7 * abs(top), 1e-9), 1e-13)
        if r > 0:
            slack = max(slack, 3.0 * ROUNDING * np.abs(F).sum() / max(abs(slope), 1e-300))
        if slack * min(np.exp(top), 1.0) > 1e-8:
            return top, False
        outside, guess = roots_outside(F, g, p, top + slack, known, count, t, v)
        if outside == 0:
            return top, True
        count = add_known(F, p, guess, known, count)
        if known[0].real <= top:
            return top, False
    return known[0].real, False


def radii(coefficients, p, result, slope, certified):
    """`dominant_root` at every point: the logarithm of the radius, the certificate, and a slope.

    The slope is |f'| at that root, or at z = 1 if that is a root and there |f'| is smaller: 0 at a double root.
    """
    for i in prange(len(coefficients)):
        known = np.full(8, np.nan + 0j)
        result[i], certified[i] = dominant_root(coefficients[i], p, known)
        _, derivative = pencil(coefficients[i], p, known[0])
        slope[i] = abs(derivative)
        value, derivative = pencil(coefficients[i], p, 0.0j)
        if abs(value) <= ROUNDING * np.abs(coefficients[i]).sum():
            slope[i] = min(slope[i], abs(derivative))
