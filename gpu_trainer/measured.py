"""The map of a round, measured on a network: what the theory predicts, read off the trainer's own steps.

At a stationary point a round maps the directions of an eigenvector of the Hessian onto themselves, linearly up to terms
of second order. So each variable of each worker and of the center is moved a little along the eigenvector, to either
side, the trainer takes one round, and what has become of all variables is projected back: a column of the round's
matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from easgd_theory.algorithm import Algorithm
from easgd_theory.schedules import Schedule
from gpu_trainer.crew import Crew
from gpu_trainer.curvature import Losses
from gpu_trainer.flat import Flat

Field = Callable[[Tensor], Tensor]
"""The gradient of one and the same loss, as a function of a point of shape (n,); a new tensor at every call."""


@dataclass(frozen=True, eq=False)
class MeasuredMap:
    """The matrix of a round along one direction.

    Attributes
    ----------
    matrix : ndarray, shape (m, m)
        Rows and columns in the order of ``iteration_map(...).state``.
    leakage : ndarray, shape (m, m)
        The length of what left the direction, per unit of the displacement: 0 for an eigenvector, to second order.
    """

    matrix: np.ndarray
    leakage: np.ndarray

    @property
    def spectral_radius(self) -> float:
        """Largest modulus of an eigenvalue."""
        return float(np.abs(np.linalg.eigvals(self.matrix)).max())


def measured_map(
    algorithm: Algorithm,
    schedule: Schedule,
    gradient: Field,
    point: Tensor,
    direction: Tensor,
    *,
    displacement: float = 1e-4,
) -> MeasuredMap:
    r"""Measure the matrix of one round of the trainer along a direction.

    Column j is :math:`\langle d, s(+\epsilon) - s(-\epsilon) \rangle / 2 \epsilon`, with :math:`s(\epsilon)` what the
    round makes of a state in which variable j begins at :math:`\epsilon d` from the stationary one.

    Parameters
    ----------
    algorithm : Algorithm
    schedule : Synchronous or RoundRobin
    gradient : callable
        Must vanish at `point`; `stationary_gradient` makes it so.
    point : Tensor, shape (n,)
        Where every x is in the stationary state; the other variables are 0. In float64: differences are taken.
    direction : Tensor, shape (n,)
        Of length 1: an eigenvector of the Hessian at `point`.
    displacement : float, default 1e-4
        The :math:`\epsilon`: errors are its square times the third derivative, and rounding divided by it.

    Returns
    -------
    MeasuredMap

    Raises
    ------
    ValueError
        If `point` is not stationary, or `direction` not of length 1.

    Examples
    --------
    >>> from easgd_theory import EASGD, RoundRobin
    >>> point, direction = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    >>> found = measured_map(EASGD(eta=0.5, alpha=0.1), RoundRobin(p=1), lambda x: torch.sin(x), point, direction)
    >>> found.matrix.round(6).tolist()
    [[0.4, 0.1], [0.1, 0.9]]
    """
    length, slope = float(direction.norm()), float(gradient(point).norm())
    if not abs(length - 1) < 1e-6:
        raise ValueError(f"direction must have length 1, got {length:.6g}")
    if not slope < 1e-3 * displacement:
        raise ValueError(f"point must be stationary, but the gradient there has length {slope:.3g}")
    columns, leaks = [], []
    for variable in range(len(variables(Crew(algorithm, schedule, point)))):
        sides = []
        for sign in (1, -1):
            crew = Crew(algorithm, schedule, point)
            displace(crew, variable, sign * displacement * direction)
            crew.round(lambda worker, clock, at: gradient(at))
            sides.append(torch.stack(variables(crew)))
        change = (sides[0] - sides[1]) / (2 * displacement)
        column = change @ direction
        columns.append(column)
        leaks.append((change - column[:, None] * direction).norm(dim=1))
    matrix, leakage = (torch.stack(each, dim=1).cpu().numpy() for each in (columns, leaks))
    return MeasuredMap(matrix, leakage)


def stationary_gradient(model: nn.Module, losses: Losses) -> tuple[Field, Tensor]:
    """A loss's gradient less its value where the model stands, and the point where it stands.

    The constant tilts the loss so that the point is stationary; the Hessian stays as it is.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode: its loss must be one and the same function at every call. It is moved about.
    losses : callable
        Yields the parts of the loss, as for `HessianVectorProduct`.
    """
    flat = Flat(model)

    def slope(point: Tensor) -> Tensor:
        flat.load(point)
        flat.zero_gradient()
        for loss in losses():
            loss.backward()
        return flat.gradient()

    point = flat.point()
    constant = slope(point)
    return lambda at: slope(at) - constant, point


def variables(crew: Crew) -> list[Tensor]:
    """All variables, in the order of ``iteration_map(...).state``."""
    return [value for owner in (*crew.workers, crew.center) for value in owner]


def every_x(crew: Crew) -> list[int]:
    """Which of the `variables` are an x: those of the workers, then that of the center."""
    names = (*crew.rule.worker * crew.p, *crew.rule.center)
    return [i for i, name in enumerate(names) if name == "x"]


def displace(crew: Crew, variable: int, by: Tensor) -> None:
    """Move one of the `variables`, by a tensor of shape (n,)."""
    owner, position = divmod(variable, len(crew.rule.worker))
    if owner < crew.p:
        worker = list(crew.workers[owner])
        worker[position] = worker[position] + by
        crew.workers[owner] = crew.rule.Worker(*worker)
    else:
        center = list(crew.center)
        position = variable - crew.p * len(crew.rule.worker)
        center[position] = center[position] + by
        crew.center = crew.rule.Center(*center)
