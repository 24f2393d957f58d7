"""Linear forms: what a definition is run over to obtain its matrix."""

from __future__ import annotations

from typing import Any

import numpy as np


class LinearForm:
    """A linear combination of the round's inputs; it adds, subtracts and scales, and refuses all else.

    A definition run over linear forms either yields its matrix or is not linear: there is no third outcome, which
    running it over plain unit vectors would not tell.

    Parameters
    ----------
    coefficients : ndarray, shape (n, ...)
        One coefficient per input: floats over a grid of parameter points, or elements of a field of fractions, which
        sympy expressions then scale.
    """

    __slots__ = ("coefficients",)

    def __init__(self, coefficients: np.ndarray) -> None:
        self.coefficients = coefficients

    def __add__(self, other: Any) -> LinearForm:
        if isinstance(other, LinearForm):
            return LinearForm(self.coefficients + other.coefficients)
        if isinstance(other, int | float) and other == 0:
            return self
        raise NotLinear("it adds a constant to a variable")

    __radd__ = __add__

    def __neg__(self) -> LinearForm:
        return LinearForm(-self.coefficients)

    def __sub__(self, other: Any) -> LinearForm:
        return self + (-other)

    def __rsub__(self, other: Any) -> LinearForm:
        return -self + other

    def __mul__(self, scale: Any) -> LinearForm:
        if isinstance(scale, LinearForm):
            raise NotLinear("it multiplies two variables")
        return LinearForm(self.coefficients * self._number(scale))

    __rmul__ = __mul__

    def __truediv__(self, scale: Any) -> LinearForm:
        if isinstance(scale, LinearForm):
            raise NotLinear("it divides by a variable")
        return LinearForm(self.coefficients / self._number(scale))

    def _number(self, scale: Any) -> Any:
        field = getattr(self.coefficients.flat[0], "field", None) if self.coefficients.dtype == object else None
        if field is None:
            return scale
        from sympy import sympify

        return field.from_expr(sympify(scale))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **_: Any) -> LinearForm:
        if method == "__call__" and ufunc is np.multiply and not isinstance(inputs[0], LinearForm):
            return inputs[1] * inputs[0]  # array * form
        raise NotLinear(f"it takes {ufunc.__name__} of a variable")


def as_form(value: Any, like: LinearForm) -> LinearForm:
    """What a definition returned for a variable: a form, or the number 0."""
    if isinstance(value, LinearForm):
        return value
    if isinstance(value, int | float) and value == 0:
        return LinearForm(like.coefficients * 0)
    raise NotLinear(f"it sets a variable to {value!r}")


class NotLinear(ValueError):
    """The definition does something to its variables that no matrix does."""


def _refuse(name: str) -> Any:
    def method(self: LinearForm, *_: Any) -> Any:
        raise NotLinear(f"it takes {name.strip('_')} of a variable")

    return method


for _name in ("pow", "rpow", "rtruediv", "floordiv", "mod", "abs", "bool", "round", "lt", "le", "gt", "ge", "eq", "ne"):
    setattr(LinearForm, f"__{_name}__", _refuse(f"__{_name}__"))


def unit_forms(n: int, one: Any, ndim: int = 0) -> list[LinearForm]:
    """The n inputs themselves; `one` is the field's 1, and `ndim` the dimension of the grid of parameters."""
    if isinstance(one, float):
        identity = np.eye(n)
    else:
        identity = np.full((n, n), one - one, dtype=object)
        np.fill_diagonal(identity, one)
    return [LinearForm(row.reshape((n,) + (1,) * ndim)) for row in identity]


def stack(forms: list[LinearForm]) -> np.ndarray:
    """The matrix whose rows are `forms`; shape (..., rows, n). A kind of number other than arrays stacks itself."""
    coefficients = [form.coefficients for form in forms]
    for row in coefficients:
        if not isinstance(row, np.ndarray):
            return type(row).stack(coefficients)
    rows = np.broadcast_arrays(*coefficients)
    return np.moveaxis(np.stack(rows), (0, 1), (-2, -1))
