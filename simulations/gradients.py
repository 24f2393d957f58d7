"""The objectives' gradients and values, for the kernels: compiled, over plain numbers and arrays.

A *slope* is one entry of a gradient: it takes that entry x of the point, its coefficient, two variates z and y of this
entry, and two scalars. A *gradient* computes all coefficients of a group of workers at once, where they depend on the
point; its arrays are flat, of shape (workers of the group, coordinates, replicas), `who` tells the workers in the shape
(workers of the group, replicas), and variate number a of an entry lies ``a * apart`` entries further than the entry. A
*term* is what one coordinate adds to the loss, from that entry of the point and the objective's coefficient; a *loss*
that is no sum of terms takes points of shape (rounds, coordinates, replicas) and writes values of shape (rounds,
replicas).
"""

from __future__ import annotations

from math import exp, log1p, sqrt


def curvature(x, h, z, y, scalars):
    """Slope: a curvature, and additive noise."""
    return h * x + scalars[0] * z


def random_curvature(x, h, z, y, scalars):
    """Slope: a curvature with its own noise, and additive noise."""
    noise, deviation = scalars
    return (h + deviation * y) * x + noise * z


def plus_noise(x, g, z, y, scalars):
    """Slope: a coefficient that is the gradient itself, and additive noise."""
    return g + scalars[0] * z


def parabola(x, h):
    """Term: of a quadratic."""
    return 0.5 * h * x**2


def matrix_gradient(points, out, variates, apart, who, data):
    """Gradient: a matrix for each worker."""
    matrices, _ = data
    workers, lanes = who.shape
    d = matrices.shape[1]
    x, g = points.reshape(workers, d, lanes), out.reshape(workers, d, lanes)
    for i in range(workers):
        for j in range(d):
            for r in range(lanes):
                g[i, j, r] = 0.0
            for m in range(d):
                for r in range(lanes):
                    g[i, j, r] += matrices[who[i, r], j, m] * x[i, m, r]


def matrix_loss(x, out, data):
    """Loss: quadratic, with the mean of the matrices."""
    _, mean = data
    out[:] = 0.0
    for t in range(x.shape[0]):
        for j in range(x.shape[1]):
            for m in range(x.shape[1]):
                for r in range(x.shape[2]):
                    out[t, r] += 0.5 * mean[j, m] * x[t, j, r] * x[t, m, r]


def given(x, g, z, y, scalars):
    """Slope: the coefficient, which has its noise."""
    return g


def regression(points, out, variates, apart, who, data):
    """Gradient: of the residual of one new sample.

    The first variates are the inputs, normals, or gammas whose roots take the signs of the third; the second are the
    labels.
    """
    root, (noise, shape) = data
    workers, lanes = who.shape
    for i in range(workers):
        for r in range(lanes):
            first = i * root.size * lanes + r
            residual = -noise * variates[apart + first]
            for j in range(root.size):
                e = first + j * lanes
                u = variates[e]
                if shape != 0.5:
                    u = sqrt(u / shape) if variates[2 * apart + e] > 0.0 else -sqrt(u / shape)
                out[e] = root[j] * u
                residual += out[e] * points[e]
            for j in range(root.size):
                out[first + j * lanes] *= residual


def double_well(x, one, z, y, scalars):
    """Slope: of (1 - x^2)^2 / 4."""
    return x * (x * x - one) + scalars[0] * z


def well(x, one):
    """Term: (1 - x^2)^2 / 4."""
    return 0.25 * (one - x**2) ** 2


def logistic_gradient(points, out, variates, apart, who, data):
    """Gradient: of the penalized logistic loss of all samples, each times its label."""
    signed, penalty = data
    workers, lanes = who.shape
    n, d = signed.shape
    for i in range(workers):
        for r in range(lanes):
            first = i * d * lanes + r
            for j in range(d):
                out[first + j * lanes] = penalty[0] * points[first + j * lanes]
            for k in range(n):
                margin = 0.0
                for j in range(d):
                    margin += signed[k, j] * points[first + j * lanes]
                small = exp(-abs(margin))  # exp(margin) might be too large
                weight = (small if margin > 0.0 else 1.0) / (n * (1.0 + small))
                for j in range(d):
                    out[first + j * lanes] -= weight * signed[k, j]


def logistic_loss(x, out, data):
    """Loss: the penalized logistic loss, safe from overflow."""
    signed, penalty = data
    n, d = signed.shape
    for t in range(out.shape[0]):
        for r in range(out.shape[1]):
            total, square = 0.0, 0.0
            for k in range(n):
                margin = 0.0
                for j in range(d):
                    margin += signed[k, j] * x[t, j, r]
                total += log1p(exp(-margin)) if margin > 0.0 else log1p(exp(margin)) - margin
            for j in range(d):
                square += x[t, j, r] ** 2
            out[t, r] = total / n + 0.5 * penalty[0] * square
