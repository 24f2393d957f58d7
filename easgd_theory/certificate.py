r"""How many roots of a delay pencil lie outside a circle, with proof: docs/theory.md, section 8.

The half circle :math:`|z| = e^{\sigma/p}` is cut into cells; in each, Rouché's theorem encloses every branch, which is
found smaller than w in modulus, or apart from it in phase, or passed by it. Then the argument principle counts the
roots outside. Where f reads past visits (:math:`\bar S`) the branches are singular at z = 1, and f itself is enclosed
for :math:`|\mathrm{Im}\, s| \le \pi`.
"""

from cmath import exp, phase, sqrt
from math import atan2, expm1, pi

import numpy as np

from easgd_theory.pencil import branches, cexpm1, leading, log_modulus, pencil, reciprocal, taylor, wrapped

MAX_CELLS = 4000
ROUNDING = 4e-15  # of a sum of a few terms, with a margin

# What a cell may turn out to be.
CLEAR, SPLIT, OUTSIDE = 0, 1, 2


def drift(t, i, reach):
    """How far the coefficient of v^i can move while zeta moves by at most `reach`."""
    total = 0.0
    for b in range(t.shape[1] - 1, 0, -1):
        total = (total + abs(t[i, b])) * reach
    return total


def inspect_cell(g, p, sigma, theta, half, t, v):
    """Enclose all branches over a cell of the circle |z| = e^(sigma/p).

    Returns (verdict, guess, leading coefficient at the center, passes): SPLIT if the cell is too wide to tell, OUTSIDE
    with the guess of a root's s if w overtakes a branch that is larger, else CLEAR. `passes` counts those with their
    signs: near a zero of the leading coefficient, or of the discriminant, a branch may turn faster than w.
    """
    m, J = g.shape[0] - 1, g.shape[1] - 1
    zeta = cexpm1(complex(sigma / p, theta))
    taylor(g, zeta, t)
    lead = t[m, 0]
    reach = abs(1.0 + zeta) * half
    noise, power = 0.0, ROUNDING
    for b in range(J + 1):
        largest = 0.0
        for i in range(m + 1):
            largest = max(largest, abs(g[i, b]))
        noise += largest * power
        power *= abs(zeta)
    if not abs(lead) > drift(t, m, reach) + 4.0 * noise or not branches(t, v):
        return SPLIT, 0.0j, lead, 0
    # All inside at once: on |w| = e^sigma the polynomial is larger than its drift over the cell.
    circle = expm1(sigma) + 1.0
    product, total = abs(lead), noise
    for j in range(m):
        product *= max(circle - abs(1.0 + v[j]), 0.0)
    for i in range(m, -1, -1):
        total = total * (2.0 + circle) + drift(t, i, reach)
    if product > total:
        return CLEAR, 0.0j, lead, 0
    # Each branch by itself: w = omega + slope dz + u, where |u| <= rest by Rouche's theorem.
    spread, passes, guess = 0.0, 0, 0.0j
    for j in range(m):
        w = 1.0 + v[j]
        gw, gz = t[1, 0], 0.0j
        if m == 2:
            gw += 2.0 * v[j] * t[2, 0]
        if J > 0:
            for i in range(m, -1, -1):
                gz = gz * v[j] + t[i, 1]
        if gw == 0.0 or w == 0.0:
            return SPLIT, 0.0j, lead, 0
        slope = -gz * reciprocal(gw)
        bend = abs(slope) * reach
        residue, linear, square = noise * (1.0 + abs(v[j])) ** m, 0.0, 0.0
        power = 1.0
        for b in range(J + 1):
            ga = t[1, b]
            g0 = t[0, b] + v[j] * ga
            if m == 2:
                g0 += v[j] * v[j] * t[2, b]
                ga += 2.0 * v[j] * t[2, b]
                g2 = abs(t[2, b]) * power
                square += g2
                residue += g2 * bend * bend
                linear += 2.0 * g2 * bend
            if b >= 1:
                residue += abs(ga) * power * bend
                linear += abs(ga) * power
            if b >= 2:
                residue += abs(g0) * power
            power *= reach
        gap = abs(gw) - linear
        if gap <= 0.0 or 4.0 * square * residue >= gap * gap:
            return SPLIT, 0.0j, lead, 0
        rest = 2.0 * residue / gap
        spread += bend + rest
        if abs(w) + bend + rest < circle:
            continue
        X = (bend + rest) / abs(w)
        if X >= 0.5:
            return SPLIT, 0.0j, lead, 0
        kappa = slope * (1.0 + zeta) * reciprocal(w)
        error = 0.5 * abs(kappa) * half * half + rest / abs(w) + X * X / (2.0 * (1.0 - X))
        excess = log_modulus(v[j]) - sigma
        tilt = abs(kappa.imag)
        if excess + tilt * half + error < 0.0:
            continue
        distance = wrapped(p * theta - phase(w))
        rate = p - kappa.real
        blur = error + ROUNDING * (p * (abs(theta) + half) + 2.0)  # of the phase: p theta is rounded
        sweep = abs(rate) * half + blur
        if sweep >= pi or rate == 0.0:
            return SPLIT, 0.0j, lead, 0
        if abs(distance) > sweep:
            continue
        meeting = -distance / rate
        shift = blur / abs(rate)
        doubt = error + tilt * shift
        level = excess - kappa.imag * meeting
        if level + doubt < 0.0:
            continue
        if level - doubt <= 0.0 or abs(meeting) + shift >= half:
            return SPLIT, 0.0j, lead, 0
        if rate > 0.0:
            guess = complex(sigma + level, p * (theta + meeting))
        passes += 1 if rate > 0.0 else -1
    if m == 2 and abs(v[0] - v[1]) <= spread:
        return SPLIT, 0.0j, lead, 0
    return CLEAR if guess == 0.0 else OUTSIDE, guess, lead, passes


def second_derivative_bound(F, p, sigma):
    """An upper bound of |f''|, f as `pencil` scales it, where 0 <= sigma - Re s <= 0.1 and |Im s| <= pi + 1."""
    m, n, r = F.shape[0] - 1, F.shape[1] - 1, F.shape[2] - 1
    outer = exp(complex(max(sigma, 0.0) / p)).real
    z0, z1 = (abs(sigma) + pi + 1.1) / p * outer, outer / p
    decay = exp(complex(min(0.1 - abs(sigma), 0.0))).real
    x0, x1 = 1.0 + decay, decay
    y1 = decay if sigma > 0.0 else 0.0
    # Each factor as bounds of (value, first, second derivative); S and its derivatives are at most 1.
    f0, f1, f2 = 0.0, 0.0, 0.0
    for i in range(m, -1, -1):
        i0, i1, i2 = 0.0, 0.0, 0.0
        for k in range(min(r, m - i), -1, -1):
            c0, c1, c2 = 0.0, 0.0, 0.0
            for j in range(n, -1, -1):
                c2 = c2 * z0 + 2.0 * c1 * z1 + c0 * z1 / p
                c1 = c1 * z0 + c0 * z1
                c0 = c0 * z0 + abs(F[i, j, k])
            for _ in range(m - i - k):
                c2 = c2 + 2.0 * c1 * y1 + c0 * y1
                c1 = c1 + c0 * y1
            i2 = i2 + 2.0 * i1 + i0 + c2
            i1 = i1 + i0 + c1
            i0 = i0 + c0
        f2 = f2 * x0 + 2.0 * f1 * x1 + f0 * x1 + i2
        f1 = f1 * x0 + f0 * x1 + i1
        f0 = f0 * x0 + i0
    return f2


def turn_near_start(F, p, sigma, known, count):
    """Change of the argument of f from s = sigma to sigma + i pi, or nan where a root is too near to tell.

    On a cell f is linear up to bound * half^2; around a known root it is slope * (s - root), times a factor near 1.
    """
    bound, noise = 0.5 * second_derivative_bound(F, p, sigma), 0.25 * ROUNDING * np.abs(F).sum()
    reach = np.zeros(count)  # how far up and down the line that factor is within 0.4 of 1
    for q in range(count):
        gap = sigma - known[q].real
        if 0.0 < gap < 0.1 and known[q].imag < pi + 1.0:
            _, slope = pencil(F, p, known[q])
            radius = 0.4 * abs(slope) / bound
            if noise > 0.1 * abs(slope) * gap:
                continue
            reach[q] = 0.99 * sqrt(complex(max(radius * radius - gap * gap, 0.0))).real
    turn, low, cells = 0.0, 0.0, 0
    width = pi
    f_low, _ = pencil(F, p, complex(sigma, 0.0))
    while low < pi:
        cells += 1
        if cells > MAX_CELLS or width < 1e-13:
            return np.nan
        jumped = False
        for q in range(2 * count):
            root = known[q // 2].imag if q % 2 == 0 else -known[q // 2].imag
            far, gap = reach[q // 2], sigma - known[q // 2].real
            if root - far <= low < root + 0.9 * far:
                high = min(root + far, pi)
                f_high, _ = pencil(F, p, complex(sigma, high))
                expected = atan2(high - root, gap) - atan2(low - root, gap)
                turn += expected + wrapped(phase(f_high) - phase(f_low) - expected)
                low, f_low, jumped = high, f_high, True
                width = far
                break
        if jumped:
            continue
        half = 0.5 * min(width, pi - low)
        center = complex(sigma, low + half)
        f, df = pencil(F, p, center)
        nearest = 0.0  # the least |f + i df x| for x in [-half, half]
        if df != 0.0:
            nearest = min(max((f * reciprocal(df)).imag * -1.0, -half), half)
        if abs(f + complex(-df.imag, df.real) * nearest) > bound * half * half + noise:
            high = low + 2.0 * half
            f_high, _ = pencil(F, p, complex(sigma, high))
            turn += wrapped(phase(f) - phase(f_low)) + wrapped(phase(f_high) - phase(f))
            low, f_low = high, f_high
            width = min(4.0 * half, pi)
        else:
            width = half
    return turn


def roots_outside(F, g, p, sigma, known, count, t, v):
    """Number of roots with Re s > sigma, -1 if that is not to be had; and a guess of the largest, 0 if none was met."""
    m, n, r = F.shape[0] - 1, F.shape[1] - 1, F.shape[2] - 1
    start = pi / p if r > 0 else 0.0
    turn = 0.0  # of the argument of g / (w^m z^J) along the upper half circle
    if r > 0:
        turn = turn_near_start(F, p, sigma, known, count)
        if sigma > 0.0:  # there `pencil` has divided by w^m
            turn += m * pi
        turn -= m * pi + n * start
        zeta = cexpm1(complex(sigma / p, start))
        taylor(g, zeta, t)
        if not branches(t, v):
            return -1, 0.0j
        lead = t[m, 0]
        for j in range(m):
            turn -= phase(1.0 + (1.0 + v[j]) * exp(complex(-sigma)))
        turn -= r * (pi - phase(zeta)) + n * (pi - start)
    else:
        turn = -n * pi
        lead = leading(g, expm1(sigma / p))
    # Cells from `start` to pi; where the first and the last touch the real axis they lie across it, and count half.
    low, width, cells, best = start, pi, 0, 0.0j
    while low < pi:
        cells += 1
        across = 1.0
        half = 0.5 * width
        center = low + half
        if low == 0.0:
            center, across = 0.0, 0.5
        elif low + width >= pi:
            half = pi - low
            center, across = pi, 0.5
        verdict, guess, here, passes = inspect_cell(g, p, sigma, center, half, t, v)
        if verdict == OUTSIDE and (best == 0.0 or guess.real > best.real):
            best = guess
        if verdict != SPLIT:
            turn += phase(here / lead) - 2.0 * pi * across * passes
            lead = here
            low = center + half if center < pi else pi
            width = 4.0 * half
        else:
            width = 0.5 * min(width, pi - low)
            if cells > MAX_CELLS or width < 1e-30 or low + width == low:
                return -1, best
    turn += phase(leading(g, -2.0 - expm1(sigma / p)) / lead)
    outside = np.floor(0.5 - turn / pi)  # nan stays nan
    return (outside, best) if abs(outside + turn / pi) < 1e-3 else (-1, best)
