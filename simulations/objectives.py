"""Objectives: what the workers minimize, and the noise of their gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from easgd_theory.algorithm import as_real
from simulations import gradients

NORMAL = 0.0
"""Among the variates of `Pieces`: a standard normal. A positive number: a gamma variate of that shape, of scale 1."""


class Pieces(NamedTuple):
    """An objective as the kernels take it, for p workers and d coordinates.

    The functions are those of `gradients`, or others like them, and are compiled. `slope` gives one entry of the
    gradient from that entry of the point, a coefficient, two variates and the scalars. The coefficients are
    `coefficients`, one for each coordinate; where entries depend on each other `gradient` writes others in their place,
    for a group of workers and all replicas. The loss is the sum over the coordinates of `term`, which takes an entry of
    the point and of `coefficients`; or `loss` gives all of it. What there is not is None.
    """

    slope: Callable[..., Any]
    gradient: Callable[..., Any] | None
    term: Callable[..., Any] | None
    loss: Callable[..., Any] | None
    coefficients: np.ndarray
    scalars: tuple[float, float]
    data: tuple[Any, ...]
    variates: tuple[float, ...]


class Objective(ABC):
    """Base of the objectives, which are frozen records."""

    def dimension(self) -> int | None:
        """Number of coordinates; None: as many as the start has."""
        return None

    @abstractmethod
    def pieces(self, p: int, d: int) -> Pieces:
        """What the kernels need; raises ValueError where p does not fit."""

    def parameters(self) -> dict[str, Any]:
        """The fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]


def _normals(*needed: bool) -> tuple[float, ...]:
    """As many normals as there are up to the last that is needed."""
    count = max((i + 1 for i, need in enumerate(needed) if need), default=0)
    return (NORMAL,) * count


@dataclass(frozen=True, eq=False)
class Quadratic(Objective):
    r"""The quadratic :math:`f^i(x) = \frac12 x^\top H^i x` with noisy gradients :math:`(h + s\zeta)x + \sigma\xi`.

    :math:`\xi` and :math:`\zeta` are standard normals, new ones for every coordinate of every gradient; the first is
    the paper's additive noise, the second makes the curvature itself random.

    Parameters
    ----------
    h : float or array of shape (d,) or (p, d, d)
        Curvature: one number, the spectrum of a diagonal Hessian, or a symmetric matrix for each worker.
    noise : float, default 0.0
        Standard deviation :math:`\sigma` of the additive noise.
    deviation : float, default 0.0
        Standard deviation s of the curvature, for scalar h and spectra.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651, Section 4 and the supplement; Zhang (2016), arXiv:1605.02216,
    chapter 5 (multiplicative noise).

    Examples
    --------
    >>> Quadratic(h=[1.0, 10.0], noise=0.1).dimension()
    2
    """

    h: Any = 1.0
    noise: float = 0.0
    deviation: float = 0.0

    def __post_init__(self) -> None:
        h = as_real("h", self.h)
        if h.ndim not in (0, 1, 3) or h.size == 0 or (h.ndim == 3 and h.shape[1] != h.shape[2]):
            raise ValueError(f"h must be a number, a spectrum (d,) or matrices (p, d, d), got the shape {h.shape}")
        if h.ndim == 3 and not np.array_equal(h, h.transpose(0, 2, 1)):
            raise ValueError("h must hold symmetric matrices, got one that is not")
        object.__setattr__(self, "h", h if h.ndim else float(h))
        object.__setattr__(self, "noise", _not_negative("noise", self.noise))
        object.__setattr__(self, "deviation", _not_negative("deviation", self.deviation))
        if h.ndim == 3 and self.deviation != 0.0:
            raise ValueError(f"deviation must be 0 where h holds matrices, got {self.deviation}")

    def dimension(self) -> int | None:
        return np.shape(self.h)[-1] if np.ndim(self.h) else None

    def pieces(self, p: int, d: int) -> Pieces:
        scalars = (self.noise, self.deviation)
        variates = _normals(self.noise > 0, self.deviation > 0)
        if np.ndim(self.h) < 3:
            h = np.full(d, self.h)
            slope = gradients.random_curvature if self.deviation else gradients.curvature
            return Pieces(slope, None, gradients.parabola, None, h, scalars, (), variates)
        if len(self.h) != p:
            raise ValueError(f"h must hold a matrix for each of the p={p} workers, got {len(self.h)}")
        matrices = np.ascontiguousarray(self.h)
        data = (matrices, matrices.mean(axis=0))
        functions = gradients.plus_noise, gradients.matrix_gradient, None, gradients.matrix_loss
        return Pieces(*functions, np.empty(0), scalars, data, variates)


@dataclass(frozen=True, eq=False)
class LinearRegression(Objective):
    r"""Least squares on a stream of data: :math:`f(x) = \frac12 E(u^\top x - v)^2`, the labels :math:`v = \sigma\xi`.

    Each gradient is that of one new sample, :math:`u(u^\top x - v)`: its noise is multiplicative, and at the minimum,
    0, what is left comes from the labels. The input's coordinates are independent with mean 0. In one coordinate the
    curvature is :math:`u^2`, a gamma variate of the given shape; shape 1/2 is the Gaussian input.

    Parameters
    ----------
    variance : float or array of shape (d,)
        Variances of the input's coordinates: the spectrum of the Hessian.
    noise : float, default 0.0
        Standard deviation :math:`\sigma` of the labels.
    shape : float, default 0.5
        Shape of the gamma distribution of :math:`u_j^2`, so that :math:`E u_j^4 = (1 + 1/\mathrm{shape})(E u_j^2)^2`.

    References
    ----------
    Zhang (2016), arXiv:1605.02216, chapter 5.

    Examples
    --------
    >>> LinearRegression(variance=[1.0, 0.1], shape=2.0).dimension()
    2
    """

    variance: Any = 1.0
    noise: float = 0.0
    shape: float = 0.5

    def __post_init__(self) -> None:
        variance = as_real("variance", self.variance)
        if variance.ndim > 1 or variance.size == 0 or (variance < 0).any():
            raise ValueError(f"variance must be a number or a spectrum (d,), at least 0, got {self.variance!r}")
        object.__setattr__(self, "variance", variance if variance.ndim else float(variance))
        object.__setattr__(self, "noise", _not_negative("noise", self.noise))
        object.__setattr__(self, "shape", _not_negative("shape", self.shape))
        if self.shape == 0.0:
            raise ValueError("shape must be positive, got 0.0")

    def dimension(self) -> int | None:
        return len(self.variance) if np.ndim(self.variance) else None

    def pieces(self, p: int, d: int) -> Pieces:
        variance = np.full(d, self.variance)
        data = (np.sqrt(variance), (self.noise, self.shape))
        # A Gaussian input's square has the shape 1/2: then the input itself is drawn.
        variates = (NORMAL, NORMAL) if self.shape == 0.5 else (self.shape, NORMAL, NORMAL)
        functions = gradients.given, gradients.regression, gradients.parabola, None
        return Pieces(*functions, variance, (0.0, 0.0), data, variates)


@dataclass(frozen=True, eq=False)
class DoubleWell(Objective):
    r"""The double well :math:`f(x) = \frac14 (1 - x^2)^2`, with gradients :math:`x^3 - x + \sigma\xi`.

    In each coordinate its minima are -1 and 1. With p even and half the workers in either, the center stays on the
    saddle 0, and that state is stable iff :math:`0 < \rho < 2/3`.

    Parameters
    ----------
    noise : float, default 0.0
        Standard deviation :math:`\sigma` of the gradient noise.

    References
    ----------
    Zhang (2016), arXiv:1605.02216, chapter 5.

    Examples
    --------
    >>> DoubleWell(noise=0.1)
    DoubleWell(noise=0.1)
    """

    noise: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise", _not_negative("noise", self.noise))

    def pieces(self, p: int, d: int) -> Pieces:
        variates = _normals(self.noise > 0)
        functions = gradients.double_well, None, gradients.well, None
        return Pieces(*functions, np.ones(d), (self.noise, 0.0), (), variates)


@dataclass(frozen=True, eq=False)
class LogisticRegression(Objective):
    r"""Logistic regression, :math:`f(x) = \frac1n\sum_k \log(1 + e^{-y_k a_k^\top x}) + \frac\mu2 |x|^2`.

    Not quadratic. A gradient is that of all samples plus :math:`\sigma\xi` in each coordinate.

    Parameters
    ----------
    inputs : array of shape (n, d)
        The samples :math:`a_k`.
    labels : array of shape (n,)
        Each -1 or 1.
    penalty : float
        The weight :math:`\mu`, at least 0; above 0 the objective is strongly convex.
    noise : float, default 0.0
        Standard deviation :math:`\sigma` of each coordinate's noise.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651, Theorem 7.1, is a bound for such objectives.

    Examples
    --------
    >>> LogisticRegression(inputs=[[1.0, 0.0], [0.5, 2.0]], labels=[1, -1], penalty=0.1).dimension()
    2
    """

    inputs: Any
    labels: Any
    penalty: float
    noise: float = 0.0

    def __post_init__(self) -> None:
        inputs, labels = as_real("inputs", self.inputs), as_real("labels", self.labels)
        if inputs.ndim != 2 or inputs.size == 0:
            raise ValueError(f"inputs must have the shape (n, d), got {inputs.shape}")
        if labels.shape != inputs.shape[:1] or not np.isin(labels, (-1.0, 1.0)).all():
            raise ValueError(f"labels must be -1 or 1 for each of the {len(inputs)} inputs, got {self.labels!r}")
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "penalty", _not_negative("penalty", self.penalty))
        object.__setattr__(self, "noise", _not_negative("noise", self.noise))

    def dimension(self) -> int:
        return self.inputs.shape[1]

    def pieces(self, p: int, d: int) -> Pieces:
        signed = np.ascontiguousarray(self.inputs * self.labels[:, None])
        data = (signed, np.array([self.penalty]))
        functions = gradients.plus_noise, gradients.logistic_gradient, None, gradients.logistic_loss
        return Pieces(*functions, np.empty(0), (self.noise, 0.0), data, _normals(self.noise > 0))


def _not_negative(name: str, value: Any) -> float:
    number = as_real(name, value)
    if number.ndim or number < 0:
        raise ValueError(f"{name} must be a number, at least 0, got {value!r}")
    return float(number)
