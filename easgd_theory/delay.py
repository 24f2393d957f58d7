"""The delay pencil of a round-robin round: its spectrum from one visit, whatever the number of workers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from easgd_theory import certificate, modulus, pencil, roots, simultaneous
from easgd_theory.algorithm import Algorithm
from easgd_theory.kernels import compiled_functions, run_in_blocks
from easgd_theory.linear import as_form, stack
from easgd_theory.maps import Field
from easgd_theory.visit import tick

Polynomial = dict[tuple[int, int, int], Any]
"""Coefficients by the exponents of v = w - 1, zeta = z - 1 and S, the mean of z, ..., z^(p-1)."""


def visit_blocks(rule: type[Algorithm], tau: int, p: Any, field: Field) -> np.ndarray:
    """One visit as a matrix from (worker, mean of the other workers, center) to (worker, center).

    Shape (..., m + n, 2 m + n), with m variables of a worker and n of the center.
    """
    m, n = len(rule.worker), len(rule.center)
    forms = field.forms(2 * m + n)
    workers = [rule.Worker(*forms[:m]), rule.Worker(*forms[m : 2 * m])]
    (active, _), center = tick(
        rule, field.k, tau, [0], workers, rule.Center(*forms[2 * m :]), field.gradient, copies=[1, p - 1]
    )
    return stack([as_form(value, forms[0]) for value in (*active, *center)])


def pencil_coefficients(blocks: np.ndarray, m: int) -> np.ndarray | None:
    r"""Coefficients of det [[w I - A - A_r S, -B], [-C - C_r S, z I - D]] in v, zeta and S.

    In the eigenvector of one tick followed by a cyclic shift the j-th next worker is :math:`z^j` times the one that
    visits, so that the mean of the others is S times it (docs/theory.md, section 4). A variable of the worker that
    nothing reads contributes only zeros, and is left out.

    Parameters
    ----------
    blocks : ndarray, shape (points, m + n, 2 m + n)

    Returns
    -------
    ndarray, shape (points, m' + 1, n + 1, r + 1)
        r = 0 where no visit reads the other workers. None if the center reads nothing of a worker, or more than two of
        its variables matter: `roots` knows the branches of linear and quadratic polynomials.
    """
    n = blocks.shape[1] - m
    used = np.logical_or.reduce(blocks, axis=(0, 1))
    read = [i for i in range(m) if used[i] or used[m + i]]
    if len(read) not in (1, 2):
        return None
    unchanged = np.eye(m + n, 2 * m + n, k=m)
    unchanged[:m, : 2 * m] = np.eye(m, 2 * m)
    rest = unchanged - blocks  # what stands in the determinant where v, zeta and S are 0, and before S
    present = rest.any(axis=0)
    rows = [*read, *range(m, m + n)]
    entries: list[list[Polynomial]] = []
    for i in rows:
        line: list[Polynomial] = []
        for j in rows:
            worker = j < m
            own = j if worker else m + j
            entry: Polynomial = {(0, 0, 0): rest[:, i, own]} if present[i, own] else {}
            if i == j:
                entry[(1, 0, 0) if worker else (0, 1, 0)] = 1.0
            if worker and present[i, m + j]:
                entry[(0, 0, 1)] = rest[:, i, m + j]
            line.append(entry)
        entries.append(line)
    polynomial = determinant(entries)
    shape = tuple(1 + max(degrees) for degrees in zip(*polynomial, strict=True))
    coefficients = np.zeros((len(blocks), *shape), order="F")  # what is done to all points at once is quicker
    for exponents, value in polynomial.items():
        coefficients[(slice(None), *exponents)] = value
    return coefficients


def determinant(rows: Sequence[Sequence[Polynomial]]) -> Polynomial:
    """Laplace's expansion along the first row; zero entries cost nothing."""
    if len(rows) == 1:
        return dict(rows[0][0])
    total: Polynomial = {}
    for j, entry in enumerate(rows[0]):
        if not entry:
            continue
        minor = determinant([[*row[:j], *row[j + 1 :]] for row in rows[1:]])
        signed = {exponents: -x for exponents, x in entry.items()} if j % 2 else entry
        for (a, x), (b, y) in product(signed.items(), minor.items()):
            key, term = (a[0] + b[0], a[1] + b[1], a[2] + b[2]), x * y
            total[key] = total[key] + term if key in total else term
    return total


def dominant_roots(coefficients: np.ndarray, p: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logarithm of the round's spectral radius at each point, |f'| at the root, and whether it is certified."""
    points = len(coefficients)
    result, slope, certified = np.empty(points), np.empty(points), np.zeros(points, dtype=bool)
    kernel = compiled()["radii"] if points > 1 else roots.radii
    run_in_blocks(kernel, np.ascontiguousarray(coefficients), float(p), result, slope, certified)
    return result, slope, certified


@cache
def compiled() -> dict[str, Any]:
    """The functions behind `dominant_roots`, compiled."""
    return compiled_functions((pencil, modulus, certificate, simultaneous, roots))
