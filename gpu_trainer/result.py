"""How a run ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from safetensors.torch import save_file
from torch import Tensor

from easgd_theory.files import atomic, finite
from gpu_trainer.preflight import Prediction

if TYPE_CHECKING:
    from gpu_trainer.job import Job
    from gpu_trainer.verdict import Watch

SCHEMA_VERSION = 1


class Failure(RuntimeError):
    """A run could not do its job; the sentence says why."""


class Measured(NamedTuple):
    """How good a point is: its loss on the training set, and its loss and share of wrong answers on the test set."""

    train_loss: float
    test_loss: float
    test_error: float


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
        Of the center at the end (of the iterate of a sequential method, of the average where one is asked for).
    steps : int
        Gradient steps that each worker took; of an asynchronous run their mean.
    seconds : float
        That the workers worked; measuring the center and writing are not in it. Of an asynchronous run, from when the
        center began to wait for workers to the last arrival.
    samples_per_second : float
        Images that all workers together learned from.
    time : dict of str to float
        Of those seconds, on average over the processes: ``compute``, ``data``, ``wait``, ``communicate``.
    lost_workers : list of int
        Of an asynchronous run: workers that lost a process, also where another took its place.
    restarts : int
        How often the processes were started anew from a checkpoint.
    predicted : Prediction or None
        What the theory said before the run, if it was asked.
    config : dict
        The job.
    """

    verdict: str
    diverged_at: int | None
    test_error: float
    test_loss: float
    train_loss: float
    steps: int
    seconds: float
    samples_per_second: float
    time: dict[str, float]
    lost_workers: list[int]
    restarts: int
    predicted: Prediction | None
    config: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """The result for JSON; a number that is not finite becomes null."""
        record: dict[str, Any] = finite({"schema_version": SCHEMA_VERSION, **asdict(self), "version": version("easgd")})
        return record

    @classmethod
    def of(
        cls,
        job: Job,
        verdict: Watch,
        measured: Measured,
        *,
        step: int,
        time: Mapping[str, float],
        restarts: int,
        predicted: Prediction | None,
        lost_workers: Sequence[int] = (),
        seconds: float | None = None,
    ) -> Result:
        """The result of a job; `seconds` where they are not the sum of `time`."""
        seconds = sum(time.values()) if seconds is None else seconds
        return cls(
            verdict=verdict.verdict(measured.train_loss),
            diverged_at=verdict.diverged_at,
            **measured._asdict(),
            steps=step,
            seconds=seconds,
            samples_per_second=step * job.workers * job.batch_size / seconds if seconds else 0.0,
            time=dict(time),
            lost_workers=list(lost_workers),
            restarts=restarts,
            predicted=predicted,
            config=job.config(),
        )

    def write(self, directory: Path, center: dict[str, Tensor]) -> None:
        """Write ``center.safetensors`` and ``result.json``."""
        with atomic(directory / "center.safetensors") as path:
            save_file(center, path)
        with atomic(directory / "result.json") as path:
            path.write_text(json.dumps(self.record(), indent=2))

    @classmethod
    def read(cls, directory: Path) -> Result:
        """What `write` wrote; null is None."""
        record = json.loads((directory / "result.json").read_text())
        del record["schema_version"], record["version"]
        predicted = record["predicted"] and Prediction(**record["predicted"])
        return cls(**record | {"predicted": predicted})
