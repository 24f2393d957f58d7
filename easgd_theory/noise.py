"""Means and covariances of the iterates when every gradient carries additive noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from easgd_theory.algorithm import Algorithm, as_instance, as_real, numeric_values
from easgd_theory.algorithms import EASGD
from easgd_theory.linear import stack
from easgd_theory.maps import check_schedule, numeric_field, run, state_names
from easgd_theory.schedules import Schedule, Synchronous
from easgd_theory.spectrum import TOLERANCE


def _map_and_noise(algorithm: Algorithm, schedule: Schedule, h: Any) -> tuple[np.ndarray, np.ndarray]:
    """F and G of one round, s' = F s + G xi, with one unit-variance xi per evaluation of the gradient."""
    check_schedule(algorithm, schedule)
    values, curvature = numeric_values(algorithm, h)
    field = numeric_field(algorithm, values, curvature)
    if field.ndim:
        raise ValueError("moments are those of one configuration: every parameter and h must be a scalar")
    rows = stack(run(type(algorithm), schedule, field, schedule.ticks(), noise=True))
    return rows[:, : len(rows)], rows[:, len(rows) :]


def _start(algorithm: Algorithm, schedule: Schedule, start: Any) -> np.ndarray:
    names = state_names(type(algorithm), schedule.workers())
    if start is None:  # every x at 1, everything else at 0
        return np.array([float(name.startswith("x_")) for name in names])
    state = as_real("start", start)
    if state.shape != (len(names),):
        raise ValueError(f"start must have the {len(names)} entries {', '.join(names[:4])}, ..., got {state.shape}")
    return state


def moments(
    algorithm: Algorithm, schedule: Schedule, rounds: int, h: float = 1.0, sigma: float = 1.0, start: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    r"""Exact mean and covariance of all variables after each round, on h x^2 / 2 with gradient noise.

    Each gradient is :math:`h x + \sigma \xi` with an independent :math:`\xi` of mean 0 and variance 1, so that a round
    is :math:`s' = F s + \sigma G \xi`; mean and covariance are propagated by F and G.

    Parameters
    ----------
    algorithm, schedule
        All parameters given, scalars.
    rounds : int
        How many rounds, at least 0.
    h : float, default 1.0
        Curvature.
    sigma : float, default 1.0
        Standard deviation of the gradient noise.
    start : array of shape (n,), optional
        The deterministic start, in the order of ``iteration_map(...).state``; by default every x is 1, the rest 0.

    Returns
    -------
    means : ndarray, shape (rounds + 1, n)
    covariances : ndarray, shape (rounds + 1, n, n)

    Examples
    --------
    >>> from easgd_theory import SGD, Synchronous, moments
    >>> means, covariances = moments(SGD(eta=0.5), Synchronous(p=1), rounds=2, sigma=2.0)
    >>> means[:, 0].tolist(), covariances[:, 0, 0].tolist()
    ([1.0, 0.5, 0.25], [0.0, 1.0, 1.25])
    """
    if isinstance(rounds, bool) or not isinstance(rounds, int | np.integer) or rounds < 0:
        raise ValueError(f"rounds must be a whole number, at least 0, got {rounds!r}")
    algorithm = as_instance(algorithm)
    F, G = _map_and_noise(algorithm, schedule, h)
    noise = _variance(sigma) * G @ G.T
    means = [_start(algorithm, schedule, start)]
    covariances = [np.zeros_like(F)]
    with np.errstate(over="ignore", invalid="ignore"):  # what diverges ends at inf
        for _ in range(rounds):
            means.append(F @ means[-1])
            covariances.append(F @ covariances[-1] @ F.T + noise)
    return _nan_is_inf(np.array(means)), _nan_is_inf(np.array(covariances))


def _nan_is_inf(array: np.ndarray) -> np.ndarray:
    """Inf - inf of a diverging run is inf to whoever reads it."""
    return np.where(np.isnan(array), np.inf, array)


def _variance(sigma: Any) -> float:
    value = as_real("sigma", sigma)
    if value.ndim or value < 0:
        raise ValueError(f"sigma must be a scalar, at least 0, got {sigma!r}")
    return float(value) ** 2


def stationary_covariance(algorithm: Algorithm, schedule: Schedule, h: float = 1.0, sigma: float = 1.0) -> np.ndarray:
    r"""Covariance of all variables at the end of a round as the number of rounds grows.

    The solution of :math:`\Sigma = F \Sigma F^\top + \sigma^2 G G^\top` (see `moments`).

    Parameters
    ----------
    algorithm, schedule, h, sigma
        As in `moments`.

    Returns
    -------
    ndarray, shape (n, n)

    Raises
    ------
    ValueError
        The round does not contract: its spectral radius is not below 1.

    Examples
    --------
    >>> from easgd_theory import SGD, Synchronous, stationary_covariance
    >>> stationary_covariance(SGD(eta=0.5), Synchronous(p=1)).round(6).tolist()
    [[0.333333]]
    """
    from scipy.linalg import solve_discrete_lyapunov

    F, G = _map_and_noise(as_instance(algorithm), schedule, h)
    radius = np.abs(np.linalg.eigvals(F)).max()
    if not radius < 1 - TOLERANCE:
        raise ValueError(f"there is no stationary covariance: the spectral radius of a round is {radius:.9g}")
    return solve_discrete_lyapunov(F, _variance(sigma) * G @ G.T)


def easgd_center_moments(
    algorithm: EASGD, schedule: Synchronous, rounds: float, h: Any = 1.0, sigma: Any = 1.0, start: Any = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    r"""Mean and variance of the center of synchronous EASGD in closed form, at a cost independent of p.

    With :math:`a = \eta h + (p+1)\alpha`, :math:`c^2 = \eta h p \alpha` and
    :math:`\gamma, \varphi = 1 - (a \mp \sqrt{a^2 - 4c^2})/2`,

    .. math::

        E\,\tilde x_t &= \gamma^t \tilde x_0 + \frac{\gamma^t - \varphi^t}{\gamma - \varphi}\,
            p\alpha \Big(x_0 - \frac{\alpha}{1 - p\alpha - \varphi}\tilde x_0\Big) \\
        V\,\tilde x_t &= \frac{p^2\alpha^2\eta^2}{(\gamma-\varphi)^2}
            \Big(\frac{\gamma^2-\gamma^{2t}}{1-\gamma^2} + \frac{\varphi^2-\varphi^{2t}}{1-\varphi^2}
            - 2\,\frac{\gamma\varphi-(\gamma\varphi)^t}{1-\gamma\varphi}\Big)\frac{\sigma^2}{p}

    Parameters
    ----------
    algorithm : EASGD
        eta and alpha broadcast with h, sigma and start; both positive.
    schedule : Synchronous
        With tau = 1.
    rounds : int or inf
        The round t, at least 1.
    h, sigma : float or array
        Curvature and standard deviation of the gradient noise.
    start : float or array
        Where all workers and the center start; the minimum is at 0.

    Returns
    -------
    mean, variance : ndarray
        At ``rounds=inf``: 0 and the stationary variance where the round contracts, inf elsewhere.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651, Lemma 7.1.

    Examples
    --------
    >>> from easgd_theory.noise import easgd_center_moments
    >>> mean, variance = easgd_center_moments(EASGD(eta=0.1, alpha=0.1), Synchronous(p=8), rounds=float("inf"))
    >>> round(float(variance), 9)
    0.005643813
    """
    if not isinstance(schedule, Synchronous) or schedule.tau != 1:
        raise ValueError(f"the closed form is that of Synchronous(p, tau=1), got {schedule}")
    if not (rounds >= 1 and (np.isinf(rounds) or rounds == int(rounds))):
        raise ValueError(f"rounds must be a whole number, at least 1, or inf, got {rounds}")
    p = schedule.workers()
    values, h = numeric_values(algorithm, h)
    eta, alpha = values["eta"], values["alpha"]
    x = as_real("start", start)
    a = eta * h + (p + 1) * alpha
    root = np.sqrt((eta * h - (p - 1) * alpha) ** 2 + 4 * p * alpha**2)  # a^2 - 4 c^2, which is never negative
    gamma, phi = 1 - (a - root) / 2, 1 - (a + root) / 2

    def powers(q: np.ndarray) -> np.ndarray:
        """Sum q + q^2 + ... + q^(t-1)."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.where(q == 1, rounds - 1, (q - _power(q, rounds)) / (1 - q))

    with np.errstate(over="ignore", invalid="ignore"):
        gain = (_power(gamma, rounds) - _power(phi, rounds)) / root
        mean = _power(gamma, rounds) * x + gain * p * alpha * (x - alpha / (1 - p * alpha - phi) * x)
        series = powers(gamma**2) + powers(phi**2) - 2 * powers(gamma * phi)
        variance = p * (alpha * eta * as_real("sigma", sigma) / root) ** 2 * series
    if np.isinf(rounds):
        contracts = (np.abs(gamma) < 1) & (np.abs(phi) < 1)
        mean, variance = np.where(contracts, mean, np.inf), np.where(contracts, variance, np.inf)
    return _nan_is_inf(mean)[()], _nan_is_inf(variance)[()]


def _power(q: np.ndarray, t: float) -> np.ndarray:
    """q^t for a whole or infinite t; q may be negative."""
    if np.isinf(t):
        return np.where(np.abs(q) < 1, 0.0, np.inf)
    return q ** int(t)
