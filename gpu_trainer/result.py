"""How a run ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from easgd_theory.files import finite
from gpu_trainer.preflight import Prediction

SCHEMA_VERSION = 1


class Failure(RuntimeError):
    """A run could not do its job; the sentence says why."""


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
        Gradient steps that each worker took.
    seconds : float
        That the workers worked; measuring the center and writing are not in it.
    samples_per_second : float
        Images that all workers together learned from.
    time : dict of str to float
        Of those seconds, on average over the processes: ``compute``, ``data``, ``wait``, ``communicate``.
    lost_workers : list of int
        Workers that were lost and not restarted.
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
