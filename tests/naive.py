"""The independent oracle: the papers' algorithms in plain loops, to be checked by eye against their equations.

Nothing of the project is imported. Every function of `ROUNDS` makes ONE ROUND on a flat list of floats and returns
the new list. Worker i's gradient is h x, or h[i] x where h is a list (F(x) = h x^2 / 2, the paper's Section 4).

* synchronous: one exchange of all p workers, all with the old center, and its tau gradient steps;
* round_robin: p ticks; at tick i worker i alone visits the center, once, and takes its tau gradient steps.

"The paper" is Zhang, Choromanska, LeCun, Deep learning with Elastic Averaging SGD, arXiv:1412.6651.
"""

import math
from collections.abc import Callable

import numpy as np

State = list[float]
Curvature = float | list[float]
Matrix = np.ndarray


def g(h: Curvature, i: int, x: float) -> float:
    """Gradient of worker i at x."""
    return (h[i] if isinstance(h, list) else h) * x


def pairs(state: State, p: int) -> tuple[State, State, State]:
    """Take (a1, b1, ..., ap, bp, rest) apart into the lists a, b and rest."""
    return list(state[0 : 2 * p : 2]), list(state[1 : 2 * p : 2]), list(state[2 * p :])


def join(a: State, b: State, rest: State) -> State:
    """Put (a1, b1, ..., ap, bp, rest) together: the inverse of `pairs`."""
    return [value for pair in zip(a, b, strict=True) for value in pair] + rest


def only_one(**argument: int) -> None:
    """Refuse an argument (tau or p) that has to be 1."""
    for name, value in argument.items():
        if value != 1:
            raise ValueError(f"{name} = {value}: this algorithm is defined for {name} = 1 only")


def easgd_synchronous(state: State, p: int, tau: int, h: Curvature, eta: float, alpha: float) -> State:
    """One round of synchronous EASGD on (x1, ..., xp, center): the paper's eqs. 5 and 6."""
    *x, center = state
    elastic = [alpha * (x[i] - center) for i in range(p)]  # all with the old values
    for i in range(p):
        x[i] = x[i] - eta * g(h, i, x[i]) - elastic[i]
        center = center + elastic[i]
        for _ in range(tau - 1):
            x[i] = x[i] - eta * g(h, i, x[i])
    return [*x, center]


def easgd_round_robin(state: State, p: int, tau: int, h: Curvature, eta: float, alpha: float) -> State:
    """One round of round-robin EASGD on (x1, ..., xp, center): the paper's Algorithm 1, eqs. 12 and 13."""
    *x, center = state
    for i in range(p):
        elastic = alpha * (x[i] - center)  # with the old values, as is the gradient
        x[i] = x[i] - eta * g(h, i, x[i]) - elastic
        center = center + elastic
        for _ in range(tau - 1):
            x[i] = x[i] - eta * g(h, i, x[i])
    return [*x, center]


def eamsgd_synchronous(state: State, p: int, tau: int, h: Curvature, eta: float, alpha: float, delta: float) -> State:
    """One round of synchronous EAMSGD on (x1, v1, ..., xp, vp, center): Algorithm 2's step, eq. 6's center."""
    x, v, [center] = pairs(state, p)
    elastic = [alpha * (x[i] - center) for i in range(p)]  # all with the old values
    for i in range(p):
        v[i] = delta * v[i] - eta * g(h, i, x[i] + delta * v[i])
        x[i] = x[i] + v[i] - elastic[i]  # the elastic displacement does not enter v
        center = center + elastic[i]
        for _ in range(tau - 1):
            v[i] = delta * v[i] - eta * g(h, i, x[i] + delta * v[i])
            x[i] = x[i] + v[i]
    return join(x, v, [center])


def eamsgd_round_robin(state: State, p: int, tau: int, h: Curvature, eta: float, alpha: float, delta: float) -> State:
    """One round of round-robin EAMSGD on (x1, v1, ..., xp, vp, center): the paper's Algorithm 2."""
    x, v, [center] = pairs(state, p)
    for i in range(p):
        elastic = alpha * (x[i] - center)
        v[i] = delta * v[i] - eta * g(h, i, x[i] + delta * v[i])  # at the x before the elastic move
        x[i] = x[i] + v[i] - elastic  # the elastic displacement does not enter v
        center = center + elastic
        for _ in range(tau - 1):
            v[i] = delta * v[i] - eta * g(h, i, x[i] + delta * v[i])
            x[i] = x[i] + v[i]
    return join(x, v, [center])


def admm_synchronous(state: State, p: int, tau: int, h: Curvature, eta: float, rho: float) -> State:
    """One round of synchronous ADMM on (l1, x1, ..., lp, xp, center), l = lambda: eqs. 9, 10 by all, then eq. 11."""
    only_one(tau=tau)
    dual, x, [center] = pairs(state, p)
    for i in range(p):
        dual[i] = dual[i] - (x[i] - center)
        x[i] = (x[i] - eta * g(h, i, x[i]) + eta * rho * (dual[i] + center)) / (1 + eta * rho)
    center = sum(x[j] - dual[j] for j in range(p)) / p
    return join(dual, x, [center])


def admm_round_robin(state: State, p: int, tau: int, h: Curvature, eta: float, rho: float) -> State:
    """One round of round-robin ADMM on (l1, x1, ..., lp, xp, center), l = lambda: the paper's eqs. 9, 10 and 11."""
    only_one(tau=tau)
    dual, x, [center] = pairs(state, p)
    for i in range(p):
        dual[i] = dual[i] - (x[i] - center)
        x[i] = (x[i] - eta * g(h, i, x[i]) + eta * rho * (dual[i] + center)) / (1 + eta * rho)
        center = sum(x[j] - dual[j] for j in range(p)) / p
    return join(dual, x, [center])


# ---- DOWNPOUR: state (x1, v1, ..., xp, vp, center); v is what the worker gathered since its last push ----


def downpour_synchronous(state: State, p: int, tau: int, h: Curvature, eta: float) -> State:
    """One round of synchronous DOWNPOUR on (x1, v1, ..., xp, vp, center): all push, the sum, all pull, tau steps."""
    x, v, [center] = pairs(state, p)
    center = center + sum(v)
    for i in range(p):
        x[i] = center
        v[i] = 0.0
        for _ in range(tau):
            step = -eta * g(h, i, x[i])  # one and the same gradient for x and v
            x[i] = x[i] + step
            v[i] = v[i] + step
    return join(x, v, [center])


def downpour_round_robin(state: State, p: int, tau: int, h: Curvature, eta: float) -> State:
    """One round of round-robin DOWNPOUR on (x1, v1, ..., xp, vp, center): the paper's Algorithm 3."""
    x, v, [center] = pairs(state, p)
    for i in range(p):
        center = center + v[i]
        x[i] = center
        v[i] = 0.0
        for _ in range(tau):
            step = -eta * g(h, i, x[i])
            x[i] = x[i] + step
            v[i] = v[i] + step
    return join(x, v, [center])


# ---- MDOWNPOUR: state (x1, ..., xp, center, m); xi is the center that worker i pulled last; tau = 1 only ----


def mdownpour_synchronous(
    state: State, p: int, tau: int, h: Curvature, eta: float, delta: float, nesterov: bool = False
) -> State:
    """One round of synchronous MDOWNPOUR on (x1, ..., xp, center, m): Algorithms 4 and 5, one step with the sum."""
    only_one(tau=tau)
    *x, center, m = state
    total = sum(g(h, i, x[i]) for i in range(p))
    m = delta * m - eta * total
    center = center + delta * m - (eta * total if nesterov else 0.0)  # the look-ahead form is not the paper's
    return [center for _ in range(p)] + [center, m]


def mdownpour_round_robin(
    state: State, p: int, tau: int, h: Curvature, eta: float, delta: float, nesterov: bool = False
) -> State:
    """One round of round-robin MDOWNPOUR on (x1, ..., xp, center, m): the paper's Algorithms 4 and 5."""
    only_one(tau=tau)
    *x, center, m = state
    for i in range(p):
        gradient = g(h, i, x[i])
        m = delta * m - eta * gradient
        center = center + delta * m - (eta * gradient if nesterov else 0.0)  # as above
        x[i] = center
    return [*x, center, m]


# ---- Local SGD: state (x1, y1, ..., xp, yp, center); yi is the center that worker i pulled last ----


def local_sgd_synchronous(state: State, p: int, tau: int, h: Curvature, eta: float) -> State:
    """One round of Local SGD on (x1, y1, ..., xp, yp, center): the mean displacement (Stich 2018, Algorithm 1)."""
    x, y, [center] = pairs(state, p)
    center = center + sum(x[i] - y[i] for i in range(p)) / p
    for i in range(p):
        x[i] = y[i] = center
        for _ in range(tau):
            x[i] = x[i] - eta * g(h, i, x[i])
    return join(x, y, [center])


def local_sgd_round_robin(state: State, p: int, tau: int, h: Curvature, eta: float) -> State:
    """One round of round-robin Local SGD on (x1, y1, ..., xp, yp, center): each displacement with weight 1."""
    x, y, [center] = pairs(state, p)
    for i in range(p):
        center = center + (x[i] - y[i])
        x[i] = y[i] = center
        for _ in range(tau):
            x[i] = x[i] - eta * g(h, i, x[i])
    return join(x, y, [center])


# ---- DiLoCo: state (x1, y1, ..., xp, yp, center, m); yi as in Local SGD, m the outer momentum ----


def diloco_synchronous(state: State, p: int, tau: int, h: Curvature, eta: float, nu: float, mu: float) -> State:
    """One round of DiLoCo on (x1, y1, ..., xp, yp, center, m): Douillard et al. 2023, Algorithm 1, inner SGD."""
    x, y, [center, m] = pairs(state, p)
    displacement = sum(y[i] - x[i] for i in range(p)) / p
    m = mu * m + displacement
    center = center - nu * (displacement + mu * m)
    for i in range(p):
        x[i] = y[i] = center
        for _ in range(tau):
            x[i] = x[i] - eta * g(h, i, x[i])
    return join(x, y, [center, m])


def diloco_round_robin(state: State, p: int, tau: int, h: Curvature, eta: float, nu: float, mu: float) -> State:
    """One round of round-robin DiLoCo on (x1, y1, ..., xp, yp, center, m): each displacement with weight 1."""
    x, y, [center, m] = pairs(state, p)
    for i in range(p):
        displacement = y[i] - x[i]
        m = mu * m + displacement
        center = center - nu * (displacement + mu * m)
        x[i] = y[i] = center
        for _ in range(tau):
            x[i] = x[i] - eta * g(h, i, x[i])
    return join(x, y, [center, m])


# ---- Sequential algorithms: p = 1 only, the same on both schedules ----


def lookahead(state: State, p: int, tau: int, h: Curvature, eta: float, alpha: float) -> State:
    """One round of Lookahead on (fast, slow): slow update, fast <- slow, tau steps (Zhang et al. 2019, Algorithm 1)."""
    only_one(p=p)
    fast, slow = state
    slow = slow + alpha * (fast - slow)
    fast = slow
    for _ in range(tau):
        fast = fast - eta * g(h, 0, fast)
    return [fast, slow]


def sgd(state: State, p: int, tau: int, h: Curvature, eta: float) -> State:
    """One round, tau steps, of SGD on (x): the paper's Section 5 baseline."""
    only_one(p=p)
    [x] = state
    for _ in range(tau):
        x = x - eta * g(h, 0, x)
    return [x]


def msgd(state: State, p: int, tau: int, h: Curvature, eta: float, delta: float) -> State:
    """One round, tau steps, of Nesterov's momentum SGD on (x, v): the paper's Section 5 baseline."""
    only_one(p=p)
    x, v = state
    for _ in range(tau):
        v = delta * v - eta * g(h, 0, x + delta * v)
        x = x + v
    return [x, v]


# Every cell: (algorithm, schedule) -> (one round, size of its state for p workers)
ROUNDS: dict[tuple[str, str], tuple[Callable[..., State], Callable[[int], int]]] = {
    ("easgd", "synchronous"): (easgd_synchronous, lambda p: p + 1),
    ("easgd", "round_robin"): (easgd_round_robin, lambda p: p + 1),
    ("eamsgd", "synchronous"): (eamsgd_synchronous, lambda p: 2 * p + 1),
    ("eamsgd", "round_robin"): (eamsgd_round_robin, lambda p: 2 * p + 1),
    ("admm", "synchronous"): (admm_synchronous, lambda p: 2 * p + 1),
    ("admm", "round_robin"): (admm_round_robin, lambda p: 2 * p + 1),
    ("downpour", "synchronous"): (downpour_synchronous, lambda p: 2 * p + 1),
    ("downpour", "round_robin"): (downpour_round_robin, lambda p: 2 * p + 1),
    ("mdownpour", "synchronous"): (mdownpour_synchronous, lambda p: p + 2),
    ("mdownpour", "round_robin"): (mdownpour_round_robin, lambda p: p + 2),
    ("local_sgd", "synchronous"): (local_sgd_synchronous, lambda p: 2 * p + 1),
    ("local_sgd", "round_robin"): (local_sgd_round_robin, lambda p: 2 * p + 1),
    ("diloco", "synchronous"): (diloco_synchronous, lambda p: 2 * p + 2),
    ("diloco", "round_robin"): (diloco_round_robin, lambda p: 2 * p + 2),
    ("lookahead", "synchronous"): (lookahead, lambda p: 2),
    ("lookahead", "round_robin"): (lookahead, lambda p: 2),
    ("sgd", "synchronous"): (sgd, lambda p: 1),
    ("sgd", "round_robin"): (sgd, lambda p: 1),
    ("msgd", "synchronous"): (msgd, lambda p: 2),
    ("msgd", "round_robin"): (msgd, lambda p: 2),
}


def round_matrix(step: Callable[..., State], size: int, **arguments: Curvature) -> Matrix:
    """Matrix of one round: column k is the round applied to the k-th unit vector."""
    matrix = np.zeros((size, size))
    for k in range(size):
        unit = [0.0] * size
        unit[k] = 1.0
        matrix[:, k] = step(unit, **arguments)
    return matrix


def spectral_radius(matrix: Matrix) -> float:
    """Largest modulus of an eigenvalue."""
    return float(max(abs(np.linalg.eigvals(matrix))))


# ---- The paper's matrices of one tick, worker i = 0, ..., p - 1, written down entry by entry ----


def paper_easgd_map(p: int, i: int, eta: float, alpha: float, h: float = 1.0) -> Matrix:
    """F^i of round-robin EASGD on (x1, ..., xp, center), from eqs. 12 and 13; a round is F^p ... F^1."""
    f = np.eye(p + 1)
    f[i, i], f[i, p] = 1 - eta * h - alpha, alpha
    f[p, i], f[p, p] = alpha, 1 - alpha
    return f


def paper_admm_maps(p: int, i: int, eta: float, rho: float, h: float = 1.0) -> tuple[Matrix, Matrix, Matrix]:
    """F1^i, F2^i, F3^i (dual, primal, center: eqs. 9, 10, 11) on (l1, x1, ..., lp, xp, center); a tick is F3 F2 F1."""
    dual, primal, center = np.eye(2 * p + 1), np.eye(2 * p + 1), np.eye(2 * p + 1)
    li, xi, c = 2 * i, 2 * i + 1, 2 * p
    dual[li, li], dual[li, xi], dual[li, c] = 1, -1, 1
    weight = eta * rho / (1 + eta * rho)
    primal[xi, li], primal[xi, xi], primal[xi, c] = weight, (1 - eta * h) / (1 + eta * rho), weight
    center[c, c] = 0
    for j in range(p):
        center[c, 2 * j], center[c, 2 * j + 1] = -1 / p, 1 / p
    return dual, primal, center


def mean_and_variance(
    p: int, eta: float, alpha: float, h: float, sigma: float, t: int, x0: float, center0: float
) -> tuple[float, float]:
    """Exact mean and variance of the center after t rounds of synchronous EASGD, tau = 1, all workers from x0.

    Eqs. 5 and 6 with x* = 0 and the gradient h x^i - xi^i, xi^i independent with mean 0 and deviation sigma:
    mean <- F mean and covariance <- F covariance F^T + eta^2 sigma^2 on the workers' diagonal.
    """
    n = p + 1
    f = round_matrix(easgd_synchronous, n, p=p, tau=1, h=h, eta=eta, alpha=alpha).tolist()
    mean = [x0] * p + [center0]
    covariance = [[0.0] * n for _ in range(n)]
    for _ in range(t):
        mean = [math.fsum(f[a][k] * mean[k] for k in range(n)) for a in range(n)]
        half = [[math.fsum(f[a][k] * covariance[k][b] for k in range(n)) for b in range(n)] for a in range(n)]
        covariance = [[math.fsum(half[a][k] * f[b][k] for k in range(n)) for b in range(n)] for a in range(n)]
        for i in range(p):
            covariance[i][i] += eta**2 * sigma**2
    return mean[p], covariance[p][p]
