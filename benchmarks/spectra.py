"""Four ways to the spectral radius of a round of ADMM, on one thread each: ours, and the three one would reach for.

All take the midpoints of a grid over Figure 1's ranges. The library's own way certifies each value.
"""

import os
from time import perf_counter
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

from easgd_theory import ADMM, RoundRobin, delay
from easgd_theory.algorithm import numeric_values
from easgd_theory.maps import Field, composed, numeric_field
from easgd_theory.spectrum import round_growth

# They must have been set before numpy was loaded; LAPACK on several threads that wait for each other would flatter us.
if any(os.environ.get(f"{name}_NUM_THREADS") != "1" for name in ("OPENBLAS", "OMP", "NUMBA")):
    raise RuntimeError("OPENBLAS_NUM_THREADS, OMP_NUM_THREADS and NUMBA_NUM_THREADS must be 1: run `make benchmark`")


def grid(side: int) -> ADMM:
    """ADMM at the midpoints of side x side cells of eta in (0, 0.01), rho in (0, 10)."""
    middle = (np.arange(side) + 0.5) / side
    return ADMM(eta=np.repeat(0.01 * middle, side), rho=np.tile(10.0 * middle, side))


def field_of(rule: ADMM) -> Field:
    """What the definition runs over, at curvature 1."""
    values, h = numeric_values(rule, 1.0)
    return numeric_field(rule, values, np.broadcast_to(h, rule.eta.shape))


def certified_radius(rule: ADMM, p: int) -> np.ndarray:
    """The library's: the delay pencil from the definition, its dominant root, the certificate."""
    return round_growth(rule, RoundRobin(p)).radius


def dense_radius(rule: ADMM, p: int, composing: list[float] | None = None) -> np.ndarray:
    """Batched LAPACK on the composed maps; what composing them took is appended to `composing`."""
    start = perf_counter()
    matrices = composed(ADMM, RoundRobin(p), field_of(rule))
    if composing is not None:
        composing.append(perf_counter() - start)
    return np.abs(np.linalg.eigvals(matrices)).max(axis=-1)


def polynomial_radius(rule: ADMM, p: int) -> np.ndarray:
    """`numpy.roots` on the reduced polynomial in z of docs/theory.md, section 4: one companion matrix a point."""
    radius = [
        np.abs(np.roots(reduced_polynomial(eta, rho, p))).max() ** p for eta, rho in zip(*both(rule), strict=True)
    ]
    return np.array(radius)


def reduced_polynomial(eta: float, rho: float, p: int) -> np.ndarray:
    """(p (z - 1) + 1) ((w - a)(w - 1) + b w) - b w (2 w - 1), divided by z - 1, with w = z^p; highest power first."""
    a, b = (1 - eta) / (1 + eta * rho), eta * rho / (1 + eta * rho)
    w = np.zeros(p + 1)
    w[0] = 1.0
    worker = np.polyadd(np.polymul(np.polysub(w, [a]), np.polysub(w, [1.0])), b * w)
    whole = np.polysub(np.polymul([p, 1.0 - p], worker), b * np.polymul(w, np.polysub(2 * w, [1.0])))
    return np.polydiv(whole, [1.0, -1.0])[0]


def both(rule: ADMM) -> tuple[np.ndarray, np.ndarray]:
    """The two parameters, point by point."""
    return rule.eta, rule.rho


class Arnoldi(NamedTuple):
    """What `scipy.sparse.linalg.eigs` said at each point."""

    radius: np.ndarray  # nan where it gave none
    stopped: int  # points at which the time ran out
    products: float  # of the sparse map with a vector, per point


def sparse_radius(rule: ADMM, p: int, k: int, whole_round: bool, seconds: float) -> Arnoldi:
    """`scipy.sparse.linalg.eigs` on the sparse map of one tick, or on the round as p products with it.

    The tick's eigenvalues z crowd at the unit circle, as z^p are the round's; those of the round are better apart, but
    a product with the round is p products with the tick.
    """
    blocks = delay.visit_blocks(ADMM, 1, p, field_of(rule))
    radius, stopped, products = np.full(len(blocks), np.nan), 0, 0
    for point, block in enumerate(blocks):
        tick = shifted_tick(block, p)
        operator = Clocked(tick, p if whole_round else 1, seconds)
        start = np.random.default_rng(0).standard_normal(tick.shape[0])  # its own start would differ from run to run
        try:
            values = eigs(operator, k=k, which="LM", v0=start, return_eigenvectors=False)
            radius[point] = np.abs(values).max() ** (1 if whole_round else p)
        except ArpackNoConvergence:
            pass
        except TimeoutError:
            stopped += 1
        products += operator.products
    return Arnoldi(radius, stopped, products / len(blocks))


def shifted_tick(block: np.ndarray, p: int) -> sparse.csr_array:
    """One tick followed by the cyclic shift, (u_1, ..., u_p, c) -> (u_2, ..., u_p, u_1', c'), from a visit's blocks."""
    n = 2 * len(block) - block.shape[1]
    m = len(block) - n
    others = np.tile(block[:, m : 2 * m] / (p - 1), p - 1)
    visit = sparse.csr_array(np.hstack([block[:, :m], others, block[:, 2 * m :]]))
    return sparse.vstack([sparse.eye_array(m * (p - 1), m * p + n, k=m), visit]).tocsr()


class Clocked(LinearOperator):
    """A power of a matrix that counts its products, and gives up when the time is over."""

    def __init__(self, matrix: sparse.csr_array, power: int, seconds: float) -> None:
        super().__init__(matrix.dtype, matrix.shape)
        self.matrix, self.power, self.end, self.products = matrix, power, perf_counter() + seconds, 0

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        for _ in range(self.power):
            if perf_counter() > self.end:
                raise TimeoutError
            x = self.matrix @ x
            self.products += 1
        return x
