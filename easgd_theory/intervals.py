"""Numbers that hold a whole interval of parameters: a definition that is run over them is enclosed on all of it."""

from __future__ import annotations

from typing import Any

import numpy as np

ORDER = 7
"""Degree of the polynomial that a Taylor model carries."""

_UNIT = 2.0**-49  # what rounding may do in one operation, relative to what enters it: 16 times the unit roundoff


class TaylorModel:
    r"""Functions of a parameter in an interval: polynomials with a bound of what they leave out.

    Each element stands for every function f with :math:`|f(t) - \sum_k a_k t^k| \le \epsilon` for
    :math:`t \in [-1, 1]`, the interval scaled. Sums, products, quotients and integer powers of such functions are
    enclosed by those of their models; rounding enters the bound at each operation (underflow set aside). Unlike plain
    intervals they keep what cancels: :math:`(e + \alpha)\alpha - \alpha^2` is :math:`e\alpha`. The constant term has
    twice the digits of a float, so that 1 - (1 - x) is x for a small x, too.

    Parameters
    ----------
    terms : ndarray, shape (..., ORDER + 1)
        The coefficients :math:`a_k`. The model broadcasts like an array of shape (...).
    low : ndarray, shape (...)
        What the constant term has beyond the digits of ``terms[..., 0]``.
    radius : ndarray, shape (...)
        The bounds :math:`\epsilon`; inf or nan where nothing is known.

    References
    ----------
    Makino, Berz (2003), Taylor models and other validated functional inclusion methods. Dekker (1971), for the digits.

    Examples
    --------
    >>> import numpy as np
    >>> x = TaylorModel.over(np.array([1.0]), np.array([1.5]))
    >>> low, high = (x / (1 + x) - 1).bounds()
    >>> bool(low[0] <= -0.5 and -0.4 <= high[0])
    True
    """

    __slots__ = ("low", "radius", "terms")
    __array_ufunc__ = None  # array * model is left to the model
    dtype = np.dtype(float)

    def __init__(self, terms: np.ndarray, low: np.ndarray, radius: np.ndarray) -> None:
        self.terms = terms
        self.low = low
        self.radius = radius

    @classmethod
    def over(cls, low: np.ndarray, high: np.ndarray) -> TaylorModel:
        """The parameter itself, on the intervals [low, high]."""
        model = cls.constant(low + (high - low) / 2)
        middle = model.terms[..., 0]
        model.terms[..., 1] = np.maximum(high - middle, middle - low)
        return cls(model.terms, model.low, _UNIT * model.terms[..., 1])

    @classmethod
    def constant(cls, value: Any) -> TaylorModel:
        """Numbers, exact."""
        value = np.asarray(value, dtype=float)
        terms = np.zeros((*value.shape, ORDER + 1))
        terms[..., 0] = value
        return cls(terms, np.zeros(value.shape), np.zeros(value.shape))

    @classmethod
    def stack(cls, rows: list[Any]) -> TaylorModel:
        """The matrix with these rows, each of shape (n, ...), arrays among them; shape (..., rows, n)."""
        models = [row if isinstance(row, cls) else cls.constant(row) for row in rows]
        terms = np.stack(np.broadcast_arrays(*(model.terms for model in models)))
        low = np.stack(np.broadcast_arrays(*(model.low for model in models)))
        radius = np.stack(np.broadcast_arrays(*(model.radius for model in models)))
        return cls(*(np.moveaxis(part, (0, 1), (k - 2, k - 1)) for part, k in ((terms, -1), (low, 0), (radius, 0))))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.low.shape

    def __getitem__(self, index: Any) -> TaylorModel:
        index = index if isinstance(index, tuple) else (index,)
        if not any(part is Ellipsis for part in index):
            index = (*index, Ellipsis)
        return TaylorModel(self.terms[(*index, slice(None))], self.low[index], self.radius[index])

    def any(self, axis: None = None, out: None = None) -> bool:
        """Whether it may differ from 0 anywhere; `numpy.any` asks in this way."""
        return bool(self.terms.any() or self.low.any() or self.radius.any())

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest value that the functions may take."""
        middle = self.terms[..., 0]
        reach = (self.varying() + np.abs(self.low) + self.radius) * (1 + _UNIT) + _UNIT * np.abs(middle)
        return middle - reach, middle + reach

    def varying(self) -> np.ndarray:
        """Bound of the polynomial without its constant term."""
        return np.abs(self.terms[..., 1:]).sum(axis=-1)

    def __add__(self, other: Any) -> TaylorModel:
        if not isinstance(other, TaylorModel):
            if not isinstance(other, int | float | np.ndarray):
                return NotImplemented
            other = TaylorModel.constant(other)
        terms = self.terms + other.terms
        lost = _lost_in_sum(self.terms[..., 0], other.terms[..., 0], terms[..., 0])
        low = self.low + other.low + lost
        sizes = np.abs(self.low) + np.abs(other.low) + np.abs(lost) + np.abs(terms[..., 1:]).sum(axis=-1)
        return _rounded(terms, low, self.radius + other.radius, sizes)

    __radd__ = __add__

    def __neg__(self) -> TaylorModel:
        return TaylorModel(-self.terms, -self.low, self.radius)

    def __sub__(self, other: Any) -> TaylorModel:
        return self + (-other)

    def __rsub__(self, other: Any) -> TaylorModel:
        return -self + other

    def __mul__(self, other: Any) -> TaylorModel:
        if isinstance(other, int | float | np.ndarray):
            other = TaylorModel.constant(other)
        if not isinstance(other, TaylorModel):
            return NotImplemented
        a, b = self.terms, other.terms
        terms = a[..., :1] * b
        lost = _lost_in_product(a[..., 0], b[..., 0], terms[..., 0])
        beyond = np.zeros(lost.shape)  # what has a degree above ORDER
        tail = np.cumsum(np.abs(b[..., ::-1]), axis=-1)
        for i in range(1, ORDER + 1):
            if a[..., i].any():
                terms[..., i:] += a[..., i, None] * b[..., : ORDER + 1 - i]
                beyond += np.abs(a[..., i]) * tail[..., i - 1]
        low = lost + (a[..., 0] * other.low + self.low * b[..., 0])
        mine, its = np.abs(a[..., 0]), np.abs(b[..., 0])
        varying, its_varying = self.varying(), other.varying()
        sizes = varying * (its + its_varying) + mine * its_varying + _UNIT * mine * its
        radius = beyond + self.radius * (its * (1 + _UNIT) + its_varying + other.radius)
        radius = radius + (mine * (1 + _UNIT) + varying) * other.radius
        return _rounded(terms, low, radius, sizes)

    __rmul__ = __mul__

    def reciprocal(self) -> TaylorModel:
        """1 / f, by the geometric series around the middle; unbounded where f may vanish."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            inverse = 1 / self.terms[..., 0]
            q = 1 - self * inverse  # 1 / f = inverse (1 + q + q^2 + ...)
            size = np.abs(q.bounds()).max(axis=0)
            series = TaylorModel.constant(np.ones(size.shape))
            for _ in range(ORDER):
                series = 1 + q * series
            rest = np.where(size < 1, size ** (ORDER + 1) / (1 - size), np.inf)
            return TaylorModel(series.terms, series.low, series.radius + rest * (1 + 2 * _UNIT)) * inverse

    def __truediv__(self, other: Any) -> TaylorModel:
        if isinstance(other, int | float | np.ndarray):
            return self * TaylorModel.constant(other).reciprocal()
        return self * other.reciprocal() if isinstance(other, TaylorModel) else NotImplemented

    def __rtruediv__(self, other: Any) -> TaylorModel:
        return self.reciprocal() * other

    def __pow__(self, exponent: int) -> TaylorModel:
        if exponent < 0:
            return self.reciprocal() ** -exponent
        power = TaylorModel.constant(np.ones(self.shape))
        for _ in range(exponent):
            power = power * self
        return power


def _rounded(terms: np.ndarray, low: np.ndarray, radius: np.ndarray, sizes: np.ndarray) -> TaylorModel:
    """The model with its constant term normalized, and a radius widened by what rounding may have done to `sizes`."""
    high = terms[..., 0] + low
    low = _lost_in_sum(terms[..., 0], low, high)
    terms[..., 0] = high
    return TaylorModel(terms, low, radius * (1 + _UNIT) + _UNIT * sizes)


def _lost_in_sum(a: np.ndarray, b: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Exactly a + b - total, where total is the rounded sum (Knuth)."""
    back = total - a
    return (a - (total - back)) + (b - back)


def _lost_in_product(a: np.ndarray, b: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Exactly a b - product, where product is the rounded product (Dekker)."""
    a_high, b_high = _leading_half(a), _leading_half(b)
    a_low, b_low = a - a_high, b - b_high
    return a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def _leading_half(a: np.ndarray) -> np.ndarray:
    """The leading 26 of the 53 binary digits (Veltkamp)."""
    scaled = 134217729.0 * a
    return scaled - (scaled - a)
