r"""Where every branch of a delay pencil is smaller than w, as the sign of a polynomial in one real variable.

On the circle :math:`z = R e^{i\theta}` put :math:`y = 1 - \cos\theta`. By :math:`w = \rho (1 + q)/(1 - q)` the disc
:math:`|w| < \rho` is the half plane Re q < 0, and g becomes :math:`\alpha q^2 + \beta q + \gamma`, whose roots lie
there iff (Hurwitz, for complex coefficients)

.. math:: X = \Re(\beta \bar\alpha) > 0, \qquad P = X \Re(\beta \bar\gamma) - \Im(\gamma \bar\alpha)^2 > 0 .

The coefficients are real polynomials in zeta, so X and P are real polynomials in y. For degree 1 the condition is
:math:`\Re(\gamma \bar\beta) > 0`. No difference of large terms is taken: near z = 1 the signs keep their meaning.
"""

from math import exp, expm1, sqrt

from easgd_theory.pencil import ROUNDING

X, P, Y, Z, SHIFTED = range(5)  # rows of a point's polynomials; compiled, an index costs less than a view of a row


def half_plane(g, sigma, a, sizes):
    """Rows of `a`, highest power first: the coefficients in q (polynomials in zeta) of g on |w| < e^sigma.

    Rows of `sizes`: the sums of their terms' moduli.
    """
    m, J = g.shape[0] - 1, g.shape[1] - 1
    one = exp(-max(sigma, 0.0))  # all is divided by rho where that is large
    low = expm1(sigma) if sigma <= 0.0 else -expm1(-sigma)  # v = (low + high q) / (one (1 - q))
    high = low + 2.0 * one
    for j in range(J + 1):
        if m == 1:
            g0, g1 = g[0, j] * one, g[1, j]
            a[0, j] = g1 * high - g0
            a[1, j] = g1 * low + g0
            sizes[0, j] = abs(g1) * high + abs(g0)
            sizes[1, j] = abs(g1 * low) + abs(g0)
        else:
            g0, g1, g2 = g[0, j] * one * one, g[1, j] * one, g[2, j]
            a[0, j] = (g2 * high - g1) * high + g0
            a[1, j] = 2.0 * g2 * low * high + g1 * (high - low) - 2.0 * g0
            a[2, j] = (g2 * low + g1) * low + g0
            g0, g1, g2, near = abs(g0), abs(g1), abs(g2), abs(low)
            sizes[0, j] = (g2 * high + g1) * high + g0
            sizes[1, j] = 2.0 * g2 * near * high + g1 * (high - low) + 2.0 * g0
            sizes[2, j] = (g2 * near + g1) * near + g0


def powers(excess, basis):
    """basis[0, d] and basis[1, d]: Re zeta^d and Im zeta^d / Im zeta as polynomials in y; R = 1 + excess."""
    J = basis.shape[1] - 1
    radius = 1.0 + excess
    basis[:, :, :] = 0.0
    basis[0, 0, 0] = 1.0
    if J > 0:
        basis[0, 1, 0], basis[0, 1, 1], basis[1, 1, 0] = excess, -radius, 1.0
    for d in range(2, J + 1):
        for kind in range(2):  # zeta^d = 2 Re(zeta) zeta^(d-1) - |zeta|^2 zeta^(d-2)
            for k in range(d + 1):
                total = 2.0 * excess * basis[kind, d - 1, k] - excess * excess * basis[kind, d - 2, k]
                if k > 0:
                    total -= 2.0 * radius * (basis[kind, d - 1, k - 1] + basis[kind, d - 2, k - 1])
                basis[kind, d, k] = total


def product(a, first, second, kind, excess, basis, out, row):
    """Re(a conj b), or with kind = 1 Im(a conj b) / Im zeta, as a polynomial in y; rows of `a`, a row of `out`."""
    J = a.shape[1] - 1
    square = excess * excess  # |zeta|^2 = square + slope y
    slope = 2.0 * (1.0 + excess)
    sign = 1.0 - 2.0 * kind
    for k in range(J + 1):
        out[row, k] = 0.0
    for c in range(J, -1, -1):
        for k in range(J, 0, -1):
            out[row, k] = out[row, k] * square + out[row, k - 1] * slope
        out[row, 0] *= square
        for d in range(J - c + 1):
            scale = a[first, c + d] * a[second, c]
            if d > 0:
                scale += sign * a[first, c] * a[second, c + d]
            for k in range(d + 1):
                out[row, k] += scale * basis[kind, d, k]


def modulus_polynomials(point, sigma, excess):
    """Fill the rows X and P of the point's polynomials (for m = 1 with X as well); returns the degree of P."""
    m, J = point.g.shape[0] - 1, point.g.shape[1] - 1
    a, basis, rows = point.half_plane, point.basis, point.polynomials
    half_plane(point.g, sigma, a, point.sizes)
    powers(excess, basis)
    product(a, 1, 0, 0, excess, basis, rows, X)
    if m == 1:
        for k in range(J + 1):
            rows[P, k] = rows[X, k]
        return J
    product(a, 1, 2, 0, excess, basis, rows, Y)
    product(a, 2, 0, 1, excess, basis, rows, Z)
    scale = (1.0 + excess) * (1.0 + excess)  # (Im zeta)^2 = scale (2 y - y^2)
    for k in range(2 * J + 1):
        rows[P, k] = 0.0
    for i in range(J + 1):
        for k in range(J + 1):
            rows[P, i + k] += rows[X, i] * rows[Y, k]
            if i < J and k < J:
                square = scale * rows[Z, i] * rows[Z, k]
                rows[P, i + k + 1] -= 2.0 * square
                rows[P, i + k + 2] += square
    return 2 * J


def noises(point, size):
    """How far rounding may move the values of X and P where |zeta| <= size.

    It is a multiple of the terms' size; and where w is small, the coefficients in q are small differences, moved by
    rounding themselves: by a multiple of their own terms' size.
    """
    a, sizes = point.half_plane, point.sizes
    m, J = a.shape[0] - 1, a.shape[1] - 1
    A, B, C, dA, dB, dC = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(J, -1, -1):
        A, B, C = A * size + abs(a[0, j]), B * size + abs(a[1, j]), C * size + abs(a[m, j])
        dA, dB, dC = dA * size + sizes[0, j], dB * size + sizes[1, j], dC * size + sizes[m, j]
    dA, dB, dC = ROUNDING * dA, ROUNDING * dB, ROUNDING * dC
    A, B, C = A + dA, B + dB, C + dC
    X = ROUNDING * 4**J * A * B + A * dB + B * dA
    if m == 1:
        return X, X
    both = A * dC + C * dA
    return X, ROUNDING * 16**J * A * C * (B * B + A * C) + B * (B * both + 2.0 * A * C * dB) + 2.0 * A * C * both


def all_inside(point, degree, excess, low, width, narrow):
    """Widths of two stretches from `low` on, of at most `width`, 0 if there is none that is wider than `narrow`.

    Over the first every branch is smaller than w; if there is none, at the end of the second one is larger.
    """
    rows, J = point.polynomials, point.g.shape[1] - 1
    for k in range(degree + 1):
        rows[SHIFTED, k] = rows[P, k]
    for b in range(degree):  # Taylor coefficients at the lower end
        for k in range(degree - 1, b - 1, -1):
            rows[SHIFTED, k] += low * rows[SHIFTED, k + 1]
    begin = 0.0
    for j in range(J, -1, -1):
        begin = begin * low + rows[X, j]
    larger = 0.0
    while width > narrow:
        least, end = 0.0, 0.0
        for k in range(degree, 0, -1):
            least = (least + min(rows[SHIFTED, k], 0.0)) * width
            end = (end + rows[SHIFTED, k]) * width
        sign = 0.0  # where P > 0, X keeps its sign: one point tells it
        for j in range(J, -1, -1):
            sign = sign * (low + width) + rows[X, j]
        noise, blur = noises(point, sqrt(excess * excess + 2.0 * (1.0 + excess) * (low + width)))
        if least + rows[SHIFTED, 0] > blur and begin > noise:
            return width, 0.0
        if larger == 0.0 and (end + rows[SHIFTED, 0] < 0.0 or sign < 0.0):
            larger = width
        width *= 0.5
    return 0.0, larger
