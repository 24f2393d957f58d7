"""Runs side by side: the paper's methods, or the schedules, on one network against wall-clock time."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from easgd_theory import DOWNPOUR, EAMSGD, EASGD, MDOWNPOUR, MSGD, SGD, Asynchronous, RoundRobin, Synchronous
from easgd_theory.algorithm import Algorithm, given_values
from easgd_theory.files import atomic
from easgd_theory.schedules import Schedule
from gpu_trainer.job import Job
from gpu_trainer.launch import Processes
from gpu_trainer.records import Keep
from gpu_trainer.result import Result
from gpu_trainer.run import train
from gpu_trainer.stopwatch import KINDS

BETA, DELTA = 0.9, 0.99

SHARED = ("data", "model", "batch_size", "seed")
"""Columns that are alike in all rows."""

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Runs(ABC):
    """Runs on one network that differ in little else than what is compared.

    Attributes
    ----------
    data, data_dir, model
        As for `Job`.
    workers : int
        Of the distributed methods.
    steps : int
        Of each worker.
    seed, batch_size : int
    """

    name: ClassVar[str]
    """The table's file is named so, with ``.csv``."""

    data: str = "fashion-mnist"
    data_dir: str | None = None
    model: str = "cnn"
    workers: int = 4
    steps: int = 400
    batch_size: int = 128
    seed: int = 0

    @cached_property
    @abstractmethod
    def jobs(self) -> dict[str, Job]:
        """All runs, by the names of their directories."""

    def _job(self, algorithm: Algorithm, schedule: Schedule, delays: tuple[float, ...] = ()) -> Job:
        return Job(
            algorithm=algorithm,
            schedule=schedule,
            steps=self.steps,
            data=self.data,
            data_dir=self.data_dir,
            model=self.model,
            batch_size=self.batch_size,
            seed=self.seed,
            delays=delays,
        )


@dataclass(frozen=True, kw_only=True)
class Comparison(Runs):
    """EASGD, EAMSGD, DOWNPOUR and MDOWNPOUR on the asynchronous schedule; MSGD and SGD with one worker.

    Attributes
    ----------
    periods : tuple of int
        The communication periods.
    rates : tuple of float
        Learning rates of EASGD and SGD, EAMSGD, DOWNPOUR, MDOWNPOUR, MSGD.
    delay : float
        Seconds by which each step of every worker takes longer: where workers share cores, and these are free
        meanwhile, as if each had a device of its own.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651, Section 5 and Figure 2; beta = 0.9, delta = 0.99 there.
    """

    name = "comparison"
    periods: tuple[int, ...] = (1, 4, 16, 64)
    rates: tuple[float, ...] = (0.02, 0.005, 0.005, 5e-5, 0.001)
    delay: float = 0.0

    def __post_init__(self) -> None:
        if len(self.rates) != 5:
            raise ValueError(
                "rates must be five, those of EASGD and SGD, EAMSGD, DOWNPOUR, MDOWNPOUR and MSGD, got "
                f"{', '.join(f'{rate:g}' for rate in self.rates)}"
            )

    @cached_property
    def jobs(self) -> dict[str, Job]:
        """All runs, by the names of their directories."""
        return {f"{job.name}-tau-{job.schedule.tau}": job for job in self._jobs()}

    def _jobs(self) -> Iterator[Job]:
        elastic, momentum, downpour, mdownpour, msgd = self.rates
        one = (self.delay,) if self.delay else ()
        many = one * self.workers
        for tau in self.periods:
            alpha, schedule = BETA / (self.workers * tau), Asynchronous(p=self.workers, tau=tau)
            yield self._job(EASGD(elastic, alpha), schedule, many)
            yield self._job(EAMSGD(momentum, alpha, DELTA), schedule, many)
            yield self._job(DOWNPOUR(downpour), schedule, many)
        yield self._job(MDOWNPOUR(mdownpour, DELTA), Asynchronous(p=self.workers), many)
        yield self._job(MSGD(msgd, DELTA), Synchronous(p=1), one)
        yield self._job(SGD(elastic), Synchronous(p=1), one)


@dataclass(frozen=True, kw_only=True)
class Schedules(Runs):
    """EASGD synchronous, round-robin and asynchronous; with workers that are alike, and with one that is slow.

    Attributes
    ----------
    tau : int
    eta : float
    delay : float
        Seconds by which each step of the slow worker takes longer.
    """

    name = "schedules"
    tau: int = 10
    eta: float = 0.05
    delay: float = 0.2

    @cached_property
    def jobs(self) -> dict[str, Job]:
        """All runs, by the names of their directories."""
        alpha = BETA / self.workers
        asked = {
            "synchronous": (alpha, Synchronous(p=self.workers, tau=self.tau)),
            "round-robin": (alpha / self.tau, RoundRobin(p=self.workers, tau=self.tau)),
            "asynchronous": (alpha / self.tau, Asynchronous(p=self.workers, tau=self.tau)),
        }
        return {
            f"{name}-{who}": self._job(EASGD(self.eta, rate), schedule, delays)
            for who, delays in (("alike", ()), ("one-slow", (self.delay,)))
            for name, (rate, schedule) in asked.items()
        }


def compare(
    runs: Runs,
    directory: Path,
    *,
    processes: Processes | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Path:
    """Do the runs one after the other, each as `train` does it with a process for each worker, and tabulate them.

    Runs that are complete are not done again; one that was stopped goes on from its checkpoint.

    Parameters
    ----------
    runs : Runs
    directory : Path
        It exists. Each run has a directory of its own in it, as `train` writes it.
    processes : Processes, optional
        How they are started.
    progress : callable, optional
        Called with the runs done, the runs in all, and the name of the last one.

    Returns
    -------
    Path
        The table, a CSV: one row for each run.

    Raises
    ------
    ValueError
        The directory holds a run of another setup.
    """
    rows = []
    for number, (name, job) in enumerate(runs.jobs.items(), 1):
        place = directory / name
        if not (place / "result.json").exists():
            place.mkdir(exist_ok=True)
            keep = Keep(directory=place, resume=True, measure_afterwards=True)
            train(job, keep=keep, processes=processes or Processes(), device="auto")
        result = Result.read(place)
        if result.config != json.loads(json.dumps(job.config())):
            raise ValueError(f"{name} in {str(directory)!r} is a run of another setup; give another directory")
        rows.append(_row(name, job, result))
        if progress is not None:
            progress(number, len(runs.jobs), name)
    path = directory / f"{runs.name}.csv"
    with atomic(path) as new, new.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _row(name: str, job: Job, result: Result) -> Row:
    """A line of the table."""
    values, predicted = given_values(job.algorithm), result.predicted
    return {
        **{name: getattr(job, name) for name in SHARED},
        "run": name,
        "algorithm": job.name,
        "schedule": type(job.schedule).__name__,
        "p": job.workers,
        "tau": job.schedule.tau,
        "slowest": max(job.delays, default=0.0),
        **{name: values.get(name, "") for name in ("eta", "alpha", "delta")},
        "h_max": predicted.h_max if predicted else None,
        "spectral_radius": predicted.spectral_radius if predicted else None,
        "predicted_stable": predicted.stable if predicted else None,
        **{
            name: getattr(result, name)
            for name in ("verdict", "diverged_at", "train_loss", "test_loss", "test_error", "steps", "seconds")
        },
        **{f"{kind}_seconds": result.time[kind] for kind in KINDS},
    }


def curves(directory: Path, name: str) -> list[Row]:
    """The measurements of a run's center: ``seconds``, ``step``, ``train_loss``, ``test_loss``, ``test_error``."""
    lines = map(json.loads, (directory / name / "metrics.jsonl").read_text().splitlines())
    return [event for event in lines if event["event"] == "center" and event["seconds"] is not None]
