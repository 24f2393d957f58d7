"""A round over whole intervals of one parameter: where no root crosses the circle, and where one stays outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from easgd_theory import delay, exclusion
from easgd_theory.algorithm import Algorithm, as_real
from easgd_theory.delay import Polynomial, determinant, pencil_coefficients, visit_blocks
from easgd_theory.intervals import TaylorModel
from easgd_theory.kernels import compiled_functions, run_in_blocks
from easgd_theory.linear import LinearForm, as_form
from easgd_theory.maps import Field, synchronous_blocks
from easgd_theory.schedules import Schedule, Synchronous
from easgd_theory.visit import steps

_ROOTS = 8  # of which one that stays outside is looked for


@dataclass(frozen=True)
class Line:
    """One parameter that varies, the others fixed: what is to be proved stable or unstable, interval by interval.

    Attributes
    ----------
    name : str
        The parameter, or "h".
    rule : Algorithm
        Its other parameters are scalars.
    schedule : Synchronous or RoundRobin
    h : float or 1-D array
        With an array all curvatures must be stable.
    """

    name: str
    rule: Algorithm
    schedule: Schedule
    h: Any

    def has_pencil(self) -> bool:
        """Whether there is a pencil in which roots can be followed."""
        if self.schedule.infinite or self._is_small():
            return not self.schedule.infinite
        [block] = self._blocks(np.full((1, 1), np.pi / 4))
        return pencil_coefficients(block.reshape(-1, *block.shape[-2:]), len(self.rule.worker)) is not None

    def unchanged(self, low: np.ndarray, high: np.ndarray, sigma: float) -> np.ndarray:
        """Where no root of the round has the modulus e^sigma, whatever the parameter in [low, high].

        The number of larger roots is then the same over the interval: if none is at one end, none is anywhere.
        """
        proved = np.ones((low.size, self._curvatures().size), dtype=bool)
        for model in self._models(low, high) if low.size else ():
            finite, pencils = _finite(model)
            clear = np.zeros(np.count_nonzero(finite), dtype=bool)
            run_in_blocks(compiled()["clear_cells"], *pencils, self._p(), sigma, clear)
            proved[finite] &= clear
            proved &= finite
        return np.asarray(proved.all(axis=-1))

    def unstable(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Where a root of modulus above 1 is followed from one end of [low, high] to the other."""
        proved = np.zeros((low.size, self._curvatures().size), dtype=bool)
        if not low.size:
            return np.zeros(0, dtype=bool)
        for model, guesses in zip(self._models(low, high), self._roots(low + (high - low) / 2), strict=True):
            finite, pencils = _finite(model)
            outside = np.zeros(np.count_nonzero(finite), dtype=bool)
            run_in_blocks(compiled()["outside_cells"], *pencils, self._p(), guesses[finite], outside)
            proved[finite] |= outside
        return np.asarray(proved.any(axis=-1))

    def _is_small(self) -> bool:
        return isinstance(self.schedule, Synchronous) or self.schedule.workers() == 1

    def _p(self) -> float:
        return 1.0 if self._is_small() else float(self.schedule.workers())

    def _curvatures(self) -> np.ndarray:
        return np.zeros(1) if self.name == "h" else np.atleast_1d(as_real("h", self.h))

    def _blocks(self, parameter: Any) -> list[Any]:
        """The matrices whose determinants have the round's roots; `parameter` has the shape (intervals, 1)."""
        kind, number = (_Enclosed, TaylorModel.constant) if isinstance(parameter, TaylorModel) else (Field, np.asarray)
        values: dict[str, Any] = {name: getattr(self.rule, name) for name in self.rule.parameters()}
        values = {name: parameter if name == self.name else number(value) for name, value in values.items()}
        field = kind(self.rule.pack(values), parameter if self.name == "h" else number(self._curvatures()), 1.0, 2)
        p = self.schedule.workers()
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            rule = _in_one_step(type(self.rule), self.schedule.tau, field)
            if self._is_small():
                return synchronous_blocks(rule, 1, field, p)
            return [visit_blocks(rule, 1, p, field)]

    def _models(self, low: np.ndarray, high: np.ndarray) -> Iterator[TaylorModel]:
        """The pencils' coefficients over the intervals; shape (intervals, curvatures, m + 1, n + 1, r + 1)."""
        coefficients = characteristic if self._is_small() else self._pencil
        with np.errstate(over="ignore", invalid="ignore"):
            for blocks in self._blocks(TaylorModel.over(low[:, None], high[:, None])):
                yield _assembled(coefficients(blocks), (low.size, self._curvatures().size))

    def _pencil(self, blocks: TaylorModel) -> Polynomial:
        """As `easgd_theory.delay.pencil_coefficients`, but in powers of T = S - 1."""
        n = len(self.rule.center)
        m = blocks.shape[-2] - n
        read = [i for i in range(m) if blocks[..., i].any() or blocks[..., m + i].any()]
        rows = [*read, *range(m, m + n)]
        entries: list[list[Polynomial]] = []
        for i in rows:
            entries.append([])
            for j in rows:
                own, others = blocks[..., i, j if j < m else m + j], blocks[..., i, m + j] if j < m else None
                total = own + others if others is not None else own
                constant = float(i == j) - total
                entry: Polynomial = {(0, 0, 0): constant} if constant.any() else {}
                if others is not None and others.any():
                    entry[(0, 0, 1)] = -others
                if i == j:
                    entry[(1, 0, 0) if j < m else (0, 1, 0)] = 1.0
                entries[-1].append(entry)
        return determinant(entries)

    def _roots(self, parameter: np.ndarray) -> Iterator[np.ndarray]:
        """The largest roots s, nan where there are no more, of each of `_blocks`; shape (intervals, curvatures, k)."""
        shape = (parameter.size, self._curvatures().size)
        for block in self._blocks(parameter[:, None]):
            matrices = np.broadcast_to(block, (*shape, *block.shape[-2:])).reshape(-1, *block.shape[-2:])
            finite = np.isfinite(matrices).all(axis=(-2, -1))
            found: np.ndarray
            if self._is_small():
                found = np.full(matrices.shape[:-1], np.nan + 0j)
                with np.errstate(divide="ignore"):
                    found[finite] = np.log(np.linalg.eigvals(matrices[finite]).astype(complex))
            else:
                found = np.full((len(matrices), _ROOTS), np.nan + 0j)
                coefficients = pencil_coefficients(matrices, len(self.rule.worker))
                if coefficients is not None:
                    found[finite] = known_roots(coefficients[finite], self._p())
            yield found.reshape(*shape, found.shape[-1])


class _Enclosed(Field):
    """A field whose forms have enclosures for coefficients from the start, so that no rounding goes unseen."""

    def forms(self, n: int) -> list[LinearForm]:
        models: list[Any] = [TaylorModel.constant(form.coefficients) for form in super().forms(n)]
        return list(map(LinearForm, models))


def _in_one_step(rule: type[Algorithm], tau: int, field: Field) -> type[Algorithm]:
    """The rule whose one step is all tau of `rule`: the steps taken alone are a power of the matrix of one.

    Taken one by one over enclosures each step would widen what came before it.
    """
    _, alone = steps(rule, tau)
    if alone == 0 or tau == 1:
        return rule
    forms = field.forms(len(rule.worker))
    worker = rule.Worker(*forms)
    after = rule.local(worker, field.k, field.gradient(rule.local_query(worker, field.k)))
    one = [as_form(value, forms[0]).coefficients for value in after]
    power = _power([[row[j] for j in range(len(one))] for row in one], alone)

    def moved(values: Any) -> tuple[Any, ...]:
        return tuple(_dot(values, row) for row in power)

    class InOneStep(rule):  # type: ignore[misc, valid-type]
        if rule.center:

            @staticmethod
            def visit(w: Any, c: Any, k: Any, g: Any) -> Any:
                return moved(rule.visit(w, c, k, g))
        else:

            @staticmethod
            def local(w: Any, k: Any, g: Any) -> Any:
                return moved(w)

    return InOneStep


def _dot(left: Any, right: Any) -> Any:
    """Sum of products over any kind of number."""
    total = left[0] * right[0]
    for x, y in zip(left[1:], right[1:], strict=True):
        total = total + x * y
    return total


def _power(matrix: list[list[Any]], exponent: int) -> list[list[Any]]:
    """By repeated squaring."""
    if exponent == 1:
        return matrix
    half = _power(matrix, exponent // 2)
    square = [[_dot(row, column) for column in zip(*half, strict=True)] for row in half]
    if exponent % 2 == 0:
        return square
    return [[_dot(row, column) for column in zip(*matrix, strict=True)] for row in square]


def known_roots(coefficients: np.ndarray, p: float) -> np.ndarray:
    """Some roots s of each pencil, the largest that is found first, and guesses; nan where there are no more."""
    result = np.full((len(coefficients), _ROOTS), np.nan + 0j)
    scale = np.abs(coefficients).max(axis=(1, 2, 3), keepdims=True)
    run_in_blocks(compiled()["known_roots"], coefficients / scale, p, result)
    return result


def characteristic(block: Any) -> Polynomial:
    """det(z I - block) in zeta = z - 1."""
    size = range(block.shape[-1])
    entries: list[list[Polynomial]] = [[{(0, 0, 0): float(i == j) - block[..., i, j]} for j in size] for i in size]
    for i in size:
        entries[i][i][(0, 1, 0)] = 1.0
    return determinant([[{key: x for key, x in entry.items() if np.any(x)} for entry in row] for row in entries])


def _assembled(polynomial: Polynomial, shape: tuple[int, ...]) -> TaylorModel:
    """The coefficients as one array of models."""
    sizes = [max(exponents[axis] for exponents in polynomial) + 1 for axis in range(3)]
    result = TaylorModel.constant(np.zeros((*shape, *sizes)))
    for exponents, value in polynomial.items():
        model = value if isinstance(value, TaylorModel) else TaylorModel.constant(value)
        result.terms[(..., *exponents, slice(None))] = model.terms
        result.low[(..., *exponents)] = model.low
        result.radius[(..., *exponents)] = model.radius
    return result


def _finite(model: TaylorModel) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Which points have an enclosure, and theirs as `exclusion` takes it, scaled by a power of 2."""
    rest = np.abs(model.terms[..., 2:]).sum(axis=-1) + np.abs(model.low) + model.radius
    size = np.abs(model.terms[..., :2]).max(axis=(-4, -3, -2, -1)) + rest.max(axis=(-3, -2, -1))
    finite = np.isfinite(size) & (size > 0)
    scale = np.exp2(-np.floor(np.log2(size[finite])))[:, None, None, None]
    parts = (model.terms[..., 0], model.terms[..., 1], rest)
    a, b, c = (np.ascontiguousarray(part[finite] * scale) for part in parts)
    return finite, (a, b, c)


@cache
def compiled() -> dict[str, Any]:
    """The functions of `exclusion`, compiled, beside those that they call."""
    return compiled_functions((exclusion,), delay.compiled())
