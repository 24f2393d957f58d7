"""The Hessian of a network's loss at the point where the network stands: its products with vectors, and all of it.

Vectors are flat: the parameters that require a gradient, one after the other in the order of ``model.parameters()``.
Where the loss is piecewise smooth (ReLU, max pooling) this is the Hessian of the piece that the point lies in: that of
the loss almost everywhere, blind to the kinks between the pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from gpu_trainer.flat import Flat
from gpu_trainer.lanczos import Spectrum, rayleigh

Losses = Callable[[], Iterable[torch.Tensor]]
"""Yields the parts of a loss, one scalar per batch, whose sum is the loss; called anew for every product."""

_Gradient = dict[int, torch.Tensor]  # by the parameter's position

LARGEST_DENSE = 4_000
"""The Hessian is formed as a whole up to this many parameters: 128 MiB in float64."""

_ROWS = 256  # products that share their passes over the data, while a dense Hessian is formed


class HessianVectorProduct:
    """The map v -> H v, H the Hessian of a loss with respect to a network's parameters, as they are at the call.

    The gradient is differentiated once more, batch by batch: the memory is that of one batch, and the products are
    exact to rounding.

    Parameters
    ----------
    model : torch.nn.Module
        Its parameters that require a gradient are the variables; one dtype, one device.
    losses : callable
        Without arguments; yields the scalar losses of the batches, the sum of which is the loss. They are weighted by
        the caller: for the mean over a data set, ``cross_entropy(..., reduction="sum") / size``. A term without data,
        such as weight decay, is one part more. Let it yield expressions rather than names: a name keeps its batch's
        graph alive while the next one is built. The loss must be the same function in every call, so dropout must be
        off or drawn from a fixed seed, and batch normalisation in evaluation mode (in training mode it would depend
        on the batches, and its running buffers would move): ``model.eval()`` serves for both.

    Attributes
    ----------
    n : int
        Number of variables.
    dtype, device : torch.dtype, torch.device
        Of the variables and vectors.

    Examples
    --------
    >>> model = torch.nn.Linear(2, 1, bias=False).double()
    >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    >>> product = HessianVectorProduct(model, lambda: (model(row).square().sum() / 2 for row in x))
    >>> product(torch.tensor([1.0, 0.0], dtype=torch.float64))  # the first column of x' x
    tensor([10., 14.], dtype=torch.float64)
    """

    def __init__(self, model: torch.nn.Module, losses: Losses) -> None:
        self.losses = losses
        flat = Flat(model)
        self._parameters, self.n = flat.parameters, flat.n
        self._sizes = [parameter.numel() for parameter in self._parameters]
        self.dtype, self.device = self._parameters[0].dtype, self._parameters[0].device

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """H times a vector of shape (n,), or times each row of shape (k, n), with one pass over the data for all."""
        if vectors.shape[-1:] != (self.n,) or vectors.ndim > 2:
            raise ValueError(f"vectors must have shape ({self.n},) or (k, {self.n}), got {tuple(vectors.shape)}")
        rows = vectors.detach().reshape(-1, self.n)
        total = torch.zeros_like(rows)
        with torch.enable_grad():
            for loss in self.losses():
                self._add(self._gradient(loss), rows, total)
                del loss  # its graph, before the next one is built
        return total.reshape(vectors.shape)

    def _gradient(self, loss: torch.Tensor) -> _Gradient:
        """The gradient of one part, differentiable; without the parameters in which the loss is linear."""
        if loss.ndim or not loss.requires_grad:
            raise ValueError(
                "losses must yield scalars that depend on the model's parameters, "
                f"got a tensor of shape {tuple(loss.shape)}{'' if loss.requires_grad else ' that requires no gradient'}"
            )
        gradient = torch.autograd.grad(loss, self._parameters, create_graph=True, materialize_grads=True)
        return {i: part for i, part in enumerate(gradient) if part.requires_grad}

    def _add(self, gradient: _Gradient, rows: torch.Tensor, total: torch.Tensor) -> None:
        """Add one part's products to `total`."""
        if not gradient:
            return
        for row, sum_of_parts in zip(rows, total, strict=True):
            pieces = row.split(self._sizes)
            second = torch.autograd.grad(
                list(gradient.values()),
                self._parameters,
                [pieces[i].view_as(part) for i, part in gradient.items()],
                retain_graph=True,
                materialize_grads=True,
            )
            sum_of_parts += torch.cat([part.reshape(-1) for part in second])


def dense_hessian(product: HessianVectorProduct) -> torch.Tensor:
    """The whole Hessian, symmetrised.

    Parameters
    ----------
    product : HessianVectorProduct
        Of at most 4,000 variables.

    Returns
    -------
    Tensor, shape (n, n)

    Raises
    ------
    ValueError
        There are more variables.
    """
    n = product.n
    if n > LARGEST_DENSE:
        raise ValueError(
            f"product must have at most {LARGEST_DENSE} variables for a dense Hessian, got {n}; "
            "beyond, extremes and interior serve"
        )
    hessian = torch.eye(n, dtype=product.dtype, device=product.device)
    for first in range(0, n, _ROWS):  # in place: what is read is still the identity
        hessian[first : first + _ROWS] = product(hessian[first : first + _ROWS])
    return (hessian + hessian.T) / 2


def exact_spectrum(product: HessianVectorProduct) -> Spectrum:
    """All eigenvalues and eigenvectors, from the dense Hessian.

    Parameters
    ----------
    product : HessianVectorProduct
        Of at most 4,000 variables.

    Returns
    -------
    Spectrum
        With n pairs; the residuals and the tolerance are those of rounding.

    Raises
    ------
    ValueError
        There are more variables.
    FloatingPointError
        The Hessian is not finite.
    """
    hessian = dense_hessian(product)
    if not bool(torch.isfinite(hessian).all()):
        raise FloatingPointError("the Hessian is not finite")
    values, columns = torch.linalg.eigh(hessian)
    rounding = product.n * torch.finfo(product.dtype).eps * float(values.abs().max())
    return rayleigh(columns.T, (hessian @ columns).T, rounding, product.n)
