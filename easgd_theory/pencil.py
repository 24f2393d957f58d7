r"""The delay pencil at a point: its value, its branches, Newton's method on it.

Plain scalar arithmetic, as in `easgd_theory.certificate` and `easgd_theory.roots`: `easgd_theory.delay` compiles it
where speed counts, and it runs as it stands where not. The pencil is
:math:`f(s) = \sum F_{ijk} v^i \zeta^j \bar S^k` at :math:`v = w - 1`, :math:`\zeta = z - 1`, :math:`w = e^s`,
:math:`z = e^{s/p}`, where :math:`\bar S` is the mean of :math:`z, \dots, z^{p-1}`. The eigenvalues of a round are the
:math:`w`, so that Re s is the logarithm of a modulus. Written in v and zeta, small s keep their relative accuracy.

For a fixed z the equation is a polynomial :math:`g(w, z)` of small degree in w, whose roots :math:`\omega_j(z)`, the
branches, vary slowly with z.
"""

from cmath import exp as cexp
from collections import namedtuple
from math import cos, exp, expm1, log1p, pi, sin, sqrt

import numpy as np

ROUNDING = 4e-15  # of a sum of a few terms, with a margin

Point = namedtuple("Point", "F g p t v half_plane sizes basis polynomials zeros nodes hints")
Point.__doc__ = """The pencil at a point, and room to work in.

F, g : its coefficients, (m + 1, n + 1, r + 1) and as a polynomial in v and zeta, (m + 1, J + 1) with J = n + r.
p : the number of workers, a float.
t, v : Taylor coefficients of g at some zeta, and the branches there.
half_plane, sizes, basis, polynomials : of `easgd_theory.modulus`.
zeros : the zeros in zeta of the leading coefficient.
nodes : a stack, of `easgd_theory.certificate`.
hints : how far branches were larger at the point before.
"""


def from_half(excess, half_sine, half_cosine):
    """(1 + excess) e^(i x) - 1 from the sine and cosine of x / 2, accurate near 0."""
    twice = 2.0 * (1.0 + excess) * half_sine
    return complex(excess - twice * half_sine, twice * half_cosine)


def cexpm1(s):
    """e^s - 1 for complex s, accurate near 0."""
    return from_half(expm1(s.real), sin(0.5 * s.imag), cos(0.5 * s.imag))


def reciprocal(z):
    """1 / z; compiled, a plain division guards against overflow at five times the cost."""
    scale = 1.0 / (z.real * z.real + z.imag * z.imag)
    return complex(z.real * scale, -z.imag * scale)


def length(z):
    """Modulus of z; compiled, abs(z) guards against overflow at several times the cost."""
    return sqrt(z.real * z.real + z.imag * z.imag)


def square_root(z):
    """A square root of z; compiled, that of the library guards against overflow at twice the cost."""
    a = sqrt(0.5 * (length(z) + abs(z.real)))
    if a == 0.0:
        return 0.0j
    b = 0.5 * z.imag / a
    return complex(a, b) if z.real >= 0.0 else complex(b, a)


def pencil(F, p, s):
    """The value of f and its derivative in s, both of f / w^m where Re s > 0, so that neither overflows."""
    if s.real > 1.0:
        y = cexp(-s)
        x = 1.0 - y
    elif s.real > 0.0:
        x = -cexpm1(-s)
        y = 1.0 - x
    else:
        x = cexpm1(s)
        y = 1.0 + 0.0j
    return evaluate(F, p, s, x, y, cexpm1(s / p))


def evaluate(F, p, s, x, y, zeta):
    """What `pencil` returns, from x = v, y = 1, or where Re s > 0 from x = v / w, y = 1 / w."""
    m, n, r = F.shape[0] - 1, F.shape[1] - 1, F.shape[2] - 1
    dzeta = (1.0 + zeta) / p
    dx, dy = 1.0 + x, 0.0j
    if s.real > 0.0:
        dx, dy = y, -y
    S, dS = 0.0j, 0.0j
    if r > 0:
        if abs(s.real) + abs(s.imag) < 1e-4:
            second, third = (2.0 * p - 1.0) / (6.0 * p), (p - 1.0) / (8.0 * p)
            S = 1.0 + s * (0.5 + s * (0.5 * second + s * third / 3.0))
            dS = 0.5 + s * (second + s * third)
            if s.real > 0.0:
                dS = (dS - S) * y
                S = S * y
        else:
            inverse = reciprocal(zeta) / (p - 1.0)
            S = (x - y * zeta) * inverse
            dS = (dx - dy * zeta - (y + S * (p - 1.0)) * dzeta) * inverse
    f, df = 0.0j, 0.0j
    for i in range(m, -1, -1):  # f = sum_i x^i sum_k S^k y^(m-i-k) c_ik(zeta), by Horner's rule in x, S and zeta
        inner, dinner = 0.0j, 0.0j
        for k in range(min(r, m - i), -1, -1):
            c, dc = complex(F[i, n, k]), 0.0j
            for j in range(n - 1, -1, -1):
                dc = dc * zeta + c
                c = c * zeta + F[i, j, k]
            dc = dc * dzeta
            for _ in range(m - i - k):
                dc = dc * y + c * dy
                c = c * y
            dinner = dinner * S + inner * dS + dc
            inner = inner * S + c
        df = df * x + f * dx + dinner
        f = f * x + inner
    return f, df


def rounding(F, p, x, y, zeta):
    """How far rounding may move the value that `evaluate` returns; the arguments are the moduli of its own."""
    m, n, r = F.shape[0] - 1, F.shape[1] - 1, F.shape[2] - 1
    S = 1.0
    if r > 0 and zeta > 0.0:
        S = (x + y * zeta) / (zeta * (p - 1.0))
    total = 0.0
    for i in range(m, -1, -1):
        inner = 0.0
        for k in range(min(r, m - i), -1, -1):
            c = 0.0
            for j in range(n, -1, -1):
                c = c * zeta + abs(F[i, j, k])
            for _ in range(m - i - k):
                c = c * y
            inner = inner * S + c
        total = total * x + inner
    return ROUNDING * total


def rounding_at(F, p, s):
    """How far rounding may move the value of `pencil` at s."""
    x = length(cexpm1(-s if s.real > 0.0 else s))
    return rounding(F, p, x, exp(-max(s.real, 0.0)), length(cexpm1(s / p)))


def polish(F, p, s):
    """Newton's method on f from s; nan where it does not settle."""
    before = 0.0
    for _ in range(40):
        f, df = pencil(F, p, s)
        if f == 0.0 or df == 0.0:
            break
        step = f * reciprocal(df)
        size = abs(step)
        s = s - (step if size <= 1.0 else step / size)
        ratio = size / before if before > 0.0 else 1.0  # Newton's next step is about size * ratio^2
        if size * ratio * ratio <= 4e-16 * abs(s):
            return s
        if before > 0.0 and size < 1e-8 and ratio >= 0.25:  # no more digits to gain, or a multiple root
            return s - step * (ratio / (1.0 - ratio)) if ratio < 0.75 else s
        before = size
    return s if f == 0.0 else complex(np.nan, np.nan)


def slow_polynomial(F, p, g):
    """Coefficients g[i, j] of v^i zeta^j: f with its reading of past visits written out, times zeta^r."""
    m, n, r = F.shape[0] - 1, F.shape[1] - 1, F.shape[2] - 1
    g[:, :] = 0.0
    for k in range(r + 1):
        # zeta^(r-k) ((v - zeta) / (p-1))^k F_k
        binomial = 1.0
        for a in range(k + 1):  # v^a (-zeta)^(k-a)
            scale = binomial * (-1.0) ** (k - a) / (p - 1.0) ** k if k > 0 else 1.0
            for i in range(m - a + 1):
                for j in range(n + 1):
                    g[i + a, j + r - a] += scale * F[i, j, k]
            binomial = binomial * (k - a) / (a + 1)


def taylor(g, zeta, t):
    """Taylor coefficients t[i, b] of every coefficient polynomial around zeta."""
    m, J = g.shape[0] - 1, g.shape[1] - 1
    for i in range(m + 1):
        for b in range(J + 1):
            t[i, b] = g[i, b]
        for b in range(J):
            for j in range(J - 1, b - 1, -1):
                t[i, j] += zeta * t[i, j + 1]


def branches(t, v):
    """The roots v of t[m, 0] v^m + ... + t[0, 0], m = 1 or 2; False if the leading coefficient is 0."""
    lead = t[-1, 0]
    if lead == 0.0:
        return False
    if t.shape[0] == 2:
        v[0] = -t[0, 0] * reciprocal(lead)
        return True
    inverse = reciprocal(lead)
    b, c = 0.5 * t[1, 0] * inverse, t[0, 0] * inverse
    root = square_root(b * b - c)
    if (b.real * root.real + b.imag * root.imag) < 0.0:
        root = -root
    v[0] = -b - root
    v[1] = c * reciprocal(v[0]) if v[0] != 0.0 else 0.0j
    return True


def log_modulus(v):
    """Logarithm of |1 + v|, accurate near v = 0."""
    return 0.5 * log1p(max(2.0 * v.real + v.real * v.real + v.imag * v.imag, -1.0 + 1e-16))


def wrapped(x):
    """An angle modulo 2 pi, in [-pi, pi]."""
    return x - 2.0 * pi * np.floor(x / (2.0 * pi) + 0.5)
