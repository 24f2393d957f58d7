"""What to train, on what, and for how long."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from easgd_theory.algorithm import Algorithm, as_real, given_values
from easgd_theory.schedules import Asynchronous, Schedule
from gpu_trainer.averaging import Averaging
from gpu_trainer.center import checked_visits
from gpu_trainer.party import check_weight_decay, checked


@dataclass(frozen=True)
class Decayed:
    r"""A learning rate that decays on the worker's own clock: :math:`\eta_t = \eta / (1 + \gamma t)^{1/2}`.

    Parameters
    ----------
    eta : float
        At the start.
    gamma : float
        At least 0; per gradient step.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651, Section 5.

    Examples
    --------
    >>> Decayed(0.1, 0.03)(100)
    0.05
    """

    eta: float
    gamma: float

    def __post_init__(self) -> None:
        gamma = as_real("gamma", self.gamma)
        if gamma.ndim or gamma < 0:
            raise ValueError(f"gamma must be a number of at least 0, got {self.gamma!r}")

    def __call__(self, clock: int) -> float:
        return self.eta / math.sqrt(1 + self.gamma * clock)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to train, on what, and for how long.

    Attributes
    ----------
    algorithm : Algorithm
        All parameters given: numbers, or functions of the worker's clock such as `Decayed`.
    schedule : Synchronous, RoundRobin or Asynchronous
        With its number of workers.
    steps : int
        Gradient steps of each worker; rounded up to whole visits of tau steps.
    averaging : Averaging, optional
        Return an average over the run's centers in place of the last one. A sequential method needs tau = 1.
    data, data_dir
        As for `gpu_trainer.data.load`.
    model : str
        As for `gpu_trainer.models.build`.
    average_buffers : bool, optional
        Each worker has buffers of its own, such as batch normalisation's running statistics. Those of the center are
        the mean of all workers' (True) or the first worker's (False). Needed where the model has such buffers.
    batch_size : int
        Images in a worker's batch.
    shard : bool
        Whether each worker has a part of the training set of its own.
    weight_decay : float
        The loss has half of it times the squared length of the parameters added.
    seed : int
        Of everything random: the first parameters, orders, patches, dropout.
    delays : tuple of float
        Injected: seconds by which each gradient step of a worker takes longer, worker by worker; the rest have none.
    """

    algorithm: Algorithm
    schedule: Schedule
    steps: int
    averaging: Averaging | None = None
    data: str = "digits"
    data_dir: str | None = None
    model: str = "cnn"
    average_buffers: bool | None = None
    batch_size: int = 128
    shard: bool = False
    weight_decay: float = 0.0
    seed: int = 0
    delays: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"steps must be a whole number of at least 1, got {self.steps!r}")
        check_weight_decay(self.weight_decay)
        delays = as_real("delays", list(self.delays) or 0.0)
        if delays.ndim > 1 or (delays < 0).any():
            raise ValueError(f"delays must be seconds of at least 0, worker by worker, got {self.delays!r}")
        if len(self.delays) > self.schedule.workers():
            raise ValueError(f"delays must be at most as many as workers, {self.workers}, got {len(self.delays)}")
        if isinstance(self.schedule, Asynchronous):
            rule = checked_visits(self.algorithm, self.schedule)[0]
        else:
            rule = checked(self.algorithm, self.schedule)[0]
        if self.averaging and not rule.center and self.schedule.tau > 1:
            raise ValueError(f"an average over {rule.__name__} needs tau = 1, got {self.schedule.tau}")

    @property
    def workers(self) -> int:
        """Their number."""
        return self.schedule.workers()

    @property
    def is_asynchronous(self) -> bool:
        """Whether each worker has a clock of its own."""
        return isinstance(self.schedule, Asynchronous)

    @property
    def last(self) -> int:
        """The steps that each worker makes: whole visits."""
        tau = self.schedule.tau
        return -(-self.steps // tau) * tau

    @cached_property
    def name(self) -> str:
        """The algorithm's, as the paper has it."""
        prefix = "" if self.averaging is None else "A" if self.averaging.weight is None else "MVA"
        return prefix + type(self.algorithm).__name__

    def config(self) -> dict[str, Any]:
        """The job for JSON."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        parameters = {name: _recorded(value) for name, value in given_values(self.algorithm).items()}
        options = {name: getattr(self.algorithm, name) for name in self.algorithm.options()}
        schedule = {"schedule": type(self.schedule).__name__, "workers": self.workers, "tau": self.schedule.tau}
        weight = {} if self.averaging is None else {"average_weight": self.averaging.weight}
        rest = {name: own[name] for name in own if name not in ("algorithm", "schedule", "averaging")}
        return {"algorithm": self.name, "parameters": parameters | options | weight} | schedule | rest


def _recorded(value: Any) -> Any:
    if isinstance(value, Decayed):
        return {"eta": value.eta, "gamma": value.gamma}
    return repr(value) if callable(value) else float(value)
