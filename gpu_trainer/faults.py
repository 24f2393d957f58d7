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


def spoiled(gradient: GradientOf, worker: int, clock: int) -> GradientOf:
    """The gradient, but not a number for that worker at that clock."""

    def spoil(who: int, when: int, point: Tensor) -> Tensor:
        value = gradient(who, when, point)
        return torch.full_like(value, torch.nan) if (who, when) == (worker, clock) else value

    return spoil


def slowed(gradient: GradientOf, seconds: float) -> GradientOf:
    """The gradient, that much later; the processor is free meanwhile."""

    def late(worker: int, clock: int, point: Tensor) -> Tensor:
        time.sleep(seconds)
        return gradient(worker, clock, point)

    return late


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
