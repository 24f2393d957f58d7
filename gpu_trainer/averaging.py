"""An average over the centers of a run: ASGD, MVASGD, ADOWNPOUR, MVADOWNPOUR."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from easgd_theory.algorithm import as_real


@dataclass(frozen=True)
class Averaging:
    r"""What a run returns in place of its center: :math:`z_{t+1} = (1 - a_{t+1}) z_t + a_{t+1} \tilde x_t`.

    The clock t is the master's: it counts the messages that the center has absorbed, one a synchronous round; of a
    sequential method its steps. The workers do not see z.

    Parameters
    ----------
    weight : float in (0, 1], optional
        The constant a (MVADOWNPOUR, MVASGD; 0.001 in the paper). None: 1/(t + 1), the mean of all (ADOWNPOUR, ASGD).

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651, Section 5. Polyak, Juditsky (1992), SIAM J. Control Optim. 30.
    """

    weight: float | None = None

    def __post_init__(self) -> None:
        if self.weight is None:
            return
        number = as_real("the weight of an average", self.weight)
        if number.ndim or not 0 < number <= 1:
            raise ValueError(f"the weight of an average must be a number in (0, 1], got {self.weight!r}")

    def begin(self, start: Tensor) -> Average:
        """The average at the start of a run."""
        return Average(self, start, 0)


@dataclass
class Average:
    """An average in progress.

    Examples
    --------
    >>> import torch
    >>> average = Averaging().begin(torch.zeros(1))
    >>> for x in (1.0, 2.0, 6.0):
    ...     average.see(torch.tensor([x]))
    >>> average.z.item()
    3.0
    """

    kind: Averaging
    z: Tensor
    t: int

    def see(self, x: Tensor) -> None:
        """Take in the center as it is before it changes."""
        self.z = self.z.lerp(x, 1 / (self.t + 1) if self.kind.weight is None else self.kind.weight)
        self.t += 1
