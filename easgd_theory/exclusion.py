r"""What a delay pencil does for every parameter of an interval: docs/intervals.md.

Plain scalar arithmetic like that of `easgd_theory.pencil`, compiled where speed counts. The pencil's coefficients, here
in powers of w - 1, z - 1 and :math:`T = \bar S - 1`, are
:math:`F_{ijk}(t) \in a_{ijk} + b_{ijk} t + [-c_{ijk}, c_{ijk}]` with :math:`t \in [-1, 1]`; `A` and `B` are the
absolute values of `a` and `b`.
"""

import math
from cmath import phase
from math import expm1, pi

import numpy as np

from easgd_theory.pencil import branches, cexpm1, log_modulus, reciprocal, taylor, wrapped
from easgd_theory.roots import dominant_root, new_point

NOISE = 2e-14  # of the value of f, relative to the sum of the moduli of its terms
MAX_EVALUATIONS = 4000  # of f, for one interval


def jet(F, V, zeta, T, y):
    """The polynomial sum F_ijk V^i zeta^j T^k y^(m-i-k) and its derivatives in V, zeta and T; complex or real."""
    m, n, r = F.shape[0] - 1, F.shape[1] - 1, F.shape[2] - 1
    zero = 0.0 * V
    f, fV, fz, fT = zero, zero, zero, zero
    for i in range(m, -1, -1):
        g, gz, gT = zero, zero, zero
        for k in range(min(r, m - i), -1, -1):
            c, cz = zero, zero
            for j in range(n, -1, -1):
                cz = cz * zeta + c
                c = c * zeta + F[i, j, k]
            scale = y ** (m - i - k)
            gT = gT * T + g
            g = g * T + c * scale
            gz = gz * T + cz * scale
        fV = fV * V + f
        f = f * V + g
        fz = fz * V + gz
        fT = fT * V + gT
    return f, fV, fz, fT


def remainder(c, A, B, V, zeta, T, y, dV, dzeta, dT, dy):
    """How far the polynomial is from linear in t and in V, zeta, T, whose steps are at most dV, dzeta, dT.

    A step of y, at most dy, counts in full.
    """
    V0, zeta0, T0 = abs(V), abs(zeta), abs(T)
    V1, zeta1, T1, y1 = V0 + dV, zeta0 + dzeta, T0 + dT, y + dy
    here, slope_V, slope_zeta, slope_T = jet(A, V0, zeta0, T0, y)
    there, _, _, _ = jet(A, V1, zeta1, T1, y1)
    moved, _, _, _ = jet(B, V1, zeta1, T1, y1)
    still, _, _, _ = jet(B, V0, zeta0, T0, y)
    rest, _, _, _ = jet(c, V1, zeta1, T1, y1)
    curved = there - here - slope_V * dV - slope_zeta * dzeta - slope_T * dT
    return curved + (moved - still) + rest + NOISE * (there + moved)


def along(a, b, c, A, B, p, s, reach):
    """The pencil around s, Re s > 0: value and derivative at t = 0, derivative in t, and how far it may be from linear.

    The bound is for |s' - s| <= reach. All are divided by |w|^m.
    """
    zeta = cexpm1(s / p)
    z = 1.0 + zeta
    y = math.exp(-s.real)
    w = complex(math.cos(s.imag), math.sin(s.imag))  # over its modulus
    V = w - y if s.real > 1.0 else cexpm1(s) * y
    T, slope_T = 0.0j, 0.0j
    if a.shape[2] > 1:
        inverse = reciprocal(zeta) / (p - 1.0)
        T = (V - p * zeta * y) * inverse
        slope_T = (w - (T * (p - 1.0) + p * y) * z / p) * inverse
    f, fV, fz, fT = jet(a, V, zeta, T, y)
    x, _, _, _ = jet(b, V, zeta, T, y)
    slope = fV * w + fz * z / p + fT * slope_T
    grown = expm1(reach)
    bend = 0.5 * reach * reach * (1.0 + grown)
    outer = abs(z) / p
    error = remainder(c, A, B, V, zeta, T, y, grown, outer * grown, 0.5 * grown, 0.0)
    error += bend * (abs(fV) + abs(fz) * outer / p + abs(fT) / 3.0)
    error += NOISE * abs(fT) * (1.0 + reach / abs(s))  # T and its derivative are what is left of larger numbers
    return f, slope, x, error


def across(a, b, c, A, B, p, sigma, theta, half, psi, turn):
    """The pencil where |theta' - theta| <= half and |psi' - psi| <= turn, the phases of z and of w, both free.

    Returns its value, what it changes by linearly over the cell in either phase and in t, and the bound of the rest.
    """
    zeta = cexpm1(complex(sigma / p, theta))
    V = cexpm1(complex(sigma, psi))
    z, w = 1.0 + zeta, 1.0 + V
    dV, dzeta = abs(w) * turn, abs(z) * half
    bend_V, bend_zeta = 0.5 * dV * turn, 0.5 * dzeta * half
    T, T_V, T_zeta, dT, bend_T = 0.0j, 0.0j, 0.0j, 0.0, 0.0
    if a.shape[2] > 1:
        room = abs(zeta) - dzeta
        if room <= 0.0:
            return 0.0j, 0.0j, 0.0j, 0.0j, 1.0
        T_V = reciprocal(zeta) / (p - 1.0)
        T = (V - p * zeta) * T_V
        T_zeta = -(T * (p - 1.0) + p) * T_V
        dT = (dV + abs(T * (p - 1.0) + p) * dzeta) / ((p - 1.0) * room)
        bend_T = abs(T_V) * bend_V + abs(T_zeta) * bend_zeta + dT * dzeta / abs(zeta)
    f, fV, fz, fT = jet(a, V, zeta, T, 1.0)
    x, _, _, _ = jet(b, V, zeta, T, 1.0)
    error = remainder(c, A, B, V, zeta, T, 1.0, dV, dzeta, dT, 0.0)
    error += abs(fV) * bend_V + abs(fz) * bend_zeta + abs(fT) * (bend_T + NOISE)
    in_theta = (fz + fT * T_zeta) * z * complex(0.0, half)
    in_psi = (fV + fT * T_V) * w * complex(0.0, turn)
    return f, in_theta, in_psi, x, error


def beyond(a, b, c, A, B, p, zeta, reach):
    """As `along`, over w^m and as a function of zeta, where |z| is so far beyond 1 that 1 / w is all but 0."""
    y = math.exp(-p * math.log(abs(1.0 + zeta) - reach))  # at most this
    T, slope_T, dT, bend_T = 0.0j, 0.0j, 0.0, 0.0
    if a.shape[2] > 1:  # T / w = 1 / ((p - 1) zeta) at 1 / w = 0
        room = abs(zeta) - reach
        T = reciprocal(zeta) / (p - 1.0)
        slope_T = -T * reciprocal(zeta)
        shrunk = (abs(1.0 + zeta) + reach) * y / ((p - 1.0) * room) + y
        dT = abs(T) * reach / room + shrunk
        bend_T = abs(slope_T) * reach * reach / room + shrunk
    f, fV, fz, fT = jet(a, 1.0 + 0.0j, zeta, T, 0.0)
    x, _, _, _ = jet(b, 1.0 + 0.0j, zeta, T, 0.0)
    error = remainder(c, A, B, 1.0 + 0.0j, zeta, T, 0.0, y, reach, dT, y)
    error += abs(fV) * y + abs(fT) * bend_T
    return f, fz + fT * slope_T, x, error


def beside(f, u, v, x, normal):
    """How far f + [-1, 1] u + [-1, 1] v + [-1, 1] x stays from 0 in the direction of `normal`."""
    size = abs(normal)
    if size == 0.0:
        return -1.0
    n = normal / size
    gap = abs(f.real * n.real + f.imag * n.imag) - abs(u.real * n.real + u.imag * n.imag)
    return gap - abs(v.real * n.real + v.imag * n.imag) - abs(x.real * n.real + x.imag * n.imag)


def is_away(f, u, v, x, error):
    """Whether f + [-1, 1] u + [-1, 1] v + [-1, 1] x and all within `error` of it leave 0 out."""
    i = 1.0j
    return (
        beside(f, u, v, x, f) > error
        or beside(f, u, v, x, i * u) > error
        or beside(f, u, v, x, i * v) > error
        or beside(f, u, v, x, i * x) > error
    )


def is_clear_across(a, b, c, A, B, p, sigma, theta, half, budget):
    """Whether f has no zero where z is on the arc and w anywhere on its circle; and the evaluations left."""
    low, width = -pi, 0.5
    while low < pi:
        turn = 0.5 * min(width, pi - low)
        budget -= 1
        f, u, v, x, error = across(a, b, c, A, B, p, sigma, theta, half, low + turn, turn * (1.0 + 1e-12))
        if is_away(f, u, v, x, error):
            low += 2.0 * turn
            width = 4.0 * turn
        elif abs(v) < 0.1 * (abs(u) + abs(x)) or turn < 1e-12 or budget < 0:  # narrower cells would not help
            return False, budget
        else:
            width = turn
    return True, budget


def is_clear(a, b, c, A, B, p, sigma):
    """Whether no root has Re s = sigma, for any t: none on the circle |z| = e^(sigma/p).

    Where a cell is so wide that w turns around in it, w is let free; else it has the phase that belongs to z.
    """
    low, width, budget, free = 0.0, 1.0 / p, MAX_EVALUATIONS, 6.0 / p
    while low < pi:
        half = 0.5 * min(width, pi - low)
        if p * half > 0.75 and (low < free or p * half < 6.0):
            half = 0.75 / p
        middle = low + half
        reach = p * (half * (1.0 + 1e-12) + 1e-15 * middle)  # the cell, and what rounding may move it
        if reach > 1.0:
            clear, budget = is_clear_across(a, b, c, A, B, p, sigma, middle, reach / p, budget)
            if not clear and p * half < 12.0:
                free = 1.25 * low + 12.0 / p
        else:
            f, slope, x, error = along(a, b, c, A, B, p, complex(sigma, p * middle), reach)
            u = slope * complex(0.0, reach)
            clear = is_away(f, u, 0.0j, x, error)
            budget -= 1
            if not clear:
                _, _, _, least = along(a, b, c, A, B, p, complex(sigma, p * middle), 0.0)
                budget -= 1
                if not is_away(f, 0.0j, 0.0j, x, least) or half < 4e-15 * middle:
                    return False  # narrower cells would not help
        if budget < 0:
            return False
        if clear:
            low += 2.0 * half
        width = 4.0 * half if clear else half
        if clear and low >= free:
            width = max(width, 13.0 / p)
    return True


def is_outside(a, b, c, A, B, p, s):
    """Whether a root near s has Re s > 0 for every t: it is s + s' t up to a radius that Rouche's theorem gives."""
    f, slope, x, _ = along(a, b, c, A, B, p, s, 0.0)
    for _ in range(3):  # the guess was made with fewer digits
        if not abs(f) < 0.1 * abs(slope):
            return False
        s -= f / slope
        f, slope, x, _ = along(a, b, c, A, B, p, s, 0.0)
    if not (s.real > 0.0 and abs(slope) > abs(x)):
        return False
    shift = x / slope
    _, _, _, error = along(a, b, c, A, B, p, s, abs(shift))
    radius = 1.5 * (abs(f) + error) / abs(slope)
    for _ in range(4):
        if not (radius <= 1.0 and s.real - abs(shift.real) - radius > 0.0):
            return False
        _, _, _, error = along(a, b, c, A, B, p, s, (abs(shift) + radius) * (1.0 + 1e-12))
        if (abs(f) + error) * (1.0 + 1e-12) < abs(slope) * radius:
            return True
        radius *= 2.0
    return False


def is_beyond(a, b, c, A, B, p, zeta):
    """As `is_outside`, for a root z that need not stay within 1 / p."""
    room = abs(1.0 + zeta) - 1.0
    if not room > 0.0:
        return False
    f, slope, x, error = beyond(a, b, c, A, B, p, zeta, 0.0)
    if not abs(x) < 0.5 * room * abs(slope):
        return False
    shift = abs(x / slope)
    _, _, _, error = beyond(a, b, c, A, B, p, zeta, shift)
    radius = 1.5 * (abs(f) + error) / abs(slope)
    for _ in range(4):
        reach = (shift + radius) * (1.0 + 1e-12)
        if not reach < 0.9 * room:
            return False
        _, _, _, error = beyond(a, b, c, A, B, p, zeta, reach)
        if (abs(f) + error) * (1.0 + 1e-12) < abs(slope) * radius:
            return True
        radius *= 2.0
    return False


def clear_cells(a, b, c, p, sigma, result):
    """`is_clear` at every point."""
    for q in range(len(a)):
        result[q] = is_clear(a[q], b[q], c[q], np.abs(a[q]), np.abs(b[q]), p, sigma)


def outside_cells(a, b, c, p, guesses, result):
    """Whether one of the guesses of a root s is outside the circle, at every point."""
    for q in range(len(a)):
        A, B = np.abs(a[q]), np.abs(b[q])
        for s in guesses[q]:
            if not result[q] and s.real > -1e-9 and (s != 0.0 or a.shape[3] == 1):
                result[q] = is_outside(a[q], b[q], c[q], A, B, p, s)
                if not result[q]:
                    result[q] = is_beyond(a[q], b[q], c[q], A, B, p, cexpm1(s / p))


def known_roots(F, p, result):
    """Roots s at every point: the largest that are found, and guesses at two angles, where many are outside."""
    for q in range(len(F)):
        point = new_point(F[q], p)
        dominant_root(point, result[q], complex(np.nan, 0.0))
        spare = result.shape[1] - 1
        for theta in (0.5 * pi, 0.75 * pi):
            taylor(point.g, cexpm1(complex(0.0, theta)), point.t)
            if branches(point.t, point.v):
                for v in point.v:
                    angle = p * theta
                    result[q, spare] = complex(log_modulus(v), angle - wrapped(angle - phase(1.0 + v)))
                    spare -= 1
