"""The edge of stability: the curvature along a run of EASGD, beside the one that its parameters allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from easgd_theory import EASGD, critical_value
from easgd_theory.schedules import Synchronous
from gpu_trainer.checks import Check
from gpu_trainer.crew import Crew
from gpu_trainer.site import Ground, network_of
from gpu_trainer.sweeps import Row

_EVERY = 10  # rounds between two looks at the curvature


@dataclass(frozen=True)
class EdgeCase:
    """Synchronous EASGD with p workers and a moving rate."""

    p: int
    alpha: float

    def columns(self) -> Row:
        """What tells it from the other cases."""
        return {
            "algorithm": EASGD.__name__,
            "schedule": Synchronous.__name__,
            "p": self.p,
            "tau": 1,
            "alpha": self.alpha,
        }


@dataclass(frozen=True, kw_only=True)
class EdgeCheck(Check):
    """Whether the curvature at the center rises to what the parameters allow, and stays there.

    Full-batch training from the initial parameters, the loss as it is. All workers see the same images and start
    alike, so that they stay together.

    Attributes
    ----------
    rate : float
        The learning rate times the largest curvature at the initial parameters.
    couplings : sequence of (int, float)
        Numbers of workers p and moving rates alpha.
    rounds : int
    """

    rate: float = 0.3
    couplings: Sequence[tuple[int, float]] = ((4, 0.05), (4, 0.2), (4, 0.3), (8, 0.15))
    rounds: int = 400

    name = "edge"
    tilted = False

    def setup(self) -> Row:
        return super().setup() | {"rate": self.rate, "rounds": self.rounds}

    def cases(self) -> list[EdgeCase]:
        return [EdgeCase(*coupling) for coupling in self.couplings]

    def measure(self, ground: Ground, case: EdgeCase) -> Row:
        network = network_of(ground.site)
        eta = self.rate / network.h_max(network.start)
        rule, schedule = EASGD(eta=eta, alpha=case.alpha), Synchronous(p=case.p)
        crew = Crew(rule, schedule, network.start)
        curvatures, losses = [], []
        for number in range(self.rounds + 1):
            if number % _EVERY == 0:
                curvatures.append(network.h_max(crew.iterate))
                losses.append(network.loss(crew.iterate))
            crew.round(lambda worker, clock, at: network.gradient(at))
        return {
            "eta": eta,
            "bound": critical_value("h", rule, schedule),
            "every": _EVERY,
            "h_max": _listed(curvatures),
            "loss": _listed(losses),
        }


def _listed(values: list[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)
