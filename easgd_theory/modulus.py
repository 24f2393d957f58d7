r"""Where every branch of a delay pencil is smaller than w, as the sign of a polynomial in one real variable.

On the circle :math:`z = R e^{i\theta}` put :math:`y = 1 - \cos\theta`. By :math:`w = \rho (1 + q)/(1 - q)` the disc
:math:`|w| < \rho` is the half plane Re q < 0, and g becomes :math:`\alpha q^2 + \beta q + \gamma`, whose roots lie
there iff (Hurwitz, for complex coefficients)

.. math:: X = \Re(\beta \bar\alpha) > 0, \qquad P = X \Re(\beta \bar\gamma) - \Im(\gamma \bar\alpha)^2 > 0 .

The coefficients are real polynomials in zeta, so X and P are real polynomials in y. For degree 1 the condition is
:math:`\Re(\gamma \bar\beta) > 0`. No difference of large terms is taken: near z = 1 the signs keep their meaning.
"""

from math import exp, expm1, sqrt

ROUNDING = 4e-15  # of a sum of a few terms, with a margin


def half_plane(g, sigma, a):
    """Rows of `a`, highest power first: the coefficients in q (polynomials in zeta) of g on |w| < e^sigma."""
    m, J = g.shape[0] - 1, g.shape[1] - 1
    one = exp(-max(sigma, 0.0))  # all is divided by rho where that is large
    low = expm1(sigma) if sigma <= 0.0 else -expm1(-sigma)  # v = (low + high q) / (one (1 - q))
    high = low + 2.0 * one
    for j in range(J + 1):
        if m == 1:
            a[0, j] = g[1, j] * high - g[0, j] * one
            a[1, j] = g[1, j] * low + g[0, j] * one
        else:
            g0, g1, g2 = g[0, j] * one * one, g[1, j] * one, g[2, j]
            a[0, j] = (g2 * high - g1) * high + g0
            a[1, j] = 2.0 * g2 * low * high + g1 * (high - low) - 2.0 * g0
            a[2, j] = (g2 * low + g1) * low + g0


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


def product(a, b, kind, excess, basis, out):
    """Re(a conj b), or with kind = 1 Im(a conj b) / Im zeta, as a polynomial in y."""
    J = len(a) - 1
    square = excess * excess  # |zeta|^2 = square + slope y
    slope = 2.0 * (1.0 + excess)
    sign = 1.0 - 2.0 * kind
    out[:] = 0.0
    for c in range(J, -1, -1):
        for k in range(J, 0, -1):
            out[k] = out[k] * square + out[k - 1] * slope
        out[0] *= square
        for d in range(J - c + 1):
            scale = a[c + d] * b[c]
            if d > 0:
                scale += sign * a[c] * b[c + d]
            for k in range(d + 1):
                out[k] += scale * basis[kind, d, k]


def modulus_polynomials(point, sigma, excess):
    """Fill polynomials[0] with X and polynomials[1] with P (for m = 1 with X as well); returns the degree of P."""
    m, J = point.g.shape[0] - 1, point.g.shape[1] - 1
    a, basis = point.half_plane, point.basis
    half_plane(point.g, sigma, a)
    powers(excess, basis)
    X, P, Y, Z = point.polynomials[0], point.polynomials[1], point.polynomials[2], point.polynomials[3]
    if m == 1:
        product(a[1], a[0], 0, excess, basis, X)
        P[:] = X
        return J
    product(a[1], a[0], 0, excess, basis, X)
    product(a[1], a[2], 0, excess, basis, Y)
    product(a[2], a[0], 1, excess, basis, Z)
    P[:] = 0.0
    scale = (1.0 + excess) * (1.0 + excess)  # (Im zeta)^2 = scale (2 y - y^2)
    for i in range(J + 1):
        for k in range(J + 1):
            P[i + k] += X[i] * Y[k]
            if i < J and k < J:
                square = scale * Z[i] * Z[k]
                P[i + k + 1] -= 2.0 * square
                P[i + k + 2] += square
    return 2 * J


def all_inside(point, degree, excess, low, width):
    """Over [low, low + width]: whether every branch is smaller than w, and whether one is larger at the upper end."""
    a, X, P, t = point.half_plane, point.polynomials[0], point.polynomials[1], point.polynomials[4]
    m, J = a.shape[0] - 1, a.shape[1] - 1
    for k in range(degree + 1):
        t[k] = P[k]
    for b in range(degree):  # Taylor coefficients at the lower end
        for k in range(degree - 1, b - 1, -1):
            t[k] += low * t[k + 1]
    least, end = 0.0, 0.0
    for k in range(degree, 0, -1):
        least = (least + min(t[k], 0.0)) * width
        end = (end + t[k]) * width
    # Rounding is at most a multiple of the terms' size.
    size = sqrt(excess * excess + 2.0 * (1.0 + excess) * (low + width))
    largest = 0.0
    for i in range(m + 1):
        total = 0.0
        for j in range(J, -1, -1):
            total = total * size + abs(a[i, j])
        largest = max(largest, total)
    noise = ROUNDING * 4.0**J * largest * largest
    if m == 1:
        return least + t[0] > noise, end + t[0] < 0.0
    # Where P > 0, X keeps its sign: one point tells it.
    sign = 0.0
    for j in range(J, -1, -1):
        sign = sign * low + X[j]
    return least + t[0] > noise * largest * largest and sign > noise, end + t[0] < 0.0 or sign < 0.0
