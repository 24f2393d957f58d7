"""Where a check stands: a network on a part of a data set, a point made stationary, and the Hessian's eigenpairs there.

The gradient that is left at the point is subtracted everywhere: the loss is tilted so that the point is stationary
exactly, and its Hessian stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from easgd_theory import MSGD
from easgd_theory.files import atomic
from easgd_theory.schedules import RoundRobin
from gpu_trainer.batches import Batches
from gpu_trainer.crew import Crew
from gpu_trainer.curvature import LARGEST_DENSE, HessianVectorProduct, exact_spectrum
from gpu_trainer.data import load
from gpu_trainer.flat import Flat
from gpu_trainer.lanczos import Spectrum, extremes, interior
from gpu_trainer.measured import Field, stationary_gradient
from gpu_trainer.models import build
from gpu_trainer.preflight import measure

EIGENVECTORS = ("top", "middle", "near zero", "lowest")
"""Which eigenpairs are kept: the largest eigenvalue, the one nearest to half of it, the smallest modulus, the least."""

_PRODUCTS = 1_000  # beyond LARGEST_DENSE: Hessian-vector products for the two ends,
_STEPS = 300  # and the dimension of the Krylov space whose converged pairs serve for what lies between
_STRIDE = 50  # steps of training between two looks at the curvature, which bounds the learning rate
_RATE = 0.5  # of 1 / h_max, the largest that was seen
_SMALL = 0.01  # of h_max: smaller curvatures are so many that quantiles stand for them in a prediction,
_QUANTILES = 64  # and their number


@dataclass(frozen=True, kw_only=True)
class Site:
    """A network, the images that make its loss, and how long it is trained before anything is looked at.

    Attributes
    ----------
    data, data_dir : str
        As for `gpu_trainer.data.load`.
    model : str
        As for `gpu_trainer.models.build`. It is in evaluation mode throughout.
    images : int
        How many images of the training set make the loss; all of them at every step.
    steps : int
        Of full-batch gradient descent with momentum from the initial parameters to the point.
    seed : int
        Of the initial parameters and of which images are taken.
    """

    data: str = "digits"
    data_dir: str | None = None
    model: str = "tiny"
    images: int = 64
    steps: int = 200
    seed: int = 1

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps must be a whole number of at least 0, got {self.steps}")

    def columns(self) -> dict[str, Any]:
        """The columns that every row of a table has in common."""
        return {name: value for name, value in asdict(self).items() if name != "data_dir"}

    @property
    def name(self) -> str:
        """Of the file that keeps the ground: decided by all settings."""
        return f"ground-{blake2b(repr(self).encode(), digest_size=6).hexdigest()}.npz"


@dataclass(frozen=True, eq=False)
class Ground:
    """What is known at a site's point.

    Attributes
    ----------
    site : Site
    point : ndarray, shape (n,)
    slope : ndarray, shape ()
        The length of the gradient there, which is subtracted everywhere.
    values : ndarray, shape (k,)
        The Hessian's eigenvalues that are known, ascending: all of them up to 4,000 parameters.
    h, residuals : ndarray, shape (4,)
        Of the `EIGENVECTORS`: eigenvalues and the distances within which they are certain.
    vectors : ndarray, shape (4, n)
        Of length 1.
    """

    site: Site
    point: np.ndarray
    slope: np.ndarray
    values: np.ndarray
    h: np.ndarray
    residuals: np.ndarray
    vectors: np.ndarray

    @property
    def h_max(self) -> float:
        """The largest curvature."""
        return float(self.h[0])

    def stationary(self) -> tuple[Field, Tensor]:
        """The tilted gradient and the point where it vanishes."""
        network = network_of(self.site)
        network.flat.load(torch.from_numpy(self.point))
        return stationary_gradient(network.model, network.losses)

    def curvatures(self) -> np.ndarray:
        """The spectrum for a prediction: both ends, and what is between as `counted` has it."""
        return np.unique(np.concatenate([self.values[[0, -1]], self.counted()[0]]))

    def counted(self) -> tuple[np.ndarray, np.ndarray]:
        """The spectrum and how often each value counts: what is not small once, the rest as quantiles.

        Eigenvalues that are not known are among the rest, as 0.
        """
        values = np.append(self.values, np.zeros(len(self.point) - len(self.values)))
        small = np.abs(values) < _SMALL * self.h_max
        middles = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
        quantiles = np.quantile(values[small], middles) if small.any() else np.zeros(0)
        counts = np.full(len(quantiles), small.sum() / _QUANTILES)
        return np.append(quantiles, values[~small]), np.append(counts, np.ones((~small).sum()))


def prepare(site: Site, directory: Path) -> Ground:
    """Go to a site: train, and decompose the Hessian; what was found is kept in the directory, and read from there.

    Raises
    ------
    ValueError
        If the network, the data or the number of images is refused, or training leaves the range of numbers.
    """
    path = directory / site.name
    if path.exists():
        with np.load(path) as kept:
            return Ground(site, *(kept[each.name] for each in fields(Ground)[1:]))
    ground = _measured(site)
    with atomic(path) as temporary:
        np.savez(temporary, **{name: value for name, value in vars(ground).items() if name != "site"})
    return ground


def strided(channels: int, side: int, classes: int) -> nn.Module:
    """A small smooth network for images of 28 x 28, 3,014 parameters: few enough for the whole Hessian."""
    left = (side - 5) // 4 - 1
    return nn.Sequential(
        *(nn.Conv2d(channels, 8, 5, stride=4), nn.Tanh()),
        *(nn.Conv2d(8, 12, 3), nn.Tanh()),
        *(nn.Flatten(), nn.Linear(12 * left**2, classes)),
    )


@dataclass(frozen=True, eq=False)
class Network:
    """A site's network and images.

    Attributes
    ----------
    model : torch.nn.Module
        It is moved about.
    flat : Flat
        Its parameters.
    start : Tensor, shape (n,)
        Where they were at first.
    images, labels : Tensor
    classes : int
    seed : int
    """

    model: nn.Module
    flat: Flat
    start: Tensor
    images: Tensor
    labels: Tensor
    classes: int
    seed: int

    def losses(self) -> Iterator[Tensor]:
        """The mean cross-entropy of all images, where the model stands; as `HessianVectorProduct` wants it."""
        yield cross_entropy(self.model(self.images), self.labels)

    def loss(self, point: Tensor) -> float:
        """The mean cross-entropy of all images at a point."""
        self.flat.load(point)
        with torch.no_grad():
            return sum(map(float, self.losses()))

    def gradient(self, point: Tensor, rows: Tensor | None = None) -> Tensor:
        """The gradient at a point, of all images or of some."""
        self.flat.load(point)
        self.flat.zero_gradient()
        some = slice(None) if rows is None else rows
        cross_entropy(self.model(self.images[some]), self.labels[some]).backward()
        return self.flat.gradient()

    def h_max(self, point: Tensor) -> float:
        """The largest curvature at a point, to about 1%."""
        self.flat.load(point)
        return measure(self.model, self.losses, seed=self.seed)


@cache
def network_of(site: Site) -> Network:
    """The network, built once in a process."""
    data = load(site.data, site.data_dir)
    model = build(site.model, data, site.seed, torch.float64).eval()
    images, labels = Batches(data, site.images, site.seed, dtype=torch.float64).train(0, 0)
    flat = Flat(model)
    return Network(model, flat, flat.point(), images, labels, data.classes, site.seed)


def _measured(site: Site) -> Ground:
    network = network_of(site)
    point = _trained(network, site)
    slope = float(network.gradient(point).norm())
    product = HessianVectorProduct(network.model, network.losses)
    known = exact_spectrum(product) if product.n <= LARGEST_DENSE else _from_lanczos(product, site.seed)
    if not known.values[-1] > 0:
        raise ValueError(f"{site.model!r} has no positive curvature at its point: h_max is {known.values[-1]:.3g}")
    kept = known.part(_chosen(known.values))
    return Ground(site, point.numpy(), np.array(slope), known.values, kept.values, kept.residuals, kept.vectors.numpy())


def _trained(network: Network, site: Site) -> Tensor:
    """Where full-batch gradient descent with momentum comes to; its rate falls where the curvature asks for it."""
    point, rate = network.start, np.inf
    for first in range(0, site.steps, _STRIDE):
        rate = min(rate, _RATE / network.h_max(point))
        crew = Crew(MSGD(eta=rate, delta=0.9), RoundRobin(p=1), point)
        for _ in range(min(_STRIDE, site.steps - first)):
            crew.round(lambda worker, clock, at: network.gradient(at))
        point = crew.iterate
    if not bool(torch.isfinite(point).all()):
        raise ValueError(f"training {site.model!r} for steps = {site.steps} left the range of numbers; take fewer")
    network.flat.load(point)
    return point


def _from_lanczos(product: HessianVectorProduct, seed: int) -> Spectrum:
    """Both ends and what else has converged."""
    ends = extremes(product, product.n, tolerance=1e-9, products=_PRODUCTS, seed=seed, dtype=product.dtype)
    inner = interior(product, product.n, steps=min(_STEPS, product.n), tolerance=1e-9, seed=seed, dtype=product.dtype)
    low, high = ends.values
    between = inner.part((inner.values > low) & (inner.values < high - ends.tolerance))
    return Spectrum(
        np.concatenate([ends.values[:1], between.values, ends.values[1:]]),
        torch.cat([ends.vectors[:1], between.vectors, ends.vectors[1:]]),
        np.concatenate([ends.residuals[:1], between.residuals, ends.residuals[1:]]),
        ends.tolerance,
        ends.products + inner.products,
    )


def _chosen(values: np.ndarray) -> np.ndarray:
    """Where the `EIGENVECTORS` are among ascending eigenvalues."""
    top = len(values) - 1
    return np.array([top, np.abs(values - values[top] / 2).argmin(), np.abs(values).argmin(), 0])
