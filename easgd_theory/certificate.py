r"""How many roots of a delay pencil lie outside a circle, with proof: docs/theory.md, section 8.

On the circle :math:`|z| = e^{\sigma/p}` the roots are counted where w passes a larger branch. Where all branches are
smaller is the sign of a polynomial (`easgd_theory.modulus`). On the other arcs f itself is followed, on cells in which
its tangent tells how far it turns around 0.
"""

from cmath import phase
from math import asin, cos, exp, expm1, log, pi, sin, sqrt

import numpy as np

from easgd_theory.modulus import P, all_inside, modulus_polynomials
from easgd_theory.pencil import (
    ROUNDING,
    branches,
    evaluate,
    from_half,
    length,
    log_modulus,
    polish,
    reciprocal,
    rounding,
    taylor,
    wrapped,
)

MAX_CELLS = 4000.0
WIDE = 2.0  # the next cell's center, in half widths of a cell
NARROW = 1.5  # how far s moves on a stretch that is not cut further
LONG = 60.0  # how far s moves on an arc that has hardly a chance to be without passes
FAST = 3.0  # how far s moves on a cell of a long arc, at most: more than seen


def bounds(F, p, sigma, size):
    """Bounds of what `inspect_cell` follows, where |zeta| <= size: of the terms of its derivative; of the second one.

    It is a sum of exponentials, with coefficients that are polynomials in zeta.
    """
    m, n, r = F.shape[0] - 1, F.shape[1] - 1, F.shape[2] - 1
    speed, circle = exp(sigma / p) / p, exp(-abs(sigma))  # |zeta'|, and |zeta''| p
    first, second = 0.0, 0.0
    for k in range(min(r, m) + 1):
        for power in range(m - k + 1):
            # w^power S^k w^(-m/2) is a mean of exponentials: the mean square of their exponents.
            square = (power + 0.5 * (k - m)) ** 2 + k / 12.0
            rate = sqrt(square)
            c, dc, ddc, a, da = 0.0, 0.0, 0.0, 0.0, 0.0
            for j in range(n, -1, -1):
                total, terms = 0.0, 0.0
                for i in range(power, m - k + 1):  # v^i = (w - 1)^i
                    term = F[i, j, k] * (i if power == 1 else 1.0)
                    total += term if (i - power) % 2 == 0 else -term
                    terms += abs(term)
                ddc = ddc * size + (2.0 * dc + c / p) * speed
                dc = dc * size + c * speed
                c = c * size + abs(total) + ROUNDING * terms
                da = da * size + a * speed
                a = a * size + terms
            weight = 1.0
            for _ in range(m - k - power if sigma > 0.0 else power):
                weight *= circle
            first += weight * ((rate + 0.5 * m) * a + da)
            second += weight * (square * c + 2.0 * rate * dc + ddc)
    return first, second


def inspect_cell(F, p, sigma, excess, t, first, second):
    """How far around s = sigma + i t the tangent of f w^(-m/2) tells its way around 0.

    Returns (left, right, value, slope, noise): at s + i x, where -left <= x <= right, the function is value + slope x,
    up to an error less than the modulus of that, and at s up to `noise`. It is scaled as `pencil` scales f. Its
    `bounds` are `first` and `second`.
    """
    m, r = F.shape[0] - 1, F.shape[2] - 1
    theta = t / p
    s1, c1, s2, c2 = sin(0.5 * t), cos(0.5 * t), sin(0.5 * theta), cos(0.5 * theta)
    if theta >= pi * (1.0 - 1e-15):  # z and w are real there
        s1, c1, s2, c2 = np.round(s1), np.round(c1), 1.0, 0.0
    zeta = from_half(excess, s2, c2)
    shrinking = expm1(-abs(sigma))
    if sigma > 0.0:
        x = -from_half(shrinking, -s1, c1)
        y = (1.0 + shrinking) * complex(1.0 - 2.0 * s1 * s1, -2.0 * s1 * c1)
        half_turn, shift = complex(c1, s1), 0.5 * m
    else:
        x, y = from_half(shrinking, s1, c1), 1.0 + 0.0j
        half_turn, shift = complex(c1, -s1), -0.5 * m
    value, slope = evaluate(F, p, complex(sigma, t), x, y, zeta)
    noise = rounding(F, p, length(x), 1.0 + shrinking if sigma > 0.0 else 1.0, length(zeta))
    slope = slope + shift * value
    slope = complex(-slope.imag, slope.real)
    value, slope = value * half_turn, slope * half_turn
    if m == 2:
        value, slope = value * half_turn, slope * half_turn
    blur = ROUNDING * first
    if r > 0:  # the derivative of S is a difference
        blur += blur / max(abs(sigma) + t, 1e-4)
    distance, speed = length(value), length(slope)
    if distance <= noise:
        return 0.0, 0.0, value, slope, noise
    # The error is at most noise + blur x + second x^2 / 2. First, the value's distance from 0 alone.
    rest, linear = distance - noise, speed + blur
    near = 1.96 * rest / (linear + sqrt(linear * linear + 2.0 * second * rest))
    # Or the error stays below kappa speed x + noise, and the line's distance from 0 above that.
    inverse = 1.0 / max(speed, 1e-300)
    along = (value.real * slope.real + value.imag * slope.imag) * inverse
    across = abs(value.imag * slope.real - value.real * slope.imag) * inverse
    clear = sqrt(distance * distance - noise * noise)
    left, right = near, near
    for side in range(2):
        ahead = along if side else -along
        kappa = 1.0
        if ahead * clear < noise * across:
            kappa = (across * clear + noise * ahead) / (distance * distance)
        far = 2.0 * (0.95 * kappa * speed - blur) / max(second, 1e-300)
        if side:
            right = max(right, far)
        else:
            left = max(left, far)
    return left, right, value, slope, noise


def crossing(a, b):
    """Whether the straight line from a to b crosses the negative real axis: 1 counterclockwise, -1 clockwise."""
    if (a.imag >= 0.0) == (b.imag >= 0.0):
        return 0
    turn = a.real * b.imag - a.imag * b.real
    if a.imag >= 0.0:
        return 1 if turn >= 0.0 else 0
    return -1 if turn < 0.0 else 0


def winding(point, J, sigma, zeta, t, value, noise):
    """The phase of g / (a_m w^m) as a sum of continuous parts; and its principal value, nan where that is unclear.

    `value` is that of `inspect_cell` at s = sigma + i t. The phase of z - 1, or of z minus a zero of a_m, is that of z
    and a part that stays below pi / 2 for one inside the circle; for one outside it is such a part and a constant.
    """
    g, p, zeros = point.g, point.p, point.zeros
    m, r = g.shape[0] - 1, point.F.shape[2] - 1
    inverse, constant = reciprocal(1.0 + zeta), complex(g[m, J])
    total = phase(complex(value.real, value.imag + 0.0)) - 0.5 * m * t  # as for `crossing`, -0.0 is above the axis
    for _ in range(r):
        if sigma > 0.0:
            total += t / p + phase(zeta * inverse)
        else:
            total += phase(-zeta)
            constant = -constant
    for i in range(J):
        if log_modulus(zeros[i]) < sigma / p:
            total -= t / p + phase((zeta - zeros[i]) * inverse)
        else:
            z = 1.0 + zeros[i]
            total -= phase((zeros[i] - zeta) * reciprocal(z))
            constant = constant * -z
    principal = wrapped(total + (0.0 if constant.real > 0.0 else pi))
    return total, principal if abs(principal) + 2.0 * noise / max(length(value), 1e-300) < 3.0 else np.nan


def keep_cell(point, q, sigma, excess, t, first, second):
    """Inspect the cell around t, and keep on the stack: t and noise, half widths, value, slope."""
    nodes = point.nodes
    left, right, nodes[q, 2], nodes[q, 3], noise = inspect_cell(point.F, point.p, sigma, excess, t, first, second)
    nodes[q, 0], nodes[q, 1] = complex(t, noise), complex(left, right)


def passes_on_arc(point, J, sigma, excess, low, high, known, count, patience):
    """The signed passes on the arc [low, high] and its mirror image; a guess of a root, or 0.

    nan instead where they are unclear, inf where that is for the ends of the arc.
    """
    p, nodes = point.p, point.nodes
    begin = from_half(excess, sin(0.5 * low), cos(0.5 * low))
    end = from_half(excess, sin(0.5 * high), cos(0.5 * high))
    first, second = bounds(point.F, p, sigma, length(end))
    t, last, cells, best = p * low, p * high, 0.0, 0.0j
    if last - t > LONG:
        root = polish(point.F, p, crest(point, excess, low, high))
        if root.real > sigma or patience < min(MAX_CELLS, (last - t) / FAST):
            return np.nan, root
    _, right, value, slope, noise = inspect_cell(point.F, p, sigma, excess, t, first, second)
    before, principal = winding(point, J, sigma, begin, t, value, noise)
    before -= principal if low > 0.0 else 0.0
    keep_cell(point, 0, sigma, excess, last, first, second)
    total, principal = winding(point, J, sigma, end, last, nodes[0, 2], nodes[0, 0].imag)
    total -= before + (principal if high < pi else 0.0)
    if not total < np.inf:
        return np.inf, best
    depth = 1
    if count > 0 and t < known[0].imag < last:
        keep_cell(point, 1, sigma, excess, known[0].imag, first, second)
        depth = 2
    while depth > 0:
        top = depth - 1
        gap, left = nodes[top, 0].real - t, nodes[top, 1].real
        if gap <= right + left:
            step = min(right, gap)
            a, b = value + step * slope, nodes[top, 2] - (gap - step) * nodes[top, 3]
            total += 2.0 * pi * (crossing(value, a) + crossing(a, b) + crossing(b, nodes[top, 2]))
            t, right, value, slope = nodes[top, 0].real, nodes[top, 1].imag, nodes[top, 2], nodes[top, 3]
            depth = top
            continue
        if right <= left or 2 * depth > len(nodes):
            middle = t + next_cell(value, slope, right, gap)
        else:
            middle = nodes[top, 0].real - next_cell(nodes[top, 2], -nodes[top, 3], left, gap)
        cells += 1.0
        if not t < middle < nodes[top, 0].real or depth == len(nodes) or cells > patience:
            return np.nan, best
        keep_cell(point, depth, sigma, excess, middle, first, second)
        best = better_guess(point, complex(sigma, middle), nodes[depth, 2], nodes[depth, 3], best)
        depth += 1
    passes = -np.round(total / pi)
    return passes if abs(total + passes * pi) < 0.5 else np.nan, best


def crest(point, excess, low, high):
    """A guess of a root: where on the arc [low, high] a branch is largest."""
    g, p, t, v = point.g, point.p, point.t, point.v
    level, where, step = -np.inf, low, np.inf
    w = 1.0 + 0.0j
    while p * step > 1.0:
        step = 0.125 * (high - low)
        for q in range(9):
            theta = low + q * step
            taylor(g, from_half(excess, sin(0.5 * theta), cos(0.5 * theta)), t)
            if branches(t, v):
                for j in range(len(v)):
                    if log_modulus(v[j]) > level:
                        level, where, w = log_modulus(v[j]), theta, 1.0 + v[j]
        low, high = max(low, where - step), min(high, where + step)
    return complex(level, p * where - wrapped(p * where - phase(w)))


def next_cell(value, slope, reach, gap):
    """How far from a cell that reaches so far the next one is best: where the tangent comes nearest to 0, or beyond."""
    ahead = -(value.real * slope.real + value.imag * slope.imag)
    square = slope.real * slope.real + slope.imag * slope.imag
    if reach * square < ahead < WIDE * reach * square:
        return min(ahead / square, 0.9 * gap)
    return min(WIDE * reach, 0.6 * gap)


def better_guess(point, s, value, slope, best):
    """Of two guesses of a root the larger: the one before, and where f, if it were w minus a branch, would be 0."""
    shift = 0.5 * (point.F.shape[0] - 1)
    derivative = complex(slope.imag, -slope.real) + shift * value
    if derivative == 0.0:
        return best
    ratio = 1.0 - value * reciprocal(derivative)
    size = length(ratio)
    if ratio.real > abs(ratio.imag) and size > 1.0:
        guess = s + complex(log(size), phase(ratio))
        if best == 0.0 or guess.real > best.real:
            return guess
    return best


def zeros_outside(point, J, sigma):
    """How many of the J zeros of the leading coefficient lie outside the circle, or -1 where unclear.

    The discs around them that Smith (1970, J. ACM 17) gives hold all zeros, each cluster as many as it has discs. They
    are far from the circle: `winding` takes their centers for the zeros, and must not be wrong by more than 0.1.
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
        if not radius < 0.1 / J * abs(expm1(distance)) * exp(sigma / point.p) * others:
            return -1
        outside += distance > 0.0
    return outside


def angle(y):
    """The angle whose cosine is 1 - y."""
    return 2.0 * asin(sqrt(min(0.5 * max(y, 0.0), 1.0)))


def roots_outside(point, J, sigma, known, count, patience):
    """Number of roots with Re s > sigma, nan if that is not to be had; and a guess of the largest, 0 if none was met.

    N - (turns of g) = (zeros of the leading coefficient outside) + (passes of the branches, with their signs). No more
    than `patience` cells of an arc are looked at.
    """
    p, hints, r = point.p, point.hints, point.F.shape[2] - 1
    outside = zeros_outside(point, J, sigma)
    excess = expm1(sigma / p)
    if outside < 0 or excess == 0.0:
        return np.nan, 0.0j
    total = outside - (r if sigma < 0.0 else 0.0)  # g has r roots at z = 1 that f has not
    degree = modulus_polynomials(point, sigma, excess)
    best, step = 0.0j, NARROW / p
    low, width, since, begin = 0.0, 2.0, 0.0, -1.0  # in y = 1 - cos theta: no branch is larger from, a branch from
    if point.polynomials[P, 0] <= 0.0:
        begin = 0.0
        if hints[0] > 0.0:
            width = 0.9 * hints[0]
    while low < 2.0:
        narrow = max(step * (sqrt(2.0 * low) + step), 0.1 * (low - begin) if begin >= 0.0 else 0.0)
        width = min(width, 2.0 - low)
        clear, larger = all_inside(point, degree, excess, low, width, min(narrow, 0.9 * width))
        if clear == 0.0:
            if begin < 0.0:
                begin = low
            width = min(max(larger, narrow), 2.0 - low)
            low += width
            width *= 2.0
        if begin >= 0.0 and (clear > 0.0 or low >= 2.0):
            if begin == 0.0:
                hints[0] = low
            for wider in (0.0, narrow):  # the ends of the arc are clear, but may be so near a root that this is not
                start = angle(max(begin - wider, since)) * (1.0 - 1e-12)
                end = min(angle(min(low + wider, low + clear)) * (1.0 + 1e-12), pi)
                passes, guess = passes_on_arc(point, J, sigma, excess, start, end, known, count, patience)
                if passes != np.inf:
                    break
            total += passes
            if guess != 0.0 and (best == 0.0 or guess.real > best.real):
                best = guess
            begin = -1.0
        if clear > 0.0:
            since = low
            low += clear
            width = 16.0 * clear
    return total, best
