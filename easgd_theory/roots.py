r"""The dominant root of a delay pencil, with a certificate, at a cost bounded independently of p.

Plain scalar arithmetic: compiled by `easgd_theory.delay` where speed counts, run as it stands where not. The pencil is
:math:`f(s) = \sum F_{ijk} v^i \zeta^j \bar S^k` at :math:`v = w - 1`, :math:`\zeta = z - 1`, :math:`w = e^s`,
:math:`z = e^{s/p}`, where :math:`\bar S` is the mean of :math:`z, \dots, z^{p-1}`. The eigenvalues of a round are the
:math:`w`, so that Re s is the logarithm of a modulus. Written in v and zeta, small s keep their relative accuracy.

*Finding.* For a fixed z the equation is a polynomial :math:`g(w, z)` of small degree in w, whose roots
:math:`\omega_j(z)`, the branches, vary slowly with z; they tell modulus and phase of the roots near every angle.

*Certifying* that no root has :math:`\mathrm{Re}\, s > \sigma`: docs/theory.md, section 8. The half circle
:math:`|z| = e^{\sigma/p}` is cut into cells; in each, Rouché's theorem encloses every branch, which is found smaller
than w in modulus, or apart from it in phase, or passed by it. Then the argument principle counts the roots outside.
Where f reads past visits (:math:`\bar S`) the branches are singular at z = 1, and f itself is enclosed for
:math:`|\mathrm{Im}\, s| \le \pi`.
"""

from cmath import exp, phase, sqrt
from math import atan2, cos, expm1, log, log1p, pi, sin

import numpy as np

prange = range  # numba's, where this is compiled
LARGEST = 700.0  # logarithm of the largest modulus that is told from infinity
MAX_CELLS = 4000


def cexpm1(s):
    """e^s - 1 for complex s, accurate near 0."""
    half = sin(0.5 * s.imag)
    growth = expm1(s.real)
    return complex(growth - 2.0 * (growth + 1.0) * half * half, 2.0 * (growth + 1.0) * half * cos(0.5 * s.imag))


def reciprocal(z):
    """1 / z; compiled, a plain division guards against overflow at five times the cost."""
    scale = 1.0 / (z.real * z.real + z.imag * z.imag)
    return complex(z.real * scale, -z.imag * scale)


def pencil(F, p, s):
    """The value of f and its derivative in s, both divided by w^m where Re s > 0, so that neither overflows."""
    m, n, r = F.shape[0] - 1, F.shape[1] - 1, F.shape[2] - 1
    zeta = cexpm1(s / p)
    dzeta = (1.0 + zeta) / p
    if s.real > 0.0:  # powers of x = v / w and y = 1 / w in place of v and 1
        if s.real > 1.0:
            y = exp(-s)
            x = 1.0 - y
        else:
            x = -cexpm1(-s)
            y = 1.0 - x
        dx, dy = y, -y
    else:
        x = cexpm1(s)
        y = 1.0 + 0.0j
        dx, dy = 1.0 + x, 0.0j
    S, dS = 0.0j, 0.0j
    if r > 0:
        if abs(s.real) + abs(s.imag) < 1e-4:
            second = (2.0 * p - 1.0) / (6.0 * p)
            S = 1.0 + s * (0.5 + 0.5 * second * s)
            dS = 0.5 + second * s
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


def polish(F, p, s):
    """Newton's method on f from s; nan where it does not settle."""
    before = np.inf
    for _ in range(40):
        f, df = pencil(F, p, s)
        if f == 0.0 or df == 0.0:
            break
        step = f * reciprocal(df)
        size = abs(step)
        s = s - (step if size <= 1.0 else step / size)
        if size <= 4e-16 * abs(s) or (size < 1e-8 and size >= 0.25 * before):  # no more digits to gain
            return s
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
    root = sqrt(b * b - c)
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


def drift(t, i, reach):
    """How far the coefficient of v^i can move while zeta moves by at most `reach`."""
    total = 0.0
    for b in range(t.shape[1] - 1, 0, -1):
        total = (total + abs(t[i, b])) * reach
    return total


# What a cell may turn out to be.
CLEAR, SPLIT, OUTSIDE = 0, 1, 2


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
    if not abs(lead) > drift(t, m, reach) or not branches(t, v):
        return SPLIT, 0.0j, lead, 0
    # All inside at once: on |w| = e^sigma the polynomial is larger than its drift over the cell.
    circle = expm1(sigma) + 1.0
    product, total = abs(lead), 0.0
    for j in range(m):
        product *= max(circle - abs(1.0 + v[j]), 0.0)
    for i in range(m, -1, -1):
        total = total * (1.0 + circle) + drift(t, i, reach)
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
        residue, linear, square = 0.0, 0.0, 0.0
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
        sweep = abs(rate) * half + error
        if sweep >= pi or rate == 0.0:
            return SPLIT, 0.0j, lead, 0
        if abs(distance) > sweep:
            continue
        meeting = -distance / rate
        shift = error / abs(rate)
        blur = error + tilt * shift
        level = excess - kappa.imag * meeting
        if level + blur < 0.0:
            continue
        if level - blur <= 0.0 or abs(meeting) + shift >= half:
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
    bound = 0.5 * second_derivative_bound(F, p, sigma)
    reach = np.zeros(count)  # how far up and down the line that factor is within 0.4 of 1
    for q in range(count):
        gap = sigma - known[q].real
        if 0.0 < gap < 0.1 and known[q].imag < pi + 1.0:
            _, slope = pencil(F, p, known[q])
            radius = 0.4 * abs(slope) / bound
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
        if abs(f + complex(-df.imag, df.real) * nearest) > bound * half * half:
            high = low + 2.0 * half
            f_high, _ = pencil(F, p, complex(sigma, high))
            turn += wrapped(phase(f) - phase(f_low)) + wrapped(phase(f_high) - phase(f))
            low, f_low = high, f_high
            width = min(4.0 * half, pi)
        else:
            width = half
    return turn


def leading(g, zeta):
    """The leading coefficient at a real zeta, as a complex number."""
    value = 0.0
    for j in range(g.shape[1] - 1, -1, -1):
        value = value * zeta + g[-1, j]
    return complex(value)


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
    """The zeros in zeta of the leading coefficient, beyond two by Durand and Kerner's iteration; returns their number."""
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
        slack = min(max(1e-7 * abs(top), 1e-13), 1e-9)
        outside, guess = roots_outside(F, g, p, top + slack, known, count, t, v)
        if outside == 0:
            return top, True
        count = add_known(F, p, guess, known, count)
        if known[0].real <= top:
            return top, False
    return known[0].real, False


def radii(coefficients, p, result, slope, certified):
    """`dominant_root` at every point: the logarithm of the radius, |f'| at that root, and the certificate."""
    for i in prange(len(coefficients)):
        known = np.full(8, np.nan + 0j)
        result[i], certified[i] = dominant_root(coefficients[i], p, known)
        _, derivative = pencil(coefficients[i], p, known[0])
        slope[i] = abs(derivative)
