"""What the tests of asynchronous runs start in processes of their own."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_trainer.center import Center
from gpu_trainer.service import Service
from gpu_trainer.sessions import Place
from gpu_trainer.visitor import Visitor

START = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


@dataclass(frozen=True)
class Uneven:
    """The gradient of h x^2 / 2, moved by something that depends on the worker and its clock, after a random while."""

    h: float
    moved: float = 0.0
    seconds: float = 0.0

    def __call__(self, worker: int, clock: int, point: Tensor) -> Tensor:
        if self.seconds:
            time.sleep(np.random.default_rng([worker, clock]).exponential(self.seconds))
        return self.h * point + self.moved * np.sin(1 + 7 * worker + 3 * clock)


@dataclass(frozen=True)
class Task:
    """One run: all that its processes need."""

    algorithm: Any
    schedule: Any
    gradient: Callable[[int, int, Tensor], Tensor]
    visits: int
    place: Place
    folder: Path

    @property
    def last(self) -> int:
        """The clock at which a worker has done its part."""
        return self.visits * self.schedule.tau

    def work(self, number: int) -> dict[str, Any]:
        """One worker's part."""
        visited = []
        with Visitor(self.algorithm, self.schedule, number, self.place, START) as visitor:
            begun = (visitor.communicated, visitor.waited)
            while visitor.clock < self.last:
                clock = visitor.clock
                if not visitor.round(self.gradient):
                    break
                visited.append(clock)
            spent = (visitor.communicated - begun[0], visitor.waited - begun[1])
        return {"clock": visitor.clock, "visited": visited, "spent": spent, "restarts": visitor.restarts}

    def serve(self) -> dict[str, Any]:
        """The center's part; it goes on from its last checkpoint, if there is one."""
        kept = self.folder / "checkpoint.pt"
        state = torch.load(kept, weights_only=True) if kept.exists() else None
        center = Center(self.algorithm, self.schedule, START, state=state)
        with Service(center, self.place) as service:
            while not service.wait(0.02):
                torch.save(center.state(), self.folder / "unfinished.pt")
                os.replace(self.folder / "unfinished.pt", kept)
        return {"state": center.state(), "lost": center.roll.lost, "refused": center.refused, "losses": service.losses}


def work_on(tasks: Sequence[Task], number: int) -> None:
    """One worker's part in each run that has so many workers; writes what came of it."""
    torch.set_num_threads(1)
    for task in tasks:
        if number < task.schedule.p:
            write(task.folder / f"worker_{number}_{os.getpid()}.pt", task.work(number))


def serve_all(tasks: Sequence[Task]) -> None:
    """The center's part in each run."""
    torch.set_num_threads(1)
    for task in tasks:
        write(task.folder / "center.pt", task.serve())


def write(path: Path, values: dict[str, Any]) -> None:
    torch.save(values, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)
