"""`train`: a run from its start, or from a checkpoint, to its verdict."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor

from gpu_trainer.asynchronous import replayed
from gpu_trainer.checkpoint import Checkpoints
from gpu_trainer.crew import Crew
from gpu_trainer.group import Group
from gpu_trainer.job import Job
from gpu_trainer.launch import Processes, launched, start_processes
from gpu_trainer.learner import Buffers
from gpu_trainer.member import Member
from gpu_trainer.order import read_order
from gpu_trainer.party import Party
from gpu_trainer.preflight import Prediction
from gpu_trainer.records import LOOK, Keep, Records, Tell
from gpu_trainer.result import Measured, Result
from gpu_trainer.setting import measured, model_at, prediction, set_up
from gpu_trainer.stopwatch import KINDS, Stopwatch
from gpu_trainer.supervisor import supervise
from gpu_trainer.verdict import Watch


def train(
    job: Job,
    *,
    predict: bool = True,
    keep: Keep | None = None,
    processes: Processes | None = None,
    device: str = "auto",
    tell: Tell | None = None,
    order: Path | None = None,
) -> tuple[Result, dict[str, Tensor]]:
    """Train, all workers in this process or each in one of its own.

    A run that diverges is stopped: its result says at which step. Where torch's launcher has started this process
    (``torchrun``), it is one of the `processes` that train.

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
    order : Path, optional
        Of an asynchronous run in one process: the ``order.csv`` of a run to do again, with the same job.

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
    if dist.is_torchelastic_launched() and (processes is None or job.is_asynchronous):
        raise ValueError("a run under torchrun must have processes, and be synchronous or round-robin")
    if keep.directory is not None:
        keep.directory.mkdir(parents=True, exist_ok=True)
    if processes is None:
        if not job.is_asynchronous:
            return Run(job, keep, predict, device, tell).run()
        if order is None:
            raise ValueError("order must be given where an asynchronous run is done in one process: it does it again")
        return replayed(job, keep, read_order(order), launched().take(device), tell)
    if keep.directory is None:
        raise ValueError("keep must name a directory where processes train: they meet there")
    if job.is_asynchronous:
        result = supervise(job, keep, predict, device, tell, processes)
    else:
        result = start_processes(processes, job.workers, _part, (job, keep, predict, device, tell))
    return result, load_file(keep.directory / "center.safetensors")


def _part(job: Job, keep: Keep, predict: bool, device: str, tell: Tell | None) -> Result:
    """What a process does that was started for one worker."""
    return Run(job, replace(keep, resume=keep.resume or launched().restarts > 0), predict, device, tell).run()[0]


class Run:
    """One process's part in a run: all workers, or one of them."""

    def __init__(self, job: Job, keep: Keep, predict: bool, device: str, tell: Tell | None) -> None:
        self.job, self.keep, self.predict = job, keep, predict
        self.device = launched().take(device)
        self.watch = Stopwatch(self.device)
        self.group = Group(watch=self.watch)
        self.learner = set_up(job, self.device, self.watch)
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
            self.verdict = Watch(float(self.party.iterate.norm()), self._measured().train_loss)
        self.group.meet()

    def _predict(self) -> None:
        if self.predict and self.group.rank == 0:
            self.predicted = prediction(self.job, self.learner)
            self.records.write("predicted", **asdict(self.predicted))

    def _after_round(self) -> None:
        step, job = self.party.clock, self.job
        saves = self.checkpoints is not None and self._passed(self.keep.checkpoints(job.last))
        if step == job.last or saves or self._passed(LOOK):  # a checkpoint lies between two looks, not within one
            self._look(step)
        if step == job.last or self.verdict.diverged_at is not None:
            return
        if self._passed(self.keep.evaluations(job.last)):
            self._evaluate(step)
        if saves:
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

    def _evaluate(self, step: int) -> Measured:
        """Measure the center and record it; nothing of the run is changed, and its clock stands still."""
        with self.watch("wait"):
            self.group.meet()
        found, party = self._measured(), self.party
        xs = iter([worker.x for worker in party.mine.values()])
        mean = self.group.sum(sum(xs, next(xs))) / party.p
        distance = float((mean - party.latest).norm())
        if self.group.rank == 0:
            time = {"seconds": self.watch.total, "time": dict(self.watch.seconds)}
            self.records.write("center", step=step, **time, **found._asdict(), distance=distance)
        return found

    def _measured(self) -> Measured:
        """The center's loss on the training set, and its loss and error on the test set."""
        self.learner.put(self._center_buffers())
        return measured(self.learner, self.party.iterate, self.group)

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
        step = self.party.clock
        found = self._evaluate(step)
        time = dict(zip(KINDS, self.group.table(list(self.watch.seconds.values())).mean(0).tolist(), strict=True))
        restarts = launched().restarts
        result = Result.of(
            self.job, self.verdict, found, step=step, time=time, restarts=restarts, predicted=self.predicted
        )
        self.learner.put(self._center_buffers())
        center = model_at(self.learner, self.party.iterate)
        if self.keep.directory is not None and self.group.rank == 0:
            result.write(self.keep.directory, center)
        self.records.write("ended", step=step, verdict=result.verdict)
        return result, center
