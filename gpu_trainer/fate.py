"""Which runs leave a point, and whether they are those that are predicted to.

Twice over a grid of parameters: near the point, where the loss is tilted so that it is stationary; and from the trained
point with mini-batches and the loss as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from easgd_theory import ADMM, EASGD, spectral_radius
from easgd_theory.algorithm import Algorithm, numeric_values
from easgd_theory.maps import composed, numeric_field
from easgd_theory.schedules import RoundRobin, Schedule, Synchronous
from gpu_trainer import streams
from gpu_trainer.catalogue import at_curvature, written
from gpu_trainer.checks import Check
from gpu_trainer.crew import Crew
from gpu_trainer.measured import displace, every_x, variables
from gpu_trainer.site import Ground, network_of
from gpu_trainer.sweeps import Row
from gpu_trainer.verdict import FACTOR, Watch

_Numbers = np.ndarray | float

BAND = 0.05
"""A cell is near the edge if the prediction is another somewhere within this part of its two parameters."""

_DISPLACEMENT = 1e-6
_LOOKS = 10  # rounds between two looks at the loss of a run with mini-batches


@dataclass(frozen=True, eq=False)
class Grid:
    """A rule's two parameters over a grid, in units in which h_max is 1.

    Attributes
    ----------
    rule : type
        An algorithm with a learning rate and one parameter more.
    schedule : Synchronous or RoundRobin
    rates, couplings : tuple of float
        eta h_max, and alpha or rho / h_max.
    rounds : int
        How long a run lasts.
    """

    rule: type[Algorithm]
    schedule: Schedule
    rates: tuple[float, ...]
    couplings: tuple[float, ...]
    rounds: int

    def at(self, rate: _Numbers, coupling: _Numbers) -> Algorithm:
        """The rule at one place or many."""
        first, second = self.rule.parameters()
        return self.rule(**{first: rate, second: coupling})

    def growth(self, rate: _Numbers, coupling: _Numbers, curvatures: np.ndarray) -> np.ndarray:
        """The spectral radius over a whole spectrum, whose largest curvature counts as 1."""
        return np.asarray(spectral_radius(self.at(rate, coupling), self.schedule, curvatures, over_spectrum=True))

    def distance(self, rate: _Numbers, coupling: _Numbers, start: Start) -> np.ndarray:
        """How far off a run is after the rounds, in units of its start: the root mean square of random starts."""
        rule = self.at(np.asarray(rate)[..., None], np.asarray(coupling)[..., None])
        values, h = numeric_values(rule, start.curvatures)
        round_matrix = composed(self.rule, self.schedule, numeric_field(rule, values, h))
        names = (*self.rule.worker * self.schedule.workers(), *self.rule.center)
        x = [i for i, name in enumerate(names) if name == "x"]
        with np.errstate(over="ignore", invalid="ignore"):
            after = np.linalg.matrix_power(round_matrix, self.rounds)[..., x, :][..., x]
            squares = np.square(after).sum(axis=(-2, -1)) / len(x)  # of one curvature's part, that was 1
            return np.nan_to_num(np.sqrt(squares @ start.weights), nan=np.inf)


@dataclass(frozen=True, eq=False)
class Start:
    """The share that each curvature has in a random displacement, squared.

    Half of it is random in all directions, the other half in the plane of the top and the lowest eigenvector.

    Attributes
    ----------
    curvatures : ndarray, shape (k,)
        In units of h_max; those that are small are counted by quantiles.
    weights : ndarray, shape (k,)
        They add up to 1.
    """

    curvatures: np.ndarray
    weights: np.ndarray

    @classmethod
    def at(cls, ground: Ground) -> Start:
        """The start at a ground; eigenvalues that are not known there count as 0."""
        curvatures, counts = ground.counted()
        shares = counts / counts.sum() / 2
        ends = np.array([ground.values[0], ground.h_max])
        both = np.append(curvatures, ends), np.append(shares, [0.25, 0.25])
        return cls(both[0] / ground.h_max, both[1])

    @staticmethod
    def direction(ground: Ground, owner: int) -> Tensor:
        """Of length 1, for the x of a worker or of the center."""
        draw = streams.generator(ground.site.seed, "displacement", owner)
        random = draw.standard_normal(len(ground.point))
        along = draw.standard_normal(2) @ ground.vectors[[0, -1]]
        both = random / np.linalg.norm(random) + along / np.linalg.norm(along)
        return torch.from_numpy(both / np.linalg.norm(both))


def easgd_grid(size: int = 12, rounds: int = 200) -> Grid:
    """Synchronous EASGD, four workers: midpoints of eta h_max from 0 to 2.4 and of alpha from 0 to 0.6."""
    midpoints = (np.arange(size) + 0.5) / size
    return Grid(EASGD, Synchronous(p=4), tuple((2.4 * midpoints).tolist()), tuple((0.6 * midpoints).tolist()), rounds)


def admm_grid(size: int = 12, rounds: int = 3_000) -> Grid:
    """Round-robin ADMM, four workers: eta h_max from 0.02 to 4 and rho / h_max from 0.005 to 5, geometric."""
    rates, couplings = np.geomspace(0.02, 4, size), np.geomspace(0.005, 5, size)
    return Grid(ADMM, RoundRobin(p=4), tuple(rates.tolist()), tuple(couplings.tolist()), rounds)


@dataclass(frozen=True, eq=False)
class Cell:
    """One place of a grid."""

    grid: Grid
    rate: float
    coupling: float

    def columns(self) -> Row:
        """What tells it from the other cells."""
        return {
            "algorithm": self.grid.rule.__name__,
            "schedule": type(self.grid.schedule).__name__,
            "p": self.grid.schedule.workers(),
            "tau": self.grid.schedule.tau,
            "rounds": self.grid.rounds,
            "eta_h_max": self.rate,
            "coupling": self.coupling,
        }

    @property
    def rule(self) -> Algorithm:
        return self.grid.at(self.rate, self.coupling)


@dataclass(frozen=True, kw_only=True)
class GridCheck(Check):
    """Something at every place of some grids.

    Attributes
    ----------
    grids : tuple of Grid
    """

    grids: tuple[Grid, ...]

    def cases(self) -> list[Cell]:
        return [Cell(grid, *place) for grid in self.grids for place in product(grid.rates, grid.couplings)]


@dataclass(frozen=True, kw_only=True)
class FateCheck(GridCheck):
    """Whether a run that starts near the stationary point leaves it where that is predicted.

    Every x starts 1e-6 away, each in its own direction, as `Start` says. Measured as unstable is a run whose distance
    (of all x together) gets beyond 100 times its start and grows; predicted as unstable, one whose predicted distance
    after the rounds is beyond that.
    """

    name = "fate"

    def measure(self, ground: Ground, case: Cell) -> Row:
        scale = np.array([1.0, 1 - BAND, 1 + BAND])
        predicted = case.grid.distance(case.rate * scale[:, None], case.coupling * scale, Start.at(ground))
        unstable = predicted > FACTOR
        left_at, distance = self._run(ground, case)
        spectrum = ground.curvatures() / ground.h_max
        return {
            "parameters": written(at_curvature(case.rule, ground.h_max)),
            "h_max": ground.h_max,
            "h_min": float(ground.values[0]),
            "predicted_growth": float(case.grid.growth(case.rate, case.coupling, spectrum)),
            "predicted_distance": float(predicted[0, 0]),
            "distance": distance,
            "left_at": np.nan if left_at is None else left_at,
            "predicted": bool(unstable[0, 0]),
            "measured": left_at is not None,
            "near_edge": bool((unstable != unstable[0, 0]).any()),
            "agrees": bool(unstable[0, 0]) == (left_at is not None),
        }

    def _run(self, ground: Ground, case: Cell) -> tuple[int | None, float]:
        """The round in which the run was seen to have left, and its last distance, in units of the first."""
        gradient, point = ground.stationary()
        crew = Crew(at_curvature(case.rule, ground.h_max), case.grid.schedule, point)
        which = every_x(crew)
        for owner, x in enumerate(which):
            displace(crew, x, _DISPLACEMENT * Start.direction(ground, owner))

        def distance() -> float:
            now = variables(crew)
            return float(torch.stack([now[x] - point for x in which]).norm())

        watch = Watch(distance(), 1.0)
        for number in range(1, case.grid.rounds + 1):
            crew.round(lambda worker, clock, at: gradient(at))
            if watch.look(number, last := distance(), 1.0):
                break
        return watch.diverged_at, last / watch.norm


@dataclass(frozen=True, kw_only=True)
class SettlingCheck(GridCheck):
    """What becomes of runs with mini-batches, from the trained point and with the loss as it is.

    Measured by what guessing costs, the logarithm of the number of classes. ``blew up``: something was not finite, the
    loss of the center was beyond 100 times that, or the parameters' length beyond 100 times its start, and growing.
    ``left``: the loss was once beyond its start by a tenth of that, at one of the looks every ten rounds. ``stayed``:
    neither.

    Attributes
    ----------
    batch : int
        Of the site's images, drawn anew by each worker at each step.
    """

    batch: int = 16

    name = "settling"
    tilted = False

    def setup(self) -> Row:
        return super().setup() | {"batch": self.batch}

    def measure(self, ground: Ground, case: Cell) -> Row:
        network = network_of(ground.site)
        rule, start = at_curvature(case.rule, ground.h_max), torch.from_numpy(ground.point)
        crew = Crew(rule, case.grid.schedule, start)
        first = network.loss(start)
        guessing = float(np.log(network.classes))
        watch, highest, now = Watch(float(start.norm()), guessing), first, first

        def gradient(worker: int, clock: int, at: Tensor) -> Tensor:
            draw = streams.generator(ground.site.seed, "batch", worker, clock)
            rows = torch.from_numpy(draw.choice(len(network.labels), self.batch, replace=False))
            return network.gradient(at, rows)

        for number in range(_LOOKS, case.grid.rounds + 1, _LOOKS):
            for _ in range(_LOOKS):
                crew.round(gradient)
            now = network.loss(crew.iterate)
            highest = max(highest, now)
            if watch.look(number, max(float(worker.x.norm()) for worker in crew.workers), now):
                break
        blew_up = watch.diverged_at is not None
        left = highest > first + 0.1 * guessing
        spectrum = ground.curvatures() / ground.h_max
        return {
            "parameters": written(rule),
            "h_max": ground.h_max,
            "predicted_growth": float(case.grid.growth(case.rate, case.coupling, spectrum)),
            "fate": "blew up" if blew_up else "left" if left else "stayed",
            "loss_at_first": first,
            "loss_at_last": now,
            "h_max_at_last": np.nan if blew_up else network.h_max(crew.iterate),
            "moved": float((crew.iterate - start).norm() / start.norm()),
        }
