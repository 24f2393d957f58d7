"""Faults to order, for tests and benchmarks: what may happen to a run, made to happen."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from gpu_trainer.party import GradientOf
from gpu_trainer.sessions import Place, Session


def kill(pid: int) -> None:
    """End a process without a word (SIGKILL)."""
    os.kill(pid, signal.SIGKILL)


def hang(pid: int) -> None:
    """Stop a process (SIGSTOP); its sessions stay open."""
    os.kill(pid, signal.SIGSTOP)


def wake(pid: int) -> None:
    """Let a process that hangs go on (SIGCONT)."""
    os.kill(pid, signal.SIGCONT)


@dataclass(frozen=True)
class Spoiled:
    """A gradient that is not a number for one worker at one clock."""

    gradient: GradientOf
    worker: int
    clock: int

    def __call__(self, worker: int, clock: int, point: Tensor) -> Tensor:
        value = self.gradient(worker, clock, point)
        return torch.full_like(value, torch.nan) if (worker, clock) == (self.worker, self.clock) else value


@dataclass(frozen=True)
class Slowed:
    """A gradient that takes `seconds` more; the processor is free meanwhile."""

    gradient: GradientOf
    seconds: float

    def __call__(self, worker: int, clock: int, point: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return self.gradient(worker, clock, point)


@dataclass(frozen=True, kw_only=True)
class Distant(Place):
    """A place that is far away: each exchange takes `delay` seconds more."""

    delay: float

    def session(self, store: dist.Store, number: int, rank: int) -> Session:
        return _Distant(dist.PrefixStore(f"session/{number}", store), rank, self)


class _Distant(Session):
    def __init__(self, store: dist.Store, rank: int, place: Distant) -> None:
        super().__init__(store, rank, place)
        self._delay = place.delay

    def ask(self, header: Sequence[int], tensors: Sequence[Tensor], count: int) -> tuple[list[int], list[Tensor]]:
        time.sleep(self._delay)
        return super().ask(header, tensors, count)
