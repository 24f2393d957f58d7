"""A model's parameters as one flat tensor, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Flat:
    """The parameters of a model that require a gradient, one after the other in the order of ``model.parameters()``.

    Parameters
    ----------
    model : torch.nn.Module

    Attributes
    ----------
    n : int
        How many numbers they are.

    Raises
    ------
    ValueError
        If no parameter requires a gradient, or if they differ in dtype or device.
    """

    def __init__(self, model: nn.Module) -> None:
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        kinds = sorted({f"{parameter.dtype} on {parameter.device}" for parameter in self.parameters})
        if len(kinds) != 1:
            raise ValueError(
                "model must have parameters that require a gradient, all of one dtype and on one device, got "
                f"{' and '.join(kinds) or 'none'}"
            )
        self.n = sum(parameter.numel() for parameter in self.parameters)

    @torch.no_grad()
    def point(self) -> Tensor:
        """Where the model stands; shape (n,), a copy."""
        return torch.cat([parameter.reshape(-1) for parameter in self.parameters])

    @torch.no_grad()
    def load(self, point: Tensor) -> None:
        """Put the model at a point of shape (n,)."""
        for parameter, values in zip(self.parameters, self._pieces(point), strict=True):
            parameter.copy_(values.view_as(parameter))

    @torch.no_grad()
    def gradient(self) -> Tensor:
        """The gradient that backward has left; shape (n,), a copy. A parameter that it did not reach counts as 0."""
        return torch.cat(
            [
                torch.zeros_like(each).reshape(-1) if each.grad is None else each.grad.reshape(-1)
                for each in self.parameters
            ]
        )

    def zero_gradient(self) -> None:
        """Forget the gradient."""
        for parameter in self.parameters:
            parameter.grad = None

    def _pieces(self, point: Tensor) -> tuple[Tensor, ...]:
        return point.split([parameter.numel() for parameter in self.parameters])
