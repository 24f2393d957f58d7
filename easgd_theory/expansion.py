"""Numbers that depend on the number of workers: what a visit is run over to see it for infinitely many.

A definition may divide and multiply by p. With this number for p, it yields the coefficients of its visit in powers of
1/p, exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_TERMS = 8
_NUMBERS = (int, float, np.ndarray, np.number)


class Expansion:
    r"""A number :math:`a_0 p^d + a_1 p^{d-1} + \dots`, cut off after a fixed number of terms, as floats are.

    It adds, multiplies, divides and takes integer powers, with floats and arrays of them, too.

    Parameters
    ----------
    degree : int
        The power d of p that the first term has.
    terms : sequence of float or ndarray
        The coefficients; arrays broadcast against each other. Those that are not given are 0.
    """

    __slots__ = ("degree", "terms")
    __array_ufunc__ = None  # array * expansion is left to the expansion
    dtype = np.dtype(float)

    def __init__(self, degree: int, *terms: Any) -> None:
        self.degree = degree
        self.terms = (*terms, *[0.0] * _TERMS)[:_TERMS]

    @classmethod
    def stack(cls, rows: list[Any]) -> Expansion:
        """The matrix with these rows, each of shape (n, ...), arrays among them; shape (..., rows, n)."""
        expansions = [row if isinstance(row, cls) else cls(0, row) for row in rows]
        degree = max(row.degree for row in expansions)
        terms = []
        for k in range(_TERMS):
            parts = np.broadcast_arrays(*(row.coefficient(degree - k) for row in expansions))
            terms.append(np.moveaxis(np.stack(parts), (0, 1), (-2, -1)))
        return cls(degree, *terms)

    def coefficient(self, power: int) -> np.ndarray:
        """The coefficient of that power of p."""
        index = self.degree - power
        if index >= _TERMS:
            raise ArithmeticError(
                f"the coefficient of p^{power} was cut off from an expansion that begins at {self.degree}"
            )
        term = self.terms[index] if index >= 0 else 0.0
        return np.broadcast_to(term, np.broadcast_shapes(*map(np.shape, self.terms)))

    def grows(self) -> bool:
        """Whether a positive power of p has a coefficient that is not 0 everywhere."""
        return any(np.any(term) for term in self.terms[: max(self.degree, 0)])

    def __add__(self, other: Any) -> Expansion:
        if not isinstance(other, Expansion):
            if not isinstance(other, _NUMBERS):
                return NotImplemented
            other = Expansion(0, other)
        high, low = (self, other) if self.degree >= other.degree else (other, self)
        shifted = ([0.0] * (high.degree - low.degree) + list(low.terms))[:_TERMS]
        return Expansion(high.degree, *(a + b for a, b in zip(high.terms, shifted, strict=True)))

    __radd__ = __add__

    def __neg__(self) -> Expansion:
        return Expansion(self.degree, *(-term for term in self.terms))

    def __sub__(self, other: Any) -> Expansion:
        return self + (-other)

    def __rsub__(self, other: Any) -> Expansion:
        return -self + other

    def __mul__(self, other: Any) -> Expansion:
        if not isinstance(other, Expansion):
            if not isinstance(other, _NUMBERS):
                return NotImplemented
            return Expansion(self.degree, *(term * other for term in self.terms))
        product = [sum(self.terms[i] * other.terms[k - i] for i in range(k + 1)) for k in range(_TERMS)]
        return Expansion(self.degree + other.degree, *product)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Expansion:
        if isinstance(other, Expansion):
            return self * other.reciprocal()
        return Expansion(self.degree, *(term / other for term in self.terms))

    def __rtruediv__(self, other: Any) -> Expansion:
        return self.reciprocal() * other

    def __pow__(self, exponent: int) -> Expansion:
        result = Expansion(0, 1.0)
        for _ in range(abs(exponent)):
            result = result * self
        return result if exponent >= 0 else result.reciprocal()

    def reciprocal(self) -> Expansion:
        """1 over this number, by long division from the first term that is not 0."""
        skipped = next((k for k, term in enumerate(self.terms) if np.any(term)), 0)
        terms = self.terms[skipped:]
        quotient = [1.0 / np.asarray(terms[0], dtype=float)]
        for k in range(1, len(terms)):
            quotient.append(-sum(terms[i] * quotient[k - i] for i in range(1, k + 1)) * quotient[0])
        return Expansion(skipped - self.degree, *quotient)
