"""`train`: a run from its start, or from a checkpoint, to its verdict."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from easgd_theory.files import atomic
from gpu_trainer.batches import Batches
from gpu_trainer.checkpoint import Checkpoints
from gpu_trainer.crew import Crew
from gpu_trainer.data import load
from gpu_trainer.group import Group
from gpu_trainer.job import Job
from gpu_trainer.launch import Processes, launched, start_processes
from gpu_trainer.learner import Buffers, Learner
from gpu_trainer.member import Member
from gpu_trainer.models import build
from gpu_trainer.party import Party
from gpu_trainer.preflight import EXAMPLES, Prediction, measure, preflight
from gpu_trainer.records import Records, Tell
from gpu_trainer.result import Result
from gpu_trainer.stopwatch import KINDS, Stopwatch
from gpu_trainer.verdict import Watch

LOOK = 10
"""Steps, and at least a round, after which a run is looked at and its workers are recorded."""


@dataclass(frozen=True, kw_only=True)
class Keep:
    """What is kept of a run, and how often.

    Attributes
    ----------
    directory : Path, optional
        Where ``metrics.jsonl``, ``result.json``, ``center.safetensors`` and ``checkpoints/`` go; None: nowhere.
    evaluate_every, checkpoint_every : int, optional
        Steps from one measurement of the center, or one checkpoint, to the next; by default a tenth of the run.
    resume : bool
        Go on from the last checkpoint in the directory, if there is one.
    """

    directory: Path | None = None
    evaluate_every: int | None = None
    checkpoint_every: int | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        for name in ("evaluate_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")


def train(
    job: Job,
    *,
    predict: bool = True,
    keep: Keep | None = None,
    processes: Processes | None = None,
    device: str = "auto",
    tell: Tell | None = None,
) -> tuple[Result, dict[str, Tensor]]:
    """Train, all workers in this process or each in one of its own.

    A run that diverges is stopped: its result says at which step. Where torch's launcher has started this process
    (``torchrun``), it is one of those that train.

    Parameters
    ----------
    job : Job
    predict : bool, default True
        Measure the curvature at the start, and say what the theory predicts.
    keep : Keep, optional
        What is written where; by default nothing is.
    processes : Processes, optional
        How a process for each worker is started; by default all workers are in this one.
    device : str, default "auto"
        Of torch: ``cpu``, ``cuda``; ``auto`` is CUDA where there is one. Processes share out the devices.
    tell : callable, optional
        Called with the events of the first process, as they are recorded. With `processes` it must be picklable.

    Returns
    -------
    result : Result
    center : dict of str to Tensor
        The center's parameters and buffers, by the names that the model gives them.

    Raises
    ------
    TypeError, ValueError
        A bad value.
    Failure
        The run could not do its job.

    Examples
    --------
    >>> from easgd_theory import EASGD, Synchronous
    >>> rule, schedule = EASGD(eta=0.1, alpha=0.55), Synchronous(p=4)
    >>> result, _ = train(Job(algorithm=rule, schedule=schedule, steps=100))
    >>> result.predicted.stable, result.verdict
    (False, 'diverged')
    """
    keep = keep or Keep()
    if processes is None:
        return Run(job, keep, predict, device, tell).run()
    if keep.directory is None:
        raise ValueError("keep must name a directory where processes train: they meet there")
    result = start_processes(processes, job.workers, _part, (job, keep, predict, device, tell))
    return result, load_file(keep.directory / "center.safetensors")


def _part(job: Job, keep: Keep, predict: bool, device: str, tell: Tell | None) -> Result:
    """What a process does that was started for one worker."""
    return Run(job, replace(keep, resume=keep.resume or launched().restarts > 0), predict, device, tell).run()[0]


class Run:
    """One process's part in a run: all workers, or one of them."""

    def __init__(self, job: Job, keep: Keep, predict: bool, device: str, tell: Tell | None) -> None:
        self.job, self.keep, self.predict = job, keep, predict
        self.device = launched().device(device)
        self.watch = Stopwatch(self.device)
        self.group = Group(watch=self.watch)
        data = load(job.data, job.data_dir)
        batches = Batches(data, job.batch_size, job.seed, job.shard, job.workers, device=self.device)
        model = build(job.model, data, job.seed, torch.float32).to(self.device)
        if job.average_buffers is None and any(buffer.is_floating_point() for buffer in model.buffers()):
            raise ValueError(
                "average_buffers must be True (the center has the mean of the workers' buffers) or False (it has the "
                f"first worker's), for the model {job.model} has buffers that are not parameters"
            )
        self.learner = Learner(model, batches, job.weight_decay, self.watch)
        self.party = self._party(self.learner.flat.point())
        self.predicted: Prediction | None = None
        directory = keep.directory
        self.checkpoints = None if directory is None else Checkpoints(directory / "checkpoints", self.group)
        metrics = None if directory is None else directory / "metrics.jsonl"
        self.records = Records(metrics, self.group.rank, tell if self.group.rank == 0 else None)

    def _party(self, start: Tensor) -> Party:
        job = self.job
        if self.group.size == 1:
            return Crew(job.algorithm, job.schedule, start, job.averaging)
        return Member(job.algorithm, job.schedule, start, self.group, job.averaging)

    def run(self) -> tuple[Result, dict[str, Tensor]]:
        """To the end."""
        try:
            self._begin()
            while self.verdict.diverged_at is None and self.party.clock < self.job.last:
                with self.watch("compute"):
                    self.party.round(self.learner.gradient)
                self._after_round()
            return self._end()
        finally:
            self.records.close()

    def _begin(self) -> None:
        found = self.checkpoints.newest() if self.checkpoints and self.keep.resume else None
        state = self.checkpoints.state(found, self.job.config()) if self.checkpoints and found else None
        of = {"step": state["step"] if state else 0, "workers": list(self.party.mine), "device": str(self.device)}
        restarts = launched().restarts
        self.records.write("started", role="worker", pid=os.getpid(), restarts=restarts, last=self.job.last, **of)
        if found and state:
            self._restore(found, state)
        else:
            self._predict()
            loss, _, _ = self._measured()
            self.verdict = Watch(float(self.party.iterate.norm()), loss)
        self.group.meet()

    def _predict(self) -> None:
        """What the theory says of the loss at the start, whose curvature is measured on some of the training set."""
        if not self.predict or self.group.rank > 0:
            return
        job, learner = self.job, self.learner
        data = learner.batches.data
        sample = Batches(data, min(EXAMPLES, len(data.train)), job.seed, device=self.device)
        training = learner.model.training
        learner.model.eval()
        h_max = measure(learner.model, lambda: [learner.loss(*sample.train(0, 0))], seed=job.seed)
        learner.model.train(training)
        self.predicted = preflight(job.algorithm, job.schedule, h_max + job.weight_decay)
        self.records.write("predicted", **asdict(self.predicted))

    def _after_round(self) -> None:
        step, job = self.party.clock, self.job
        tenth = max(1, job.last // 10)
        if step == job.last or self._passed(LOOK):
            self._look(step)
        if step == job.last or self.verdict.diverged_at is not None:
            return
        if self._passed(self.keep.evaluate_every or tenth):
            self._evaluate(step)
        if self.checkpoints and self._passed(self.keep.checkpoint_every or tenth):
            self._save(step)

    def _passed(self, every: int) -> bool:
        """Whether the last round reached a multiple of so many steps."""
        step = self.party.clock
        return step // every > (step - self.job.schedule.tau) // every

    def _look(self, step: int) -> None:
        """Record the workers, and see whether the run has diverged."""
        party, lately, center = self.party, self.learner.lately(), self.party.latest
        for i, worker in party.mine.items():
            loss, error = lately[i]
            distance = float((worker.x - center).norm())
            where = {"worker": i, "step": step, "seconds": self.watch.total, "time": dict(self.watch.seconds)}
            self.records.write("worker", **where, loss=loss, error=error, distance=distance)
        longest = torch.stack([point.norm() for point in (center, *(worker.x for worker in party.mine.values()))]).max()
        with self.watch("wait"):
            rows = self.group.table([float(longest), sum(loss for loss, _ in lately.values())])
        self.verdict.look(step, float(rows[:, 0].max()), float(rows[:, 1].sum()) / party.p)

    def _evaluate(self, step: int) -> tuple[float, float, float]:
        """Measure the center and record it; nothing of the run is changed, and its clock stands still."""
        with self.watch("wait"):
            self.group.meet()
        train_loss, test_loss, test_error = self._measured()
        party = self.party
        mean = self.group.sum(torch.stack([worker.x for worker in party.mine.values()]).sum(0)) / party.p
        measured = {"train_loss": train_loss, "test_loss": test_loss, "test_error": test_error}
        distance = float((mean - party.latest).norm())
        if self.group.rank == 0:
            time = {"seconds": self.watch.total, "time": dict(self.watch.seconds)}
            self.records.write("center", step=step, **time, **measured, distance=distance)
        return train_loss, test_loss, test_error

    def _measured(self) -> tuple[float, float, float]:
        """The center's loss on the training set, and its loss and error on the test set."""
        self.learner.put(self._center_buffers())
        rows = self.group.table(self.learner.shares(self.party.iterate, self.group.rank, self.group.size))
        loss, wrong, count, train_loss, _, trained = rows.sum(0).tolist()
        return train_loss / trained, loss / count, wrong / count

    def _center_buffers(self) -> Buffers:
        """The buffers with which the center is measured and written."""
        columns = zip(*(self.learner.buffers_of(i) for i in self.party.mine), strict=True)
        return [
            self.group.sum(torch.stack(each).sum(0)) / self.party.p
            if self.job.average_buffers and each[0].is_floating_point()
            else self.group.broadcast(each[0], 0)
            for each in columns
        ]

    def _save(self, step: int) -> None:
        assert self.checkpoints is not None
        with self.watch("wait"):
            self.group.meet()
        party, average = self.party, self.party.average
        files = {
            f"worker_{i}": worker._asdict() | {f"buffer.{n}": each for n, each in enumerate(self.learner.buffers_of(i))}
            for i, worker in party.mine.items()
        }
        center = party.center._asdict() | ({"average": average.z} if average else {})
        seconds = self.group.table(list(self.watch.seconds.values())).tolist()
        state = {
            "config": self.job.config(),
            "verdict": asdict(self.verdict),
            "averaged": average.t if average else 0,
            "seconds": seconds,
            "predicted": self.predicted and asdict(self.predicted),
        }
        self.checkpoints.save(step, files, center, state)
        self.records.write("checkpoint", step=step)

    def _restore(self, path: Path, state: Mapping[str, Any]) -> None:
        party = self.party
        workers = {i: self._loaded(path, state, f"worker_{i}") for i in party.mine}
        buffers = range(len(self._center_buffers()))
        self.learner.buffers = {i: [each[f"buffer.{n}"] for n in buffers] for i, each in workers.items()}
        center = self._loaded(path, state, "center")
        rule = party.rule
        held = {i: rule.Worker(*(each[name] for name in rule.worker)) for i, each in workers.items()}
        party.restore(state["step"], held, rule.Center(*(center[name] for name in rule.center)))
        if party.average:
            party.average.z, party.average.t = center["average"], state["averaged"]
        self.verdict = Watch(**state["verdict"])
        seconds = torch.tensor(state["seconds"], dtype=torch.float64)
        mine = seconds[self.group.rank] if len(seconds) == self.group.size else seconds.mean(0)
        self.watch.seconds = dict(zip(KINDS, mine.tolist(), strict=True))
        self.predicted = state["predicted"] and Prediction(**state["predicted"])

    def _loaded(self, path: Path, state: Mapping[str, Any], name: str) -> dict[str, Tensor]:
        assert self.checkpoints is not None
        tensors = self.checkpoints.load(path, state, name)
        return {key: values.to(self.device) for key, values in tensors.items()}

    def _end(self) -> tuple[Result, dict[str, Tensor]]:
        job, step = self.job, self.party.clock
        train_loss, test_loss, test_error = self._evaluate(step)
        time = dict(zip(KINDS, self.group.table(list(self.watch.seconds.values())).mean(0).tolist(), strict=True))
        seconds = sum(time.values())
        result = Result(
            verdict=self.verdict.verdict(train_loss),
            diverged_at=self.verdict.diverged_at,
            test_error=test_error,
            test_loss=test_loss,
            train_loss=train_loss,
            steps=step,
            seconds=seconds,
            samples_per_second=step * job.workers * job.batch_size / seconds if seconds else 0.0,
            time=time,
            lost_workers=[],
            restarts=launched().restarts,
            predicted=self.predicted,
            config=job.config(),
        )
        model = self.learner.model
        self.learner.flat.load(self.party.iterate)
        self.learner.put(self._center_buffers())
        center = {name: values.detach().cpu().clone() for name, values in model.state_dict().items()}
        if self.keep.directory is not None and self.group.rank == 0:
            with atomic(self.keep.directory / "center.safetensors") as path:
                save_file(center, path)
            with atomic(self.keep.directory / "result.json") as path:
                path.write_text(json.dumps(result.record(), indent=2))
        self.records.write("ended", step=step, verdict=result.verdict)
        return result, center
