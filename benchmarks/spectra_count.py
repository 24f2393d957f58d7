"""How far from the floor: the arithmetic that the certified radius takes, counted.

The kernels are plain Python, and compiled only where speed counts: so their calls can be counted as they stand. The
floor is a method that knows the dominant root of the neighbouring point and that no other takes over: two steps of
Newton's method on the pencil at each point, and nothing else.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from spectra import field_of

from easgd_theory import ADMM, certificate, delay, modulus, pencil, roots, simultaneous

MODULES = (pencil, modulus, certificate, simultaneous, roots)
COUNTED = {
    "newton": pencil.pencil,
    "values": simultaneous.value,
    "stretches": modulus.all_inside,
    "cells": certificate.inspect_cell,
    "shifts": pencil.taylor,
}
STRETCHES, NEIGHBOURS = 4, 64  # where calls are counted: stretches of neighbouring points, spread over the grid
EVALUATIONS = 20_000


def coefficients(rule: ADMM, p: int) -> np.ndarray:
    """The pencil of every point, scaled as `round_growth` scales it."""
    found = delay.pencil_coefficients(delay.visit_blocks(ADMM, 1, p, field_of(rule)), len(ADMM.worker))
    return found / np.abs(found).max(axis=(1, 2, 3), keepdims=True)


@contextmanager
def wrapped(functions: dict[str, Callable], around: Callable) -> Iterator[None]:
    """Within it every module that holds one of the functions holds around(name, function) in its place."""
    names = {id(function): (name, around(name, function)) for name, function in functions.items()}
    held = [(module, key, value) for module in MODULES for key, value in vars(module).items() if id(value) in names]
    try:
        for module, key, value in held:
            setattr(module, key, names[id(value)][1])
        yield
    finally:
        for module, key, value in held:
            setattr(module, key, value)


def calls_per_point(pencils: np.ndarray, p: int) -> dict[str, float]:
    """How often each of `COUNTED` is called at a point, on average over some stretches of neighbours."""
    calls: Counter[str] = Counter()

    def counting(name: str, function: Callable) -> Callable:
        def call(*arguments: Any) -> Any:
            calls[name] += 1
            return function(*arguments)

        return call

    compiled = delay.compiled
    delay.compiled = lambda: {"radii": roots.radii}  # as it stands
    try:
        with wrapped(COUNTED, counting):
            for start in np.linspace(0, len(pencils) - NEIGHBOURS, STRETCHES).astype(int):
                delay.dominant_roots(pencils[start : start + NEIGHBOURS], p)
    finally:
        delay.compiled = compiled
    return {name: calls[name] / (STRETCHES * NEIGHBOURS) for name in COUNTED}


class Counting(complex):
    """A complex number that counts the real operations done with it."""

    operations = 0

    def _do(self, name: str, other: complex, cost: int) -> "Counting":
        Counting.operations += cost if isinstance(other, complex) else 2
        return Counting(getattr(complex, name)(self, other))

    def __add__(self, other: complex) -> "Counting":
        return self._do("__add__", other, 2)

    def __sub__(self, other: complex) -> "Counting":
        return self._do("__sub__", other, 2)

    def __rsub__(self, other: complex) -> "Counting":
        return self._do("__rsub__", other, 2)

    def __mul__(self, other: complex) -> "Counting":
        return self._do("__mul__", other, 6)

    def __truediv__(self, other: float) -> "Counting":
        return self._do("__truediv__", other, 2)

    def __neg__(self) -> "Counting":
        return Counting(complex.__neg__(self))

    __radd__, __rmul__ = __add__, __mul__


def operations_of_newton(F: np.ndarray, p: int) -> int:
    """Real additions and multiplications of one evaluation of the pencil and its derivative.

    Not counted: the six sines, cosines and exponentials.
    """
    Counting.operations = 0

    def counting(_: str, function: Callable) -> Callable:
        return lambda z: Counting(function(z))

    with wrapped({"cexpm1": pencil.cexpm1, "reciprocal": pencil.reciprocal}, counting):
        pencil.pencil(F, float(p), Counting(-0.1, 1.0))
    return Counting.operations


def compiled_evaluations() -> Callable[[np.ndarray, float, complex], complex]:
    """Compiled: `EVALUATIONS` evaluations of the pencil in a row, each at a point that depends on the one before."""
    import numba

    evaluate = delay.compiled()["pencil"]

    @numba.njit(error_model="numpy")
    def many(F, p, s):
        for _ in range(EVALUATIONS):
            f, df = evaluate(F, p, s)
            s += 1e-12 * f - 1e-13 * df
        return s

    return many
