"""How a run ended: diverged, stable, or undecided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

FACTOR = 100.0
"""A norm or a loss beyond so many times its start, and growing, has diverged."""


@dataclass
class Watch:
    """Looks at a run round by round.

    Parameters
    ----------
    norm, loss : float
        At the start: the length of the parameters, and the loss.

    Attributes
    ----------
    diverged_at : int or None
        The step at which the run was first seen to have diverged: a parameter or a loss was not finite, or the length
        of the parameters or the loss was beyond 100 times its start and had grown since the last look.
    last : sequence of float or None
        The length and the loss at the last look.
    """

    norm: float
    loss: float
    diverged_at: int | None = None
    last: Sequence[float] | None = None

    def look(self, step: int, norm: float, loss: float) -> bool:
        """Look at the run after a step; returns whether it has diverged."""
        seen = (norm, loss)
        if self.diverged_at is None:
            beyond = any(
                now > FACTOR * first and now > last
                for now, first, last in zip(seen, (self.norm, self.loss), self.last or (0.0, 0.0), strict=True)
            )
            if beyond or not all(map(math.isfinite, seen)):
                self.diverged_at = step
        self.last = seen
        return self.diverged_at is not None

    def verdict(self, loss: float) -> str:
        """``diverged``; ``stable`` if the loss of the center in the end is below its start; else ``undecided``."""
        if self.diverged_at is not None or not math.isfinite(loss):
            return "diverged"
        return "stable" if loss < self.loss else "undecided"
