r"""All roots of a delay pencil at once, where they are few: Weierstrass' iteration, with Smith's discs as certificate.

The corrections :math:`W_i = f(z_i) / (c \prod_{j \ne i} (z_i - z_j))`, c the leading coefficient, drive the iteration
:math:`z_i \leftarrow z_i - W_i` (Weierstrass, Durand, Kerner), and the discs of radius :math:`N |W_i|` around the
:math:`z_i` hold all N roots, a connected component as many as it has discs (Smith 1970, J. ACM 17). Along a grid a
point's roots start at its neighbour's. Real roots and one of each complex pair are kept, as zeta = z - 1.
"""

from cmath import exp as cexp
from cmath import phase
from math import pi

import numpy as np

from easgd_theory.pencil import (
    ROUNDING,
    branches,
    cexpm1,
    length,
    log_modulus,
    pencil,
    reciprocal,
    rounding_at,
    taylor,
)

FEW = 33  # roots; beyond, the branches cost less


def value(F, p, zeta):
    """The pencil at z = 1 + zeta for a whole number p, accurate near z = 1 too, and a bound of its rounding."""
    m, n, r = F.shape[0] - 1, F.shape[1] - 1, F.shape[2] - 1
    v, bit = zeta, 1
    workers = int(p)
    while 2 * bit <= workers:
        bit *= 2
    rest = workers - bit
    while bit > 1:  # z^(2k) - 1 and z^(k+1) - 1 from z^k - 1
        v = v * (2.0 + v)
        bit //= 2
        if rest >= bit:
            v = v + zeta + v * zeta
            rest -= bit
    S = 1.0 + 0.0j
    if r > 0 and abs(zeta.real) + abs(zeta.imag) > 1e-30:
        S = (v - zeta) * reciprocal(zeta) / (p - 1.0)
    f, size = 0.0j, 0.0
    far, near, mean = length(v), length(zeta), length(S)
    for i in range(m, -1, -1):
        inner, most = 0.0j, 0.0
        for k in range(r, -1, -1):
            c, total = 0.0j, 0.0
            for j in range(n, -1, -1):
                c = c * zeta + F[i, j, k]
                total = total * near + abs(F[i, j, k])
            inner = inner * S + c
            most = most * mean + total
        f = f * v + inner
        size = size * far + most
    return f, ROUNDING * p * size


def corrections(F, p, x, reals, count, W, size):
    """Fill W, and size with N |W| and its rounding, at the `reals` real roots and `count` in all that x holds."""
    degree = 2 * count - reals
    lead = F[F.shape[0] - 1, F.shape[1] - 1, 0]
    for i in range(count):
        z = x[i]
        product = complex(lead)
        for j in range(reals):
            if j != i:
                product *= z - x[j]
        for j in range(reals, count):
            if j != i:
                product *= z - x[j]
            product *= z - x[j].conjugate()
        if length(product) < 1e-100:  # a multiple root
            W[i], size[i] = 0.0, np.inf
            continue
        f, noise = value(F, p, z)
        inverse = reciprocal(product)
        W[i] = f * inverse
        size[i] = degree * (length(f) + noise) * length(inverse)


def judge(x, reals, count, size):
    """Which root is the largest, and simple, if the discs tell it, else -1."""
    top, best = 0, -np.inf
    for i in range(count):
        level = x[i].real * (2.0 + x[i].real) + x[i].imag * x[i].imag  # |z|^2 - 1
        if level > best:
            top, best = i, level
    z = x[top]
    reach = length(1.0 + z) - size[top]
    if not reach > 0.0:
        return -1
    for i in range(count):
        apart = size[top] + size[i]
        if i != top and not (length(1.0 + x[i]) + size[i] < reach and length(z - x[i]) > apart):
            return -1
        if i >= reals and not length(z - x[i].conjugate()) > apart:
            return -1
    return top


def move(x, reals, count, W):
    """Correct the roots: a real one stays real, of a pair the upper one is kept."""
    for i in range(count):
        x[i] -= W[i]
        if i < reals:
            x[i] = complex(x[i].real, 0.0)
        elif x[i].imag < 0.0:
            x[i] = x[i].conjugate()


def improve(F, p, x, reals, count, W, size):
    """Weierstrass' iteration from x; (s of the largest root, f' there, whether it is certified)."""
    m = F.shape[0] - 1
    degree = 2 * count - reals
    for _ in range(5):
        corrections(F, p, x, reals, count, W, size)
        top = judge(x, reals, count, size)
        move(x, reals, count, W)
        if top >= 0:
            s = complex(p * log_modulus(x[top]), p * phase(1.0 + x[top]))
            f, slope = pencil(F, p, s)
            slack = max(min(1e-7 * abs(s.real), 1e-9), 1e-13)
            # In its disc there is one root; and some root is within N f / f', where f' loses m f to the factor w^-m.
            far = degree * (length(f) + rounding_at(F, p, s))
            if far < slack * (length(slope) - m * length(f)):
                return s, slope, True
    return 0.0j, 0.0j, False


def cold_start(point, J, x):
    """Fill x with guesses of all roots, from the branches at p angles and the zeros of the leading coefficient."""
    p, t, v = point.p, point.t, point.v
    m, r = point.F.shape[0] - 1, point.F.shape[2] - 1
    count = 0
    for k in range(int(p)):
        theta = 2.0 * pi * k / p
        taylor(point.g, cexpm1(complex(0.0, theta)), t)
        if not branches(t, v):
            v[:] = 0.0
        for j in range(m):
            turn = theta + phase((1.0 + v[j]) * cexp(complex(0.0, -p * theta))) / p
            # Not quite on the real axis, so that what belongs off it can leave it.
            x[count] = cexpm1(complex(max(log_modulus(v[j]), -30.0) / p + 1e-3 * j, turn + 1e-3))
            count += 1
    for i in range(J):
        x[count] = point.zeros[i] + complex(1e-3, 1e-3 * (1 + i))
        count += 1
    for _ in range(r):  # g has r roots at z = 1 that f has not
        nearest = 0
        for i in range(count):
            if length(x[i]) < length(x[nearest]):
                nearest = i
        count -= 1
        x[nearest] = x[count]
    return count


def classify(x, count, size):
    """Sort converged roots into real ones and one of each pair, at the front of x; (reals, kept), or (0, 0)."""
    reals = 0
    for i in range(count):
        if abs(x[i].imag) <= 4.0 * size[i]:
            x[i], x[reals] = x[reals], complex(x[i].real, 0.0)
            reals += 1
    kept = reals
    for i in range(reals, count):
        if x[i].imag > 0.0:
            x[kept], x[i] = x[i], x[kept]
            kept += 1
    return (reals, kept) if 2 * kept - reals == count else (0, 0)


def all_roots(point, J, x, W, size):
    """Find all roots without a guess; leaves the real ones and one of each pair in x: (reals, kept), or (0, 0)."""
    degree = (point.F.shape[0] - 1) * int(point.p) + point.F.shape[1] - 1
    count = cold_start(point, J, x)
    if count != degree:
        return 0, 0
    before = np.inf
    for _ in range(100):
        corrections(point.F, point.p, x, count, count, W, size)
        largest = 0.0
        for i in range(count):
            x[i] -= W[i]
            largest = max(largest, length(W[i]))
        if (0.3 * before < largest < 1e-6) or not largest < np.inf:
            break
        before = largest
    return classify(x, count, size)


def roots_room(g, p):
    """Room for the roots, those of the two points before, their corrections and discs."""
    N = (g.shape[0] - 1) * int(p) + 2 * g.shape[1]
    complexes = np.empty((4, N), dtype=np.complex128)
    return complexes[0], complexes[1], complexes[2], complexes[3], np.empty(N)
