"""`train`: a run from its start to its verdict."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from easgd_theory.algorithm import Algorithm
from easgd_theory.schedules import Schedule
from gpu_trainer.batches import Batches
from gpu_trainer.crew import Crew, check_weight_decay
from gpu_trainer.data import Data, load
from gpu_trainer.learner import Learner
from gpu_trainer.models import build
from gpu_trainer.preflight import EXAMPLES, Prediction, measure, preflight
from gpu_trainer.verdict import Watch

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to train, on what, and for how long.

    Attributes
    ----------
    algorithm : Algorithm
        All parameters given: numbers, or functions of the worker's clock.
    schedule : Synchronous or RoundRobin
        With its number of workers.
    steps : int
        Gradient steps of each worker; rounded up to whole visits of tau steps.
    data, data_dir
        As for `gpu_trainer.data.load`.
    model : str
        As for `gpu_trainer.models.build`.
    batch_size : int
        Images in a worker's batch.
    shard : bool
        Whether each worker has a part of the training set of its own.
    weight_decay : float
        The loss has half of it times the squared length of the parameters added.
    seed : int
        Of everything random: the first parameters, orders, patches, dropout.
    """

    algorithm: Algorithm
    schedule: Schedule
    steps: int
    data: str = "digits"
    data_dir: str | None = None
    model: str = "cnn"
    batch_size: int = 128
    shard: bool = False
    weight_decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"steps must be a whole number of at least 1, got {self.steps!r}")
        check_weight_decay(self.weight_decay)

    @property
    def rounds(self) -> int:
        """Rounds of tau steps."""
        return -(-self.steps // self.schedule.tau)


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes
    ----------
    verdict : str
        ``diverged``, ``stable`` or ``undecided``, as `gpu_trainer.verdict` defines them.
    diverged_at : int or None
        The step at which that was seen.
    test_error, test_loss, train_loss : float
        Of the center at the end (of the iterate of a sequential method); nan where it is not finite.
    steps : int
        Gradient steps that each worker took.
    seconds : float
        From the first step to the last.
    samples_per_second : float
        Images that all workers together learned from.
    predicted : Prediction or None
        What the theory said before the run, if it was asked.
    """

    verdict: str
    diverged_at: int | None
    test_error: float
    test_loss: float
    train_loss: float
    steps: int
    seconds: float
    samples_per_second: float
    predicted: Prediction | None

    def record(self) -> dict[str, Any]:
        """The result for JSON."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def train(
    job: Job, *, predict: bool = True, progress: Callable[[int, int], None] | None = None
) -> tuple[Result, dict[str, Tensor]]:
    """Train, all workers in this process.

    A run that diverges is stopped: its result says at which step.

    Parameters
    ----------
    job : Job
    predict : bool, default True
        Measure the curvature at the start, and say what the theory predicts.
    progress : callable, optional
        Called with the steps done and the steps to do, after each round.

    Returns
    -------
    result : Result
    center : dict of str to Tensor
        The center's parameters, by the names that the model gives them.

    Examples
    --------
    >>> from easgd_theory import EASGD, Synchronous
    >>> rule, schedule = EASGD(eta=0.1, alpha=0.55), Synchronous(p=4)
    >>> result, _ = train(Job(algorithm=rule, schedule=schedule, steps=100))
    >>> result.predicted.stable, result.verdict
    (False, 'diverged')
    """
    data = load(job.data, job.data_dir)
    batches = Batches(data, job.batch_size, job.seed, job.shard, job.schedule.workers())
    learner = Learner(build(job.model, data, job.seed, torch.float32), batches, job.weight_decay)
    start = learner.flat.point()
    crew = Crew(job.algorithm, job.schedule, start)
    predicted = _predicted(job, learner, data) if predict else None
    watch = Watch(_length(start), learner.train_loss(start))
    began, tau, done = time.perf_counter(), job.schedule.tau, 0
    for number in range(1, job.rounds + 1):
        crew.round(learner.gradient)
        done = number * tau
        longest = max(_length(point) for point in (crew.iterate, *(worker.x for worker in crew.workers)))
        if watch.look(done, longest, sum(learner.losses.values()) / crew.p):
            break
        if progress is not None:
            progress(done, job.rounds * tau)
    seconds = time.perf_counter() - began
    train_loss, (test_loss, test_error) = learner.train_loss(crew.iterate), learner.test(crew.iterate)
    samples = done * crew.p * job.batch_size
    verdict = watch.verdict(train_loss)
    result = Result(
        verdict, watch.diverged_at, test_error, test_loss, train_loss, done, seconds, samples / seconds, predicted
    )
    learner.flat.load(crew.iterate)
    return result, {name: values.detach().clone() for name, values in learner.model.named_parameters()}


def _length(point: Tensor) -> float:
    return float(point.norm())


def _predicted(job: Job, learner: Learner, data: Data) -> Prediction:
    """What the theory says of the loss at the start, whose curvature is measured on some of the training set."""
    sample = Batches(data, min(EXAMPLES, len(data.train)), job.seed)
    training = learner.model.training
    learner.model.eval()
    h_max = measure(learner.model, lambda: [learner.loss(*sample.train(0, 0))], seed=job.seed)
    learner.model.train(training)
    return preflight(job.algorithm, job.schedule, h_max + job.weight_decay)
