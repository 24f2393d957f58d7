"""The processes of an asynchronous run: the center's, and a worker's."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from easgd_theory.schedules import RoundRobin
from gpu_trainer.center import Center
from gpu_trainer.checkpoint import Checkpoints
from gpu_trainer.crew import Crew
from gpu_trainer.group import Group
from gpu_trainer.job import Job
from gpu_trainer.order import staleness, write_order
from gpu_trainer.preflight import Prediction
from gpu_trainer.records import LOOK, Keep, Records, Tell
from gpu_trainer.replay import replay
from gpu_trainer.result import Failure, Measured, Result
from gpu_trainer.roll import Roll
from gpu_trainer.service import Service
from gpu_trainer.sessions import Place, RunOver
from gpu_trainer.setting import measured, model_at, prediction, set_up
from gpu_trainer.stopwatch import KINDS, Stopwatch
from gpu_trainer.verdict import Watch
from gpu_trainer.visitor import Visitor

_PAUSE = 0.02  # seconds from one look at the center to the next


class _Moment(NamedTuple):
    """The center at a step, to be measured; its length, and what was heard of the workers until then."""

    step: int
    iterate: Tensor
    norm: float
    heard: dict[str, float]


class CenterRun:
    """The center's process: it serves, measures, keeps, and says how the run ended."""

    def __init__(self, job: Job, keep: Keep, device: torch.device, tell: Tell | None, restarts: int) -> None:
        assert keep.directory is not None
        self.job, self.keep, self.restarts, self.directory = job, keep, restarts, keep.directory
        self.learner = set_up(job, device, Stopwatch(device))
        self.checkpoints = Checkpoints(keep.directory / "checkpoints", Group())
        self.records = Records(keep.directory / "metrics.jsonl", job.workers, tell)
        self.predicted: Prediction | None = None
        self._seen = {"arrivals": 0, "losses": 0, "refused": 0, "step": 0, "version": 0, "void": 0}
        self._loss, self._seconds = float("nan"), 0.0
        self._moments: list[_Moment] = []
        self._last: tuple[Tensor, Measured] | None = None

    def run(self, place: Place, predict: bool) -> None:
        """To the end."""
        try:
            self._begin(predict)
            with Service(self.center, place) as service:
                while not service.wait(_PAUSE):
                    self._look(service)
            self._look(service)
            self._end()
        finally:
            self.records.close()

    @property
    def step(self) -> int:
        """Gradient steps of a worker, on average, that the center has heard of."""
        return self.center.snapshot().version * self.job.schedule.tau // self.job.workers

    def _begin(self, predict: bool) -> None:
        job, start = self.job, self.learner.flat.point()
        found = self.checkpoints.newest() if self.keep.resume else None
        state: Mapping[str, Any] = self.checkpoints.state(found, job.config()) if found else {"step": 0}
        of = {"role": "center", "pid": os.getpid(), "restarts": self.restarts, "step": state["step"], "last": job.last}
        self.records.write("started", **of, device=str(start.device))
        if found:
            self.verdict = Watch(**state["verdict"])
            self.predicted = state["predicted"] and Prediction(**state["predicted"])
        else:
            if predict:
                self.predicted = prediction(job, self.learner)
                self.records.write("predicted", **asdict(self.predicted))
            first = measured(self.learner, start, self.checkpoints.group).train_loss
            self.verdict = Watch(float(start.norm()), first)
        tensors = self.checkpoints.load(found, state, "center") if found else None
        self.center = Center(job.algorithm, job.schedule, start, job.averaging, tensors)  # type: ignore[arg-type]
        if self.restarts == 0:  # no worker of before is there any more: all are awaited
            self.center.roll = Roll(job.workers)
        arrivals = self.center.arrivals()
        self._seconds = float(arrivals["seconds"][-1]) if len(arrivals) else 0.0
        self._seen |= {"step": state["step"], "arrivals": len(arrivals)}
        self._seen |= {"refused": len(self.center.refused), "version": self.center.snapshot().version}
        self._loss = self.verdict.loss
        if tensors is None:
            self._save(0)
        else:  # those that were to be measured afterwards
            moments = enumerate(state["moments"])
            self._moments = [_Moment(at, tensors[f"moment.{i}"].to(start), *rest) for i, (at, *rest) in moments]

    def _look(self, service: Service) -> None:
        """Record what has happened; measure and keep, where it is time."""
        center, step, before = self.center, self.step, self._seen["step"]
        for loss in service.losses[self._seen["losses"] :]:
            self.records.write("lost", step=step, **loss)
        now, refused = center.snapshot(), center.refused[self._seen["refused"] :]
        for worker, clock in refused:
            self.records.write("refused", step=step, worker=worker, clock=clock)
        if now.version != self._seen["version"]:
            self._seen |= {"version": now.version, "void": 0}
        self._seen["void"] += len(refused)
        if self._seen["void"] >= self.job.workers:  # nothing comes any more but what is not finite
            self._loss = float("inf")
        self._seen |= {"losses": len(service.losses), "refused": len(center.refused), "step": step}

        def passed(every: int) -> bool:
            return step // every > before // every

        if passed(LOOK) or self._loss == float("inf"):
            self.records.write("progress", step=step)
            if self.verdict.look(step, float(now.center.x.norm()), self._loss):
                center.end()
                return
        if passed(self.keep.evaluations(self.job.last)):
            self._moments.append(self._moment(step))
            if not self.keep.measure_afterwards:
                self._measure_moments()
        if passed(self.keep.checkpoints(self.job.last)):
            self._save(step)

    def _moment(self, step: int) -> _Moment:
        now, arrivals = self.center.snapshot(), self.center.arrivals(self._seen["arrivals"])
        self._seen["arrivals"] += len(arrivals)
        self._seconds = float(arrivals["seconds"][-1]) if len(arrivals) else self._seconds
        late = staleness(arrivals)
        stale = {"staleness": float(late.mean()), "largest_staleness": int(late.max())} if len(late) else {}
        return _Moment(step, now.iterate, float(now.center.x.norm()), {"seconds": self._seconds, **stale})

    def _measure_moments(self) -> None:
        for moment in self._moments:
            self._loss = self._measure(moment).train_loss
            if self.keep.measure_afterwards:  # else the next look has the loss
                self.verdict.look(moment.step, moment.norm, self._loss)
        self._moments.clear()

    def _measure(self, moment: _Moment) -> Measured:
        if self._last is not None and self._last[0] is moment.iterate:  # nothing has arrived since
            return self._last[1]
        found = measured(self.learner, moment.iterate, self.checkpoints.group)
        self.records.write("center", step=moment.step, **moment.heard, **found._asdict())
        self._last = moment.iterate, found
        return found

    def _save(self, step: int) -> None:
        state = {
            "config": self.job.config(),
            "verdict": asdict(self.verdict),
            "predicted": self.predicted and asdict(self.predicted),
            "moments": [(each.step, each.norm, each.heard) for each in self._moments],
        }
        iterates = {f"moment.{i}": each.iterate for i, each in enumerate(self._moments)}
        self.checkpoints.save(step, {}, self.center.state() | iterates, state)
        self.records.write("checkpoint", step=step)

    def _end(self) -> None:
        step = self.step
        if self.verdict.diverged_at is None and not self.center.roll.done:
            raise Failure(f"every worker was lost, the last one when the center was at step {step}")
        self._save(step)
        torch.set_num_threads(os.cpu_count() or 1)  # the workers need them no longer
        if self._moments:
            self._measure_moments()
            self._save(step)  # without them
        found = self._measure(self._moment(step))
        rows = list(self._worked().values())
        time = dict(zip(KINDS, np.mean(rows, axis=0).tolist() if rows else [0.0] * len(KINDS), strict=True))
        result = Result.of(
            self.job,
            self.verdict,
            found,
            step=step,
            time=time,
            restarts=self.restarts,
            predicted=self.predicted,
            lost_workers=self.center.roll.lost,
            seconds=self._seconds,
        )
        write_order(self.center.arrivals(), self.directory / "order.csv")
        result.write(self.directory, model_at(self.learner, self.center.snapshot().iterate))
        self.records.write("ended", step=step, verdict=result.verdict)

    def _worked(self) -> dict[int, np.ndarray]:
        """By worker, the seconds of all its processes, by kind, as each recorded them last."""
        before: dict[int, np.ndarray] = {}
        last: dict[int, np.ndarray] = {}
        none = np.zeros(len(KINDS))
        with (self.directory / "metrics.jsonl").open() as file:
            for line in file:
                event: dict[str, Any] = json.loads(line) if line.endswith("\n") else {"event": ""}
                rank = event.get("rank", -1)
                if event["event"] == "worker":
                    last[rank] = np.array([event["time"][kind] for kind in KINDS])
                elif event["event"] == "started" and rank in last:
                    before[rank] = before.get(rank, none) + last.pop(rank)
        return {rank: before.get(rank, none) + last.get(rank, none) for rank in before | last}


def replayed(
    job: Job, keep: Keep, arrivals: np.ndarray, device: torch.device, tell: Tell | None
) -> tuple[Result, dict[str, Tensor]]:
    """An asynchronous run done again in this process, from its order of arrivals."""
    watch, directory = Stopwatch(device), keep.directory
    learner = set_up(job, device, watch)
    start, tau = learner.flat.point(), job.schedule.tau
    records = Records(directory and directory / "metrics.jsonl", 0, tell)
    records.write("started", role="worker", pid=os.getpid(), restarts=0, step=0, last=job.last, device=str(device))
    verdict = Watch(float(start.norm()), measured(learner, start, Group()).train_loss)
    crew, step = Crew(job.algorithm, RoundRobin(p=job.workers, tau=tau), start, job.averaging), 0
    with watch("compute"):
        for crew in replay(job.algorithm, job.schedule, arrivals, start, learner.gradient, job.averaging):  # type: ignore[arg-type]
            before, step = step, sum(crew.clocks) // job.workers
            if step // LOOK > before // LOOK:
                records.write("progress", step=step)
                verdict.look(step, float(crew.latest.norm()), verdict.loss)
    found = measured(learner, crew.iterate, Group())
    result = Result.of(job, verdict, found, step=step, time=watch.seconds, restarts=0, predicted=None)
    center = model_at(learner, crew.iterate)
    if directory is not None:
        result.write(directory, center)
    records.write("ended", step=step, verdict=result.verdict)
    records.close()
    return result, center


def work(job: Job, keep: Keep, device: torch.device, number: int, place: Place) -> None:
    """A worker's process."""
    assert keep.directory is not None
    watch = Stopwatch(device)
    learner = set_up(job, device, watch)
    records = Records(keep.directory / "metrics.jsonl", number)
    records.write("started", role="worker", pid=os.getpid(), workers=[number], device=str(device))
    try:
        with Visitor(job.algorithm, job.schedule, number, place, learner.flat.point()) as visitor:  # type: ignore[arg-type]
            joined = visitor.communicated
            while visitor.clock < job.last:
                before, waited = visitor.clock, visitor.waited
                with watch("compute"):
                    if not visitor.round(learner.gradient):
                        break
                stood = visitor.waited - waited
                watch.seconds["compute"] -= stood
                watch.seconds["communicate"] += stood
                if visitor.clock // LOOK > before // LOOK or visitor.clock >= job.last:
                    _record(records, visitor, watch, learner.lately(), joined)
        records.write("ended", step=visitor.clock)
    except RunOver as over:
        records.write("ended", reason=str(over))
    finally:
        records.close()


def _record(
    records: Records, visitor: Visitor, watch: Stopwatch, lately: Mapping[int, tuple[float, float]], joined: float
) -> None:
    """A worker's line: of the seconds that its exchanges took, those that it did not wait for are hidden."""
    loss, error = lately.get(visitor.number, (float("nan"), float("nan")))
    records.write(
        "worker",
        worker=visitor.number,
        step=visitor.clock,
        seconds=watch.total,
        time=dict(watch.seconds),
        hidden=max(0.0, visitor.communicated - joined - watch.seconds["communicate"]),
        loss=loss,
        error=error,
        restarts=visitor.restarts,
    )
