r"""Closed stability conditions: each says whether it is exact or sufficient, where, and by which theorem.

A condition is a conjunction of inequalities *slack >= 0*. The slacks are plain arithmetic, run over symbols for
`.expression` and over floats for `.holds`. Two roads lead to them: the theorems of `docs/theorems.md`, and, wherever
the round's spectrum is that of small matrices, Jury's criterion on their characteristic polynomials, derived here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import comb
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from easgd_theory.algorithm import Algorithm, as_instance, numeric_values
from easgd_theory.algorithms import DOWNPOUR, EAMSGD, EASGD, MSGD, LocalSGD
from easgd_theory.linear import stack
from easgd_theory.maps import (
    Field,
    check_schedule,
    factors,
    iteration_map,
    numeric_field,
    run,
    symbolic_field,
    synchronous_blocks,
)
from easgd_theory.schedules import RoundRobin, Schedule, Synchronous
from easgd_theory.spectrum import TOLERANCE, is_stable

_ROUNDING = 1e-15

if TYPE_CHECKING:
    import sympy

    Slacks = Callable[[Any, Any, Any, int, Any], Sequence[Any]]


@dataclass(frozen=True, eq=False)
class StabilityCondition:
    """A closed condition for the iterates to stay bounded; made by `stability_condition`.

    Attributes
    ----------
    algorithm, schedule
        What it is about.
    statement : str
        The condition in one line of text.
    exact : bool
        True: necessary and sufficient on `domain`. False: sufficient.
    domain : str
        Where the condition is claimed.
    reference : str
        Its source or proof.
    """

    algorithm: Algorithm
    schedule: Schedule
    statement: str
    exact: bool
    domain: str
    reference: str
    slacks: Slacks | None = None  # a theorem's; None: Jury's criterion
    every_p: bool = False  # p does not enter
    closed: bool = False  # for every p at once: bounded on the boundary too

    @cached_property
    def expression(self) -> sympy.Expr:
        """The condition as a conjunction of sympy inequalities in the parameters' names, h, and p where it enters."""
        import sympy

        rule, values = self.algorithm, _values(self.algorithm)
        if self.slacks is None:
            field = symbolic_field(rule, values, None, "p")
            p = self.schedule.p or sympy.Symbol("p")
            slacks = _symbolic_jury(_small_blocks(rule, self.schedule, field, p))
        else:
            field = symbolic_field(rule, values, None)
            p = self.schedule.p or sympy.Symbol("p", integer=True, positive=True)
            slacks = list(self.slacks(field.k, field.h, p, self.schedule.tau, _sympy_namespace()))
        return sympy.And(*(slack >= 0 for slack in slacks))

    def holds(self, *, h: Any = 1.0, strict: bool = False, p: int | None = None, **parameters: Any) -> Any:
        """Whether the condition holds, at numbers or arrays of them.

        Inside and outside the inequalities decide. Near the boundary (a slack within 1e-9 of 0) the map itself is
        asked, as `is_stable` does: there the iterates may stay bounded or grow polynomially. Where no p is fixed, an
        undecided boundary does not hold.

        Parameters
        ----------
        h : float or array, default 1.0
            Curvature.
        strict : bool, default False
            Ask for convergence: all inequalities strict.
        p : int, optional
            Number of workers, where the schedule has none and the condition needs it.
        **parameters : float or array
            The algorithm's parameters by name.
        """
        unknown = set(parameters) - set(self.algorithm.parameters())
        if unknown:
            known = ", ".join(self.algorithm.parameters())
            raise TypeError(f"{type(self.algorithm).__name__} has no parameter {unknown.pop()!r}; it takes {known}")
        if p is not None and self.schedule.p not in (None, p):
            raise ValueError(f"p is {self.schedule.p} in this condition's schedule, got p={p}")
        rule = replace(self.algorithm, **parameters)  # type: ignore[type-var]
        schedule = self.schedule if self.schedule.p else replace(self.schedule, p=p)
        values, h = numeric_values(rule, h)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            least = self._least_slack(rule, schedule, values, h)
        holds = np.asarray(least > TOLERANCE)
        edge = np.abs(least) <= TOLERANCE
        if edge.any():
            if schedule.p is not None:
                holds |= edge & is_stable(rule, schedule, h, strict=strict)
            else:
                holds |= edge & (least > _ROUNDING if strict else self.closed)
        return holds if holds.ndim else holds.item()

    def _least_slack(self, rule: Algorithm, schedule: Schedule, values: dict[str, Any], h: np.ndarray) -> np.ndarray:
        field = numeric_field(rule, values, h)
        if self.slacks is not None:
            p = schedule.p if self.every_p or schedule.infinite else schedule.workers()
            slacks = self.slacks(field.k, h, p, schedule.tau, np)
        else:
            blocks = _small_blocks(rule, schedule, field, schedule.workers())
            slacks = [slack for block in blocks for slack in hurwitz_slacks(_characteristic_coefficients(block))]
        return np.min(np.broadcast_arrays(*slacks), axis=0)


def stability_condition(algorithm: Algorithm | type[Algorithm], schedule: Schedule) -> StabilityCondition:
    """The closed stability condition of an algorithm on a schedule, exact where one is known.

    Parameters
    ----------
    algorithm : Algorithm
        A class, or a record whose given values are put in.
    schedule : Synchronous or RoundRobin
        Without p: for every number of workers.

    Returns
    -------
    StabilityCondition
        `.expression`, `.statement`, `.exact`, `.domain`, `.reference`, `.holds(...)`.

    Raises
    ------
    ValueError
        No closed form is known; the sentence points to `stable_intervals`.

    Examples
    --------
    >>> from easgd_theory import EASGD, RoundRobin, stability_condition
    >>> condition = stability_condition(EASGD, RoundRobin())
    >>> condition.exact, condition.statement
    (True, '0 <= eta*h <= 2 and 0 <= alpha <= (4 - 2*eta*h)/(4 - eta*h)')
    >>> condition.holds(eta=1.0, alpha=0.6), condition.holds(eta=1.0, alpha=0.7)
    (True, False)
    """
    rule = as_instance(algorithm)
    check_schedule(rule, schedule)
    if schedule.p is None and "p" in rule.requires_one:
        schedule = replace(schedule, p=1)
    theorem = _THEOREMS.get(type(rule))
    if theorem and isinstance(schedule, RoundRobin):
        condition = theorem(rule, schedule)
        if condition:
            return condition
    if isinstance(schedule, Synchronous) or schedule.p in (1, 2):
        return StabilityCondition(
            rule,
            schedule,
            statement=f"Jury's criterion on the characteristic polynomial of {_which_blocks(schedule)}",
            exact=True,
            domain="all real values at which the map is defined" + ("" if schedule.p else "; exact for p >= 2"),
            reference="Jury (1964); docs/theory.md, sections 5 and 6",
        )
    where = f"p={schedule.p}, tau={schedule.tau}" if schedule.p else f"every p, tau={schedule.tau}"
    raise ValueError(
        f"no closed stability condition is known for {type(rule).__name__} on {type(schedule).__name__} with {where}; "
        "stable_intervals computes the stable set"
    )


def _which_blocks(schedule: Schedule) -> str:
    if schedule.p == 1:
        return "the round"
    return "the consensus and disagreement blocks" if isinstance(schedule, Synchronous) else "the shifted tick"


# Theorems: what docs/theorems.md proves


def _easgd_round_robin(rule: Algorithm, schedule: Schedule) -> StabilityCondition | None:
    """T2 and T3; a single worker with even tau is left to Jury's criterion, which is exact."""
    tau, p = schedule.tau, schedule.p
    if p == 1 and tau % 2 == 0:
        return None
    if tau == 1:
        return StabilityCondition(
            rule,
            schedule,
            statement="0 <= eta*h <= 2 and 0 <= alpha <= (4 - 2*eta*h)/(4 - eta*h)",
            exact=p is None or schedule.infinite or p % 2 == 1,
            domain="all real eta*h and alpha",
            reference="Zhang, Choromanska, LeCun (2015), Section 4; exactness: docs/theorems.md, T2",
            slacks=_easgd_slacks,
            every_p=True,
            closed=True,
        )
    return StabilityCondition(
        rule,
        schedule,
        statement="0 <= eta*h <= 2, alpha >= 0, (1 + g**tau)*(2 - alpha) >= 2*alpha*G and "
        "(1 - g**tau)*(2 - alpha) + 2*alpha*G >= 0, where g = 1 - eta*h and G = g**(tau - 1)",
        exact=p is None or schedule.infinite or (p % 2 == 1 and tau % 2 == 1),
        domain="all real eta*h and alpha"
        + ("" if tau % 2 or schedule.infinite else "; exact for odd p where eta*h <= 1, for even p where eta*h >= 1"),
        reference="docs/theorems.md, T3",
        slacks=_easgd_slacks,
        every_p=True,
        closed=tau % 2 == 1,
    )


def _easgd_slacks(k: Any, h: Any, p: Any, tau: int, xp: Any) -> Sequence[Any]:
    e = k.eta * h
    if tau == 1:
        return e, 2 - e, k.alpha, 4 - 2 * e - k.alpha * (4 - e)
    g, G = 1 - e, (1 - e) ** (tau - 1)
    lower = (1 + g**tau) * (2 - k.alpha) - 2 * k.alpha * G
    upper = (1 - g**tau) * (2 - k.alpha) + 2 * k.alpha * G
    return e, 2 - e, k.alpha, lower, upper


def _eamsgd_round_robin(rule: Algorithm, schedule: Schedule) -> StabilityCondition | None:
    """T5, every p; a single worker is left to Jury's criterion."""
    if schedule.p == 1:
        return None
    return StabilityCondition(
        rule,
        schedule,
        statement="|d| <= 1, |t| <= 1 + d, 0 <= alpha < 2 and the quadratic of T5 is not negative on [-1, 1]",
        exact=schedule.p is None,
        domain="eta*h > 0, alpha > 0, 0 <= delta < 1",
        reference="docs/theorems.md, T5",
        slacks=_eamsgd_slacks,
        every_p=True,
    )


def _eamsgd_slacks(k: Any, h: Any, p: Any, tau: int, xp: Any) -> Sequence[Any]:
    local = MSGD(eta=k.eta, delta=k.delta)
    L = np.array(iteration_map(local, Synchronous(p=1, tau=tau), h).matrix)
    t = L[..., 0, 0] + L[..., 1, 1]
    ell = np.array(iteration_map(local, Synchronous(p=1, tau=tau - 1), h).matrix)[..., 0, 0] if tau > 1 else 1
    d = (k.delta * (1 - k.eta * h)) ** tau
    Y = 2 * k.alpha / (2 - k.alpha)
    a = 2 * d * (2 - Y)  # a c^2 + b c + const is not negative for c in [-1, 1]:
    b = Y * (ell * (1 + d) + t * d) - 2 * t * (1 + d)
    const = t**2 + (1 - d) ** 2 + Y * (d - d**2 - ell * t)
    at_one, at_minus_one = 1 - t + d + Y * (ell - d), 1 + t + d - Y * (ell + d)
    vertex = xp.where(2 * a > xp.abs(b), const - b**2 / (4 * a), 1)  # where its minimum is inside
    return 1 - d, 1 + d, 1 + d - t, 1 + d + t, k.alpha, 2 - k.alpha, at_one, at_minus_one, vertex


def _downpour_round_robin(rule: Algorithm, schedule: Schedule) -> StabilityCondition:
    """T6; round-robin, Local SGD is the same map."""
    return StabilityCondition(
        rule,
        schedule,
        statement="0 <= kappa <= 2*sin(pi/(2*(2*p - 1))), where kappa = 1 - (1 - eta*h)**tau",
        exact=True,
        domain="all real eta*h",
        reference="Levin and May (1976); docs/theorems.md, T6",
        slacks=_downpour_slacks,
    )


def _downpour_slacks(k: Any, h: Any, p: Any, tau: int, xp: Any) -> Sequence[Any]:
    kappa = 1 - (1 - k.eta * h) ** tau
    return kappa, 2 * xp.sin(xp.pi / (2 * (2 * p - 1))) - kappa


_THEOREMS: dict[type[Algorithm], Callable[[Any, Schedule], StabilityCondition | None]] = {
    EASGD: _easgd_round_robin,
    EAMSGD: _eamsgd_round_robin,
    DOWNPOUR: _downpour_round_robin,
    LocalSGD: _downpour_round_robin,
}


def _sympy_namespace() -> SimpleNamespace:
    import sympy

    def where(condition: Any, yes: Any, no: Any) -> sympy.Expr:
        return sympy.Piecewise((yes, condition), (no, True))

    return SimpleNamespace(sin=sympy.sin, pi=sympy.pi, abs=sympy.Abs, where=where)


# Jury's criterion, for rounds whose spectrum is that of small matrices


def _values(rule: Algorithm) -> dict[str, Any]:
    return {name: getattr(rule, name) for name in rule.parameters()}


def _small_blocks(rule: Algorithm, schedule: Schedule, field: Field, p: Any) -> list[np.ndarray]:
    """Matrices that are stable iff the round is."""
    if isinstance(schedule, Synchronous) or schedule.p == 1:
        return synchronous_blocks(type(rule), schedule.tau, field, p)
    # Each tick is the same map with another worker first, so a round is the p-th power of tick and relabelling.
    m = len(rule.worker)
    forms = run(type(rule), schedule, field, schedule.ticks()[:1])
    return [stack(forms[m : p * m] + forms[:m] + forms[p * m :])]


def hurwitz_slacks(c: Sequence[Any]) -> list[Any]:
    r"""Slacks that are all positive iff the roots of c[0] z^n + ... + c[n] lie inside the unit circle.

    Jury's criterion in the form of Liénard and Chipart: :math:`z = (1+s)/(1-s)` takes the disk to a half-plane, where
    every other coefficient and every other Hurwitz determinant must be positive. `c[0]` is 1; the coefficients are
    numbers, arrays or expressions.
    """
    n = len(c) - 1
    # (1 + s)^(n-j) (1 - s)^j, coefficient of s^i
    mobius = [
        [sum(comb(n - j, i - m) * comb(j, m) * (-1) ** m for m in range(i + 1)) for j in range(n + 1)]
        for i in range(n + 1)
    ]
    b = [sum(row[j] * c[j] for j in range(n + 1)) for row in mobius][::-1]  # highest power of s first
    entry = {i: b[i] for i in range(n + 1)}
    slacks = [b[0], *(b[i] for i in range(n, 0, -2))]
    for size in range(n - 1, 0, -2):
        slacks.append(_determinant([[entry.get(2 * j - i + 1, 0) for j in range(size)] for i in range(size)]))
    return slacks


def _determinant(rows: list[list[Any]]) -> Any:
    """Laplace's expansion, for small sizes; the entries are of any kind."""
    if not rows:
        return 1
    minors = ([row[:j] + row[j + 1 :] for row in rows[1:]] for j in range(len(rows)))
    return sum((-1) ** j * rows[0][j] * _determinant(minor) for j, minor in enumerate(minors))


def _characteristic_coefficients(matrix: np.ndarray) -> list[np.ndarray]:
    """Coefficients of det(z I - matrix), highest power first, by Faddeev and LeVerrier; matrix (..., n, n)."""
    n = matrix.shape[-1]
    coefficients = [np.ones(matrix.shape[:-2])]
    power = np.zeros_like(matrix)
    for k in range(1, n + 1):
        power = matrix @ power + coefficients[-1][..., None, None] * np.eye(n)
        coefficients.append(-np.trace(matrix @ power, axis1=-2, axis2=-1) / k)
    return coefficients


def _symbolic_jury(blocks: list[np.ndarray]) -> list[Any]:
    """The slacks of every factor of every block's characteristic polynomial, each once, roots at 0 left out."""
    import sympy

    z = sympy.Symbol("z")
    slacks: dict[Any, None] = {}
    for block in blocks:
        matrix = sympy.Matrix(*block.shape, [entry.as_expr() for entry in block.flat])
        for factor in factors(matrix, z)[1]:
            polynomial = sympy.Poly(factor, z)
            if polynomial != sympy.Poly(z, z):
                for slack in hurwitz_slacks(polynomial.monic().all_coeffs()):
                    _, part = sympy.factor(slack).as_content_primitive()
                    if part.free_symbols or part < 0:  # no other number says anything
                        slacks[part] = None
    return list(slacks)
