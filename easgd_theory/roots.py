r"""The dominant root of a delay pencil, with a certificate, at a cost bounded independently of p.

Few roots are found all at once (`easgd_theory.simultaneous`). Else the branches tell modulus and phase of the roots
near every angle; the best few start Newton's method, and the largest root found is certified by
`easgd_theory.certificate`, which else tells where a larger one is. Along a grid a point's search starts at its
neighbour's roots.
"""

from cmath import phase
from math import exp, log, pi

import numpy as np

from easgd_theory.certificate import MAX_CELLS, roots_outside
from easgd_theory.pencil import (
    ROUNDING,
    Point,
    branches,
    cexpm1,
    length,
    log_modulus,
    pencil,
    polish,
    reciprocal,
    rounding_at,
    slow_polynomial,
    taylor,
    wrapped,
)
from easgd_theory.simultaneous import FEW, all_roots, improve, roots_room

NONE = np.int64(0)  # numba compiles a function anew for a literal 0
LARGEST = 700.0  # logarithm of the largest modulus that is told from infinity
SMALLEST = -20.0  # below this a root may be rounding, and a radius is 0 for all purposes


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


def search(point, J, known):
    """Start Newton's method where branches are largest; returns how many roots were found."""
    F, g, p, t, v, zeros = point.F, point.g, point.p, point.t, point.v, point.zeros
    m = F.shape[0] - 1
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
    for q in range(J):
        z = 1.0 + zeros[q]
        if zeros[q].imag >= 0.0 and z != 0.0:
            s = complex(p * log_modulus(zeros[q]), p * phase(z))
            if count == 0 or s.real > known[0].real - 0.5:
                count = add_known(F, p, s, known, count)
    return count


def certify(point, J, known, count, patience):
    """Logarithm of the largest modulus and whether no root is larger; roots that come to light are added to `known`.

    Of moduli below `SMALLEST` it is enough that none is above it.
    """
    F, p = point.F, point.p
    for _ in range(2 if patience < MAX_CELLS else 30):
        top = known[0].real if count else -np.inf
        if top > LARGEST:
            return np.inf, True
        if top < SMALLEST:
            outside, guess = roots_outside(point, J, SMALLEST, known, count, patience)
            if outside == 0.0 or guess == 0.0:
                return top, outside == 0.0
            count = add_known(F, p, guess, known, count)
            continue
        # Just above the root, but further than rounding can move it; too far means that it is not known well enough.
        f, slope = pencil(F, p, known[0])
        slack = max(min(1e-7 * abs(top), 1e-9), 1e-13)
        if slope == 0.0:
            return top, False
        far = abs((f * reciprocal(slope)).real) + rounding_at(F, p, known[0]) / length(slope)
        slack = max(slack, 3.0 * far)
        if slack * min(exp(top), 1.0) > 1e-8:
            return top, False
        # Whole branches may have modulus 1, which rounding hides; a radius of 1 need not be told from 1 + 1e-9.
        for margin in (slack, 1e-9):
            outside, guess = roots_outside(point, J, top + margin, known, count, patience)
            if outside == 0.0:
                return top, True
            if guess != 0.0 or abs(top) >= 1e-12:
                break
        count = add_known(F, p, guess, known, count)
        if known[0].real <= top:
            return top, False
    return known[0].real, False


def dominant_root(point, known, start):
    """Logarithm of the round's spectral radius, and whether it is certified; nan if no root was found.

    `known` is room for the largest roots found, the largest first; `start` is a guess of it, nan for none.
    """
    slow_polynomial(point.F, point.p, point.g)
    J = leading_zeros(point.g, point.zeros)
    top, certified = np.nan, False
    for patience in (60.0, MAX_CELLS):
        if patience < MAX_CELLS:
            count = add_known(point.F, point.p, start, known, NONE) if start == start else NONE
        else:
            count = search(point, J, known)
        if count > 0 or patience >= MAX_CELLS:
            top, certified = certify(point, J, known, count, patience)
        if certified:
            break
    return top, certified


def new_point(F, p):
    """A `Point` with room for pencils of the size of F."""
    m, n, r = F.shape[0] - 1, F.shape[1] - 1, F.shape[2] - 1
    J = n + r
    return Point(
        F,
        np.empty((m + 1, J + 1)),
        p,
        np.empty((m + 1, J + 1), dtype=np.complex128),
        np.empty(m, dtype=np.complex128),
        np.empty((m + 1, J + 1)),
        np.empty((m + 1, J + 1)),
        np.empty((2, J + 1, J + 1)),
        np.empty((5, 2 * J + 1)),
        np.empty(J, dtype=np.complex128),
        np.empty((64, 4), dtype=np.complex128),
        np.zeros(1),
    )


def radii(coefficients, p, result, slope, certified):
    """At every point the logarithm of the round's radius, whether it is certified, and a slope.

    The points are neighbours: each starts from the last one's roots. The slope is |f'| at the dominant root, or at
    z = 1 if that is a root and there |f'| is smaller: 0 at a double root.
    """
    known = np.full(8, np.nan + 0j)
    start = complex(np.nan, 0.0)
    room = new_point(coefficients[0], p)
    few = p >= 2 and (coefficients.shape[1] - 1) * p + coefficients.shape[2] - 1 <= FEW
    x, before, earlier, W, size = roots_room(room.g, p if few else 0.0)
    reals, kept, behind = NONE, NONE, 0
    for i in range(len(coefficients)):
        F = coefficients[i]
        point = Point(
            F,
            room.g,
            p,
            room.t,
            room.v,
            room.half_plane,
            room.sizes,
            room.basis,
            room.polynomials,
            room.zeros,
            room.nodes,
            room.hints,
        )
        done, derivative = False, 0.0j
        for cold in range(2 if few else 0):
            if cold:
                slow_polynomial(F, p, point.g)
                reals, kept = all_roots(point, leading_zeros(point.g, point.zeros), x, W, size)
            else:
                for q in range(kept):  # on a parabola through the last three points' roots, or a line
                    step = x[q] - before[q] if behind > 0 else 0.0j
                    bend = step - (before[q] - earlier[q]) if behind > 1 else 0.0j
                    earlier[q], before[q], x[q] = before[q], x[q], x[q] + step + bend
            if kept > 0:
                known[0], derivative, done = improve(F, p, x, reals, kept, W, size)
            behind = 0 if cold else behind + 1
            if done:
                break
        if done:
            result[i], certified[i] = known[0].real, True
        else:
            result[i], certified[i] = dominant_root(point, known, start)
            start = known[0] if certified[i] else complex(np.nan, 0.0)
            _, derivative = pencil(F, p, known[0])
        slope[i] = abs(derivative)
        at_one = abs(F[0, 0].sum())  # f at z = 1
        if at_one < 1e-9 and at_one <= ROUNDING * np.abs(F).sum():
            _, derivative = pencil(F, p, 0.0j)
            slope[i] = min(slope[i], abs(derivative))
