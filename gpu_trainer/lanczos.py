"""Eigenvalues and eigenvectors of a symmetric operator that is known by its products with vectors: Lanczos.

The basis is reorthogonalised in full, so no eigenvalue shows twice by rounding; where it has grown to its capacity, the
best Ritz vectors are kept and it grows again from them (thick restart: Wu and Simon 2000). Every pair returned carries
the norm of its own residual, taken from products and not from the recurrence; H, being symmetric, has an eigenvalue
within that distance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

Product = Callable[[torch.Tensor], torch.Tensor]
"""From a vector v of shape (n,) to H v."""

_BASIS_BYTES = 2**30  # that a basis may take before it is restarted,
_LARGEST_BASIS = 1_000  # and its vectors: beyond, orthogonalising costs more than a restart


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Some eigenvalues of a symmetric operator H, with their eigenvectors and error bounds.

    Attributes
    ----------
    values : ndarray, shape (k,)
        Ascending.
    vectors : Tensor, shape (k, n)
        Of length 1, the largest entry positive; dtype and device are those of the products.
    residuals : ndarray, shape (k,)
        ``norm(H @ v - value * v)``: H has an eigenvalue within that distance of `value`.
    tolerance : float
        The residual up to which a pair counts as converged: the relative tolerance that was asked for, times the
        largest modulus of an eigenvalue seen.
    products : int
        How often H was multiplied with a vector.
    """

    values: np.ndarray
    vectors: torch.Tensor
    residuals: np.ndarray
    tolerance: float
    products: int

    @property
    def converged(self) -> np.ndarray:
        """Which pairs are within the tolerance; bool, shape (k,)."""
        return np.asarray(self.residuals <= self.tolerance)

    def part(self, chosen: np.ndarray) -> Spectrum:
        """Some of the pairs, by a mask or by indices."""
        rows = torch.from_numpy(np.arange(len(self.values))[chosen]).to(self.vectors.device)
        return replace(self, values=self.values[chosen], vectors=self.vectors[rows], residuals=self.residuals[chosen])


def extremes(
    product: Product,
    n: int,
    *,
    largest: int = 1,
    smallest: int = 1,
    tolerance: float = 1e-6,
    products: int = 1_000,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Spectrum:
    """Eigenvalues at both ends of a symmetric operator's spectrum.

    Parameters
    ----------
    product : callable
        From a vector, a tensor of shape (n,), to H v; H is symmetric, and the same in every call.
    n : int
        Number of dimensions.
    largest, smallest : int, default 1
        How many are wanted at the upper and at the lower end. An eigenvalue that is exactly multiple shows at least
        once: a single start sees one direction of its eigenspace.
    tolerance : float, default 1e-6
        Iterate until the residuals of the wanted pairs are below this part of the largest modulus of an eigenvalue.
        Eigenvalues then are off by the square of that where they are well separated.
    products : int, default 1000
        The number of products to stop at. What has not converged by then is returned all the same, and its residual
        tells (`Spectrum.converged`).
    seed : int, default 0
        Of the random start. The same seed gives the same start for any dtype and device.
    dtype, device : torch.dtype, torch.device or str
        Of the vectors.

    Returns
    -------
    Spectrum
        The `smallest` at the lower end, then the `largest` at the upper end.

    Raises
    ------
    ValueError
        A count that does not fit n or the number of products, or a tolerance that is not positive.
    FloatingPointError
        A product is not finite.

    References
    ----------
    Parlett (1998), The Symmetric Eigenvalue Problem, chapter 13; Wu and Simon (2000), SIAM J. Matrix Anal. Appl. 22.

    Examples
    --------
    >>> diagonal = torch.linspace(-1, 5, 400, dtype=torch.float64)
    >>> extremes(lambda v: diagonal * v, 400).values.round(9)
    array([-1.,  5.])
    """
    wanted = _checked_counts(n, largest, smallest, tolerance, products)
    krylov = _Krylov(product, _drawing(n, seed, dtype, device), _capacity(n, wanted, dtype, products))
    ends = np.r_[:smallest, -largest:0]
    while krylov.products < products - wanted:
        if krylov.size == krylov.capacity:
            krylov.restart(largest, smallest)
        krylov.step()
        if krylov.size >= wanted and krylov.is_due():
            values, _, bounds = krylov.ritz()
            if np.all(bounds[ends] <= tolerance * np.abs(values).max()):
                break
    values, columns, _ = krylov.ritz()
    vectors = krylov.combined(columns[:, ends])
    images = torch.stack([krylov.multiplied(vector) for vector in vectors])
    return rayleigh(vectors, images, tolerance * float(np.abs(values).max()), krylov.products)


def interior(
    product: Product,
    n: int,
    *,
    steps: int,
    tolerance: float = 1e-6,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Spectrum:
    """All eigenvalues that have converged after a number of Lanczos steps, those inside the spectrum too.

    The ends and what stands apart converge first, the bulk near zero of a network's Hessian last: how much of it comes
    depends on `steps`, and only what has converged is returned.

    Parameters
    ----------
    product, n, tolerance, seed, dtype, device
        As in `extremes`.
    steps : int
        Dimension of the Krylov space, at most n: as many products, and twice as many vectors that are held.

    Returns
    -------
    Spectrum
        Converged pairs only; perhaps none. Their residuals need no further products: those of the basis are kept.

    Examples
    --------
    >>> diagonal = torch.cat([torch.linspace(-1, 1, 400), torch.tensor([3.0, 4.0, 5.0])]).double()
    >>> found = interior(lambda v: diagonal * v, 403, steps=60)
    >>> found.values[-3:].round(9), len(found.values) < 20
    (array([3., 4., 5.]), True)
    """
    if not 1 <= steps <= n:
        raise ValueError(f"steps must be from 1 to n = {n}, got {steps}")
    _checked_counts(n, 1, 0, tolerance, steps + 1)
    images: list[torch.Tensor] = []

    def recorded(vector: torch.Tensor) -> torch.Tensor:
        images.append(product(vector))
        return images[-1]

    krylov = _Krylov(recorded, _drawing(n, seed, dtype, device), steps)
    while krylov.size < steps:
        krylov.step()
    values, vectors, bounds = krylov.ritz()
    scale = float(np.abs(values).max())
    columns = vectors[:, bounds <= tolerance * scale]
    rows = torch.from_numpy(columns.T).to(krylov.basis)
    found = rayleigh(krylov.combined(columns), rows @ torch.stack(images), tolerance * scale, krylov.products)
    return found.part(found.converged)


def rayleigh(vectors: torch.Tensor, images: torch.Tensor, tolerance: float, products: int) -> Spectrum:
    """Rayleigh quotients and residuals of approximate eigenvectors whose products are known."""
    lengths = vectors.norm(dim=1, keepdim=True)
    vectors, images = vectors / lengths, images / lengths
    values = (vectors * images).sum(dim=1)
    residuals = (images - values[:, None] * vectors).norm(dim=1)
    signs = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True)).sign()
    found = (values.double().cpu().numpy(), vectors * signs, residuals.double().cpu().numpy())
    return Spectrum(*found, tolerance, products).part(np.argsort(found[0]))


class _Krylov:
    """An orthonormal basis that grows by a product a step, and the operator projected on it.

    Always ``H V' = V' T + coupling * v e'`` with the basis V (its rows), the projected operator T, the next vector v
    and the last unit vector e: a Ritz pair (theta, V' s) of T has the residual ``coupling * abs(s[-1])``.
    """

    def __init__(self, product: Product, draw: Callable[[], torch.Tensor], capacity: int) -> None:
        start = draw()
        n = len(start)
        self.product = product
        self.draw = draw
        self.capacity = capacity
        self.basis = torch.empty(min(capacity + 1, n), n, dtype=start.dtype, device=start.device)
        self.basis[0] = start / start.norm()
        self.projected = np.zeros((capacity, capacity))
        self.size = 0
        self.coupling = 0.0
        self.products = 0

    def step(self) -> None:
        """Multiply the next vector and make what is new in the product the one after it."""
        new = self.multiplied(self.basis[self.size])
        before = float(new.norm())
        k = self.size
        self.size += 1
        new, coefficients = self._orthogonal(new)
        self.projected[k, : self.size] = self.projected[: self.size, k] = coefficients
        self.coupling = float(new.norm())
        if self.size == len(self.basis[0]):  # the basis spans everything
            self.coupling = 0.0
            return
        precision = torch.finfo(new.dtype).eps
        if self.coupling <= 8 * precision * max(before, float(np.abs(self.projected).max())):
            # The space is invariant: all that the start contains has been found. Go on with what it lacks.
            self.coupling = 0.0
            new = self.draw()
            before = float(new.norm())
            new, _ = self._orthogonal(new)
        if float(new.norm()) < precision**0.5 * before:  # little is left: its own rounding must go, too
            new, _ = self._orthogonal(new / new.norm())
        self.basis[self.size] = new / new.norm()

    def is_due(self) -> bool:
        """Whether to look at the Ritz values now: solving for them after every step would cost more than the steps."""
        return self.size == self.capacity or self.size % (1 + self.size // 32) == 0

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ritz values, ascending; their vectors in the basis, as columns; estimates of their residuals."""
        values, vectors = np.linalg.eigh(self.projected[: self.size, : self.size])
        return values, vectors, np.abs(self.coupling * vectors[-1])

    def restart(self, largest: int, smallest: int) -> None:
        """Keep half of the Ritz pairs, at the ends that are wanted, and the next vector."""
        spare = max(0, self.capacity // 2 - largest - smallest)
        share = spare // 2 if largest and smallest else spare
        low, high = smallest + share * bool(smallest), largest + share * bool(largest)
        kept = np.r_[:low, self.size - high : self.size]
        values, vectors, _ = self.ritz()
        self.basis[: len(kept)] = self.combined(vectors[:, kept])
        self.basis[len(kept)] = self.basis[self.size]
        self.size = len(kept)
        self.projected[:] = 0
        self.projected[range(self.size), range(self.size)] = values[kept]

    def multiplied(self, vector: torch.Tensor) -> torch.Tensor:
        """Its product, counted and looked at."""
        image = self.product(vector)
        self.products += 1
        if not bool(torch.isfinite(image).all()):
            raise FloatingPointError("a product of the operator with a vector is not finite")
        return image

    def _orthogonal(self, vector: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
        """What the basis lacks of `vector`, and the coefficients of what it has; twice is enough."""
        basis = self.basis[: self.size]
        coefficients = np.zeros(self.size)
        for _ in range(2):
            part = basis @ vector
            vector = vector - part @ basis
            coefficients += part.double().cpu().numpy()
        return vector, coefficients

    def combined(self, columns: np.ndarray) -> torch.Tensor:
        """Vectors given by their coefficients in the basis, as columns; returned as rows."""
        return torch.from_numpy(columns.T).to(self.basis) @ self.basis[: self.size]


def _drawing(n: int, seed: int, dtype: torch.dtype, device: torch.device | str) -> Callable[[], torch.Tensor]:
    """A source of normal random vectors, drawn on the CPU in double precision: the same for all."""
    random = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(n, generator=random, dtype=torch.float64).to(dtype=dtype, device=device)


def _capacity(n: int, wanted: int, dtype: torch.dtype, products: int) -> int:
    fitting = _BASIS_BYTES // (n * torch.finfo(dtype).bits // 8)
    return min(n, products, max(2 * wanted + 20, min(_LARGEST_BASIS, fitting)))


def _checked_counts(n: int, largest: int, smallest: int, tolerance: float, products: int) -> int:
    """How many are wanted in all, or one sentence saying what is wrong."""
    wanted = largest + smallest
    if largest < 0 or smallest < 0 or not 1 <= wanted <= n:
        raise ValueError(
            f"largest and smallest must not be negative and add up to 1 at least and n = {n} at most, "
            f"got {largest} and {smallest}"
        )
    if products < 2 * wanted:
        raise ValueError(f"products must be at least {2 * wanted}, two for each eigenvalue wanted, got {products}")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, got {tolerance}")
    return wanted
