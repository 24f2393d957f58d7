"""Iteration maps: an algorithm run on the identity, over numbers or over symbols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Rational
from typing import TYPE_CHECKING, Any

import numpy as np

from easgd_theory.algorithm import Algorithm, as_instance, as_real, numeric_values
from easgd_theory.linear import LinearForm, NotLinear, as_form, stack, unit_forms
from easgd_theory.schedules import RoundRobin, Schedule, Synchronous
from easgd_theory.visit import Gradient, meet, tick

if TYPE_CHECKING:
    import sympy


def state_names(rule: type[Algorithm], p: int) -> tuple[str, ...]:
    """Names of the p workers' variables and the center's, in the order of the state."""
    long = {"lam": "lambda"}
    workers = [f"{long.get(name, name)}_{i + 1}" for i in range(p) for name in rule.worker]
    return (*workers, *(f"{name}_center" for name in rule.center))


@dataclass(frozen=True)
class Field:
    """The numbers that a map is made of: its parameters `k`, the curvature `h`, a one and the grid's dimension."""

    k: Any
    h: Any
    one: Any = 1.0
    ndim: int = 0

    def forms(self, n: int) -> list[LinearForm]:
        return unit_forms(n, self.one, self.ndim)

    def gradient(self, x: Any) -> Any:
        """Gradient of the quadratic h x^2 / 2."""
        return self.h * x

    def at(self, points: np.ndarray) -> Field:
        """The same field at some points of a one-dimensional grid."""
        k = type(self.k)(*(value[points] if np.ndim(value) else value for value in self.k))
        return Field(k, self.h[points], self.one, self.ndim)


def numeric_field(rule: Algorithm, values: dict[str, np.ndarray], h: np.ndarray) -> Field:
    """Floats over the grid that the values and h span together."""
    ndim = max(array.ndim for array in (*values.values(), h))
    return Field(rule.pack(values), h, 1.0, ndim)


def _split(rule: type[Algorithm], forms: Sequence[Any], p: int) -> tuple[list[Any], Any]:
    m = len(rule.worker)
    workers = [rule.Worker(*forms[i * m : (i + 1) * m]) for i in range(p)]
    return workers, rule.Center(*forms[p * m : p * m + len(rule.center)])


def _join(workers: Sequence[Any], center: Any, like: LinearForm) -> list[LinearForm]:
    return [as_form(value, like) for variables in (*workers, center) for value in variables]


def run(
    rule: type[Algorithm], schedule: Schedule, field: Field, ticks: Sequence[range], noise: bool = False
) -> list[LinearForm]:
    """The state after `ticks`, as linear forms in the state before them.

    With ``noise=True`` each evaluation of the gradient adds one input more, which enters as additive gradient noise.
    """
    p = schedule.workers()
    n = p * len(rule.worker) + len(rule.center)
    evaluations = schedule.tau * sum(map(len, ticks)) if noise else 0
    forms = field.forms(n + evaluations)
    draws = iter(forms[n:])

    def noisy_gradient(x: Any) -> Any:
        return field.gradient(x) + next(draws)

    gradient: Gradient = noisy_gradient if noise else field.gradient
    workers, center = _split(rule, forms, p)
    try:
        for active in ticks:
            workers, center = tick(rule, field.k, schedule.tau, active, workers, center, gradient)
    except (NotLinear, TypeError) as error:
        if isinstance(error, TypeError) and LinearForm.__name__ not in str(error):
            raise
        if "iterable" in str(error):
            raise TypeError(f"{rule.__name__}'s visit, local and absorb must return tuples") from None
        raise NotLinear(f"{rule.__name__} has no iteration map, it is not linear: {error}") from None
    return _join(workers, center, forms[0])


def composed(rule: type[Algorithm], schedule: Schedule, field: Field) -> np.ndarray:
    """The matrix of one round on all variables; shape (..., n, n)."""
    return stack(run(rule, schedule, field, schedule.ticks()))


def synchronous_blocks(rule: type[Algorithm], tau: int, field: Field, p: Any) -> list[np.ndarray]:
    """Two small blocks whose spectra together are the synchronous round's, for any number p of workers.

    The map commutes with every permutation of the workers, so the state space splits. *Consensus*: all workers equal,
    one of them acts for p. *Disagreement*: the workers' variables sum to zero, so do their messages, the center stays
    at zero, and each worker moves alone; multiplicity p - 1, absent at p = 1.

    Parameters
    ----------
    p : int or field element
        The number of workers; it may be a symbol.
    """
    m = len(rule.worker)
    forms = field.forms(m + len(rule.center))
    (worker,), center = _split(rule, forms, 1)
    after, center = tick(rule, field.k, tau, [0], [worker], center, field.gradient, copies=[p])
    blocks = [stack(_join(after, center, forms[0]))]
    if not (isinstance(p, int) and p == 1):
        forms = field.forms(m)
        nothing = rule.Center(*(forms[0] * 0 for _ in rule.center))
        alone = meet(rule, field.k, tau, rule.Worker(*forms), nothing, field.gradient)
        blocks.append(stack(_join([alone], (), forms[0])))
    return blocks


@dataclass(frozen=True, eq=False)
class IterationMap:
    """The linear map of one round; made by `iteration_map`.

    Attributes
    ----------
    algorithm, schedule
        Where the map comes from.
    state : tuple of str
        Names of the variables, in the order of the rows: workers first, as in the paper.
    matrix : sympy Matrix, or ndarray of shape (..., n, n)
        One round.
    steps : list
        One matrix per tick; `matrix` is their product, the last tick leftmost.
    """

    algorithm: Algorithm
    schedule: Schedule
    field: Field

    @property
    def symbolic(self) -> bool:
        return not isinstance(self.field.one, float)

    @cached_property
    def state(self) -> tuple[str, ...]:
        return state_names(type(self.algorithm), self.schedule.workers())

    @cached_property
    def matrix(self) -> Any:
        return self._matrix(self.schedule.ticks())

    @cached_property
    def steps(self) -> list[Any]:
        return [self._matrix([active]) for active in self.schedule.ticks()]

    def _matrix(self, ticks: Sequence[range]) -> Any:
        rows = stack(run(type(self.algorithm), self.schedule, self.field, ticks))
        if not self.symbolic:
            return rows
        import sympy

        return sympy.Matrix(*rows.shape, [entry.as_expr() for entry in rows.flat])

    def characteristic_polynomial(self, z: Any) -> Any:
        """det(z I - matrix), factored over the rationals where the map is symbolic.

        Parameters
        ----------
        z : sympy Symbol, complex or ndarray
            The variable, or where to evaluate. A symbolic map takes a Symbol.
        """
        if self.symbolic:
            import sympy

            if not isinstance(z, sympy.Symbol):
                raise TypeError(f"z must be a sympy Symbol for a symbolic map, got {z!r}")
            if z in self.matrix.free_symbols:
                raise ValueError(f"z must differ from the map's own symbols, got {z!r}")
            content, irreducible = factors(self.matrix, z)
            return sympy.Mul(content, *(sympy.collect(factor, z) for factor in irreducible))
        if self.matrix.ndim != 2:
            raise ValueError(f"the polynomial is that of one matrix, got a grid of shape {self.matrix.shape[:-2]}")
        value = 0 * z
        for coefficient in np.poly(self.matrix):
            value = value * z + coefficient
        return value


def factors(matrix: sympy.Matrix, z: sympy.Symbol) -> tuple[sympy.Expr, list[sympy.Expr]]:
    """det(z I - matrix) as a content free of z and irreducible factors, a repeated one repeated."""
    import sympy
    from sympy.polys.matrices import DomainMatrix

    domain_matrix = DomainMatrix.from_Matrix(matrix).to_field()
    coefficients = [domain_matrix.domain.to_sympy(c) for c in domain_matrix.charpoly()]
    degree = len(coefficients) - 1
    polynomial = sum(c * z ** (degree - i) for i, c in enumerate(coefficients))
    numerator, denominator = sympy.fraction(sympy.together(polynomial))
    content, powers = sympy.factor_list(numerator)
    free = [factor**power for factor, power in powers if not factor.has(z)]
    repeated = [factor for factor, power in powers if factor.has(z) for _ in range(power)]
    return sympy.Mul(content / sympy.factor(denominator), *free), repeated


def symbolic_field(rule: Algorithm, values: dict[str, Any], h: Any, *more: str) -> Field:
    """A field of fractions over the symbols: those of the given expressions, one for each value left out, and `more`.

    Floats become the decimal fractions they are written as.
    """
    import sympy
    from sympy.polys.fields import sfield

    expressions = {name: _expression(name, value) for name, value in (values | {"h": h}).items()}
    generators = [*expressions.values(), *map(sympy.Symbol, more), sympy.Symbol("h")]  # one symbol at least
    field, _ = sfield(generators)
    curvature = expressions.pop("h")
    return Field(rule.pack(expressions), curvature, field.one)


def _expression(name: str, value: Any) -> sympy.Expr:
    import sympy

    if value is None:
        return sympy.Symbol(name)
    if np.ndim(value):
        raise ValueError(f"{name} is an array, other parameters are symbols: give arrays or symbols, not both")
    if _is_symbolic(value):
        return value
    number = float(as_real(name, value))
    return sympy.sympify(value) if isinstance(value, Rational | sympy.Basic) else sympy.Rational(repr(number))


def iteration_map(algorithm: Algorithm | type[Algorithm], schedule: Schedule, h: Any = None) -> IterationMap:
    """The linear map that one round applies to all variables, on the quadratic objective h x^2 / 2.

    Parameters
    ----------
    algorithm : Algorithm
        Parameters without a value become symbols of their name; so does `h`. With all values given (numbers or
        arrays, which broadcast) the map is numeric.
    schedule : Synchronous or RoundRobin
        With its number of workers p.
    h : float, array or sympy expression, optional
        Curvature: an eigenvalue of the Hessian.

    Returns
    -------
    IterationMap
        `.matrix` (one round), `.steps` (per tick), `.state`, `.characteristic_polynomial(z)`.

    Raises
    ------
    TypeError, ValueError
        A bad value, an undefined pair of algorithm and schedule, symbols mixed with arrays, or a rule that is not
        linear.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651, Section 4.

    Examples
    --------
    >>> from easgd_theory import EASGD, RoundRobin, iteration_map
    >>> iteration_map(EASGD(), RoundRobin(p=1)).matrix
    Matrix([
    [-alpha - eta*h + 1,     alpha],
    [             alpha, 1 - alpha]])
    >>> iteration_map(EASGD(), RoundRobin(p=2)).state
    ('x_1', 'x_2', 'x_center')
    """
    rule = as_instance(algorithm)
    check_schedule(rule, schedule)
    schedule.workers()
    values = {name: getattr(rule, name) for name in rule.parameters()}
    if any(value is None or _is_symbolic(value) for value in (*values.values(), h)):
        return IterationMap(rule, schedule, symbolic_field(rule, values, h))
    return IterationMap(rule, schedule, numeric_field(rule, *numeric_values(rule, h)))


def _is_symbolic(value: Any) -> bool:
    return hasattr(value, "free_symbols") and bool(value.free_symbols)


def check_schedule(rule: Algorithm, schedule: Schedule) -> None:
    """Raise unless a round of `rule` on `schedule` is a fixed linear map."""
    if not isinstance(schedule, Synchronous | RoundRobin):
        raise TypeError(f"schedule must be Synchronous(p=..., tau=...) or RoundRobin(p=..., tau=...), got {schedule!r}")
    rule.check(schedule)
