"""What a test starts in processes of their own; `spawn` imports this module in each of them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from easgd_theory.algorithm import Algorithm
from easgd_theory.schedules import Schedule
from gpu_trainer import ElasticAveraging

START = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
ROUNDS = 12


class Quadratic(nn.Module):
    """The loss h x^2 / 2, summed over coordinates that lie in two parameters."""

    def __init__(self, h: float) -> None:
        super().__init__()
        self.h = h
        self.first, self.rest = nn.Parameter(START[:1].clone()), nn.Parameter(START[1:].clone().reshape(2, 1))

    def forward(self) -> Tensor:
        return self.h / 2 * (self.first.square().sum() + self.rest.square().sum())


def trained(algorithm: Algorithm, schedule: Schedule, h: float, rounds: int, group: Any = None) -> dict[str, Tensor]:
    """The state of this process's worker and its center, at the start and after each round."""
    model = Quadratic(h)
    with ElasticAveraging(model, algorithm, schedule, group=group) as elastic:
        states = [elastic.state_dict()]
        for _ in range(rounds):
            for _ in range(schedule.tau):
                elastic.zero_grad()
                model().backward()
                elastic.step()
            states.append(elastic.state_dict())
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def train_all(rank: int, size: int, folder: Path, cases: Sequence[tuple[Algorithm, Schedule, float]]) -> None:
    """Train each case among the first p processes; every one of these writes its states."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(str(folder / "store"), size), rank=rank, world_size=size)
    counts = sorted({schedule.workers() for _, schedule, _ in cases})
    groups = {p: dist.new_group(list(range(p))) for p in counts}
    states = {
        str(i): trained(algorithm, schedule, h, ROUNDS, groups[schedule.workers()])
        for i, (algorithm, schedule, h) in enumerate(cases)
        if rank < schedule.workers()
    }
    torch.save(states, folder / f"rank_{rank}.pt")
    dist.destroy_process_group()
