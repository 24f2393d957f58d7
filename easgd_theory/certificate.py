r"""How many roots of a delay pencil lie outside a circle, with proof: docs/theory.md, section 8.

On the circle :math:`|z| = e^{\sigma/p}` the roots are counted where w passes a larger branch. Where all branches are
smaller is the sign of a polynomial (`easgd_theory.modulus`). The other arcs are cut into cells; in each, Rouché's
theorem encloses every branch, which is found smaller than w, or apart from it in phase, or passed by it.
"""

from cmath import phase
from math import asin, cos, exp, expm1, pi, sin, sqrt

import numpy as np

from easgd_theory.modulus import ROUNDING, all_inside, modulus_polynomials
from easgd_theory.pencil import branches, length, log_modulus, reciprocal, taylor, wrapped

MAX_CELLS = 4000.0

# What a cell may turn out to be.
CLEAR, SPLIT, OUTSIDE = 0, 1, 2


def inspect_cell(g, p, t, v, sigma, excess, theta, half, known, count):
    """Enclose all branches over a cell of the circle |z| = 1 + excess = e^(sigma/p).

    Returns (verdict, guess, passes): SPLIT if the cell is too wide to tell, OUTSIDE with the guess of a root's s if w
    overtakes a branch that is larger, else CLEAR. `passes` counts those with their signs: near a zero of the leading
    coefficient, or of the discriminant, a branch may turn faster than w.
    """
    m = g.shape[0] - 1
    zeta = on_circle(excess, theta)
    taylor(g, zeta, t)
    if not branches(t, v):
        return SPLIT, 0.0j, 0
    size, reach, circle = length(zeta), (1.0 + excess) * half, exp(sigma)
    spread, passes, guess = 0.0, 0, 0.0j
    for j in range(m):
        slope, rest = enclose(g, t, v[j], size, reach)
        if not rest < np.inf:
            return SPLIT, 0.0j, 0
        w, far = 1.0 + v[j], length(slope) * reach + rest
        spread += far
        size_w = length(w)
        if size_w + far < circle:
            continue
        X = far / size_w
        if X >= 0.5:
            return SPLIT, 0.0j, 0
        kappa = slope * (1.0 + zeta) * reciprocal(w)
        # log omega = log w + kappa delta up to `error` where |delta| = |log z - log z_c| <= log(1 + half)
        error = 0.5 * length(kappa) * half * half + rest / size_w + X * X / (2.0 * (1.0 - X))
        higher = log_modulus(v[j]) - sigma
        tilt = abs(kappa.imag)
        if higher + tilt * half + error < 0.0:
            continue
        distance = wrapped(p * theta - phase(w))
        rate = p - kappa.real
        blur = error + ROUNDING * (p * (abs(theta) + half) + 2.0)  # of the phase: p theta is rounded
        sweep = abs(rate) * half + blur
        if sweep >= pi or rate == 0.0:
            return SPLIT, 0.0j, 0
        if abs(distance) > sweep:
            continue
        meeting, shift = -distance / rate, blur / abs(rate)
        doubt = error + tilt * shift
        level = higher - kappa.imag * meeting
        if level + doubt < 0.0:
            continue
        if abs(meeting) + shift >= half:
            return SPLIT, 0.0j, 0
        if level - doubt > 0.0:
            if rate > 0.0:
                guess = complex(sigma + level, p * (theta + meeting))
            passes += 1 if rate > 0.0 else -1
            continue
        start = complex(higher, -distance)
        side = side_of_known(p, complex(sigma / p, theta), half, start, p - kappa, error, blur, known, count)
        if side == 0 or abs(meeting) + shift > 0.4 * half:
            return SPLIT, 0.0j, 0
        passes += side > 0
        spread += 4.0 * size_w * (error + blur)  # so that the root is of this branch, not of the other
    if m == 2 and length(v[0] - v[1]) <= spread:
        return SPLIT, 0.0j, 0
    return CLEAR if guess == 0.0 else OUTSIDE, guess, passes


def on_circle(excess, theta):
    """(1 + excess) e^(i theta) - 1."""
    s, c = sin(0.5 * theta), cos(0.5 * theta)
    twice = 2.0 * (1.0 + excess) * s
    return complex(excess - twice * s, twice * c)


def enclose(g, t, v, size, reach):
    """A branch is v + slope dz + u with |u| <= rest where |dz| <= reach, by Rouché's theorem; rest = inf if not."""
    m, J = t.shape[0] - 1, t.shape[1] - 1
    gw, gz = t[1, 0], 0.0j
    if m == 2:
        gw += 2.0 * v * t[2, 0]
    if J > 0:
        for i in range(m, -1, -1):
            gz = gz * v + t[i, 1]
    if gw == 0.0 or v == -1.0:
        return 0.0j, np.inf
    slope = -gz * reciprocal(gw)
    bend, far = length(slope) * reach, length(v)
    noise = 0.0
    for i in range(m, -1, -1):
        row = 0.0
        for b in range(J, -1, -1):
            row = row * size + abs(g[i, b])
        noise = noise * far + row
    residue, linear, square = ROUNDING * noise, 0.0, 0.0
    power = 1.0
    for b in range(J + 1):
        ga = t[1, b]
        if m == 2:
            g2 = length(t[2, b]) * power
            square += g2
            residue += g2 * bend * bend
            linear += 2.0 * g2 * bend
            ga += 2.0 * v * t[2, b]
        if b >= 1:
            extent = length(ga) * power
            residue += extent * bend
            linear += extent
        if b >= 2:
            g0 = t[0, b] + v * t[1, b]
            if m == 2:
                g0 += v * v * t[2, b]
            residue += length(g0) * power
        power *= reach
    gap = length(gw) - linear
    if gap <= 0.0 or 4.0 * square * residue >= gap * gap:
        return slope, np.inf
    return slope, 2.0 * residue / gap


def side_of_known(p, center, half, start, speed, error, blur, known, count):
    """If a known root is where w meets the branch, on which side of the circle: 1 outside, -1 inside; else 0.

    With delta = log z - center, F = log omega - log w is `start` - speed delta up to `error`. Where Cauchy's bound of
    the error's derivative is below half of |speed|, F is injective: the known root is its only zero, and decides the
    sign of log |omega / w| at the meeting.
    """
    disc = half / (1.0 + 0.5 * half)
    if not (4.0 * error < disc * length(speed) and speed.real > 0.5 * length(speed) and error + blur < 0.1):
        return 0
    for q in range(count):
        for mirrored in range(2):
            s = known[q].conjugate() if mirrored else known[q]
            delta = complex(s.real / p - center.real, wrapped(s.imag / p - center.imag))
            if length(delta) < 0.5 * disc and length(start - speed * delta) <= 2.0 * (error + blur):
                return 1 if delta.real > 0.0 else -1
    return 0


def zeros_outside(point, J, sigma):
    """How many of the J zeros of the leading coefficient lie outside the circle, or -1 where unclear.

    The discs around them that Smith (1970, J. ACM 17) gives hold all zeros, each cluster as many as it has discs.
    """
    g, zeros = point.g, point.zeros
    m = g.shape[0] - 1
    outside = 0
    for i in range(J):
        value, size = 0.0j, 0.0
        for j in range(J, -1, -1):
            value = value * zeros[i] + g[m, j]
            size = size * length(zeros[i]) + abs(g[m, j])
        others = abs(g[m, J])
        for q in range(J):
            if q != i:
                others *= length(zeros[i] - zeros[q])
        radius = J * (length(value) + ROUNDING * size)
        distance = log_modulus(zeros[i]) - sigma / point.p
        if not radius < 0.9 * abs(expm1(distance)) * exp(sigma / point.p) * others:
            return -1
        outside += distance > 0.0
    return outside


def passes_on_arc(point, sigma, excess, low, high, known, count, patience):
    """The signed passes on the arc [low, high] and its mirror image, nan where unclear; the best guess, or 0."""
    width, first, cells, total, best = high - low, low, 0, 0.0, 0.0j
    end = high >= pi
    g, p, t, v = point.g, point.p, point.t, point.v
    if low == 0.0 and point.hints[1] > 0.0:
        width = min(2.0 * point.hints[1], width)
    while low < high:
        half = 0.5 * width
        center, weight = low + half, 2.0
        # Where the arc touches the real axis a cell lies across it, its own mirror image.
        if low == 0.0:
            center, half, weight = 0.0, width, 1.0
        elif end and low + width >= pi:
            center, half, weight = pi, pi - low, 1.0
        verdict, guess, passes = inspect_cell(g, p, t, v, sigma, excess, center, half, known, count)
        cells += 1
        if verdict == OUTSIDE and (best == 0.0 or guess.real > best.real):
            best = guess
        if cells > MAX_CELLS or (cells > patience and best != 0.0):
            return np.nan, best
        if verdict != SPLIT:
            total += weight * passes
            if low == 0.0:
                point.hints[1] = half
            low = center + half
            if low >= high * (1.0 - 1e-15):
                low = high
            width = min(4.0 * half, high - low)
        else:
            width = (0.5 if low > first else 0.125) * min(width, high - low)
            if width < 1e-30 or low + width == low:
                return np.nan, best
    return total, best


def angle(y):
    """The angle whose cosine is 1 - y."""
    return 2.0 * asin(sqrt(min(0.5 * max(y, 0.0), 1.0)))


def roots_outside(point, J, sigma, known, count, patience):
    """Number of roots with Re s > sigma, nan if that is not to be had; and a guess of the largest, 0 if none was met.

    N - (turns of g) = (zeros of the leading coefficient outside) + (passes of the branches, with their signs). Once a
    root is met, no more than `patience` cells of an arc are looked at.
    """
    p, hints, r = point.p, point.hints, point.F.shape[2] - 1
    outside = zeros_outside(point, J, sigma)
    if outside < 0:
        return np.nan, 0.0j
    total = outside - (r if sigma < 0.0 else 0.0)  # g has r roots at z = 1 that f has not
    excess = expm1(sigma / p)
    degree = modulus_polynomials(point, sigma, excess)
    best, step = 0.0j, 0.05 * pi / p
    low, width, begin = 0.0, 2.0, -1.0  # in y = 1 - cos theta; where a branch begins to be larger
    if point.polynomials[1, 0] <= 0.0:
        begin = 0.0
        if hints[0] > 0.0:
            width = 0.9 * hints[0]
    while low < 2.0 or begin >= 0.0:
        width = min(width, 2.0 - low)
        inside, larger = True, False
        if low < 2.0:
            inside, larger = all_inside(point, degree, excess, low, width)
        if inside and begin >= 0.0:
            if begin == 0.0:
                hints[0] = low
            start, end = angle(begin) * (1.0 - 1e-12), min(angle(low) * (1.0 + 1e-12), pi)
            passes, guess = passes_on_arc(point, sigma, excess, start, end, known, count, patience)
            total += passes
            if guess != 0.0 and (best == 0.0 or guess.real > best.real):
                best = guess
            begin = -1.0
        narrow = width <= 0.2 * low or width <= step * (sqrt(2.0 * low) + step)
        if inside or narrow or (begin >= 0.0 and larger):
            if not inside and begin < 0.0:
                begin = low
            low += width
            width *= 16.0 if inside else 2.0
        else:
            width *= 0.25
    return total, best
