"""The processes that train together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from gpu_trainer.stopwatch import Stopwatch


class ProcessLost(RuntimeError):
    """Another process of the group is gone, or cannot be reached."""


@contextmanager
def others() -> Iterator[None]:
    """A block in which a RuntimeError is another process's fault."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost(str(error)) from error


class Group:
    """The processes that train together, one worker each.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup, optional
        By default all processes; a single one where `torch.distributed` has not been initialized.
    watch : Stopwatch, optional
        Where it is given, the processes meet before each exchange, so that waiting for one another and communicating
        are told apart.

    Attributes
    ----------
    rank, size : int
    """

    def __init__(self, group: dist.ProcessGroup | None = None, watch: Stopwatch | None = None) -> None:
        self._group, self._watch = group, watch
        alone = not dist.is_initialized()
        self.rank = 0 if alone else dist.get_rank(group)
        self.size = 1 if alone else dist.get_world_size(group)

    @contextmanager
    def exchanging(self) -> Iterator[None]:
        """A block that counts as communication."""
        if self._watch is None:
            yield
            return
        with self._watch("wait"):
            self.meet()
        with self._watch("communicate"):
            yield

    def meet(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            with others():
                dist.barrier(self._group)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes, in a new tensor."""
        total = values.clone()
        if self.size > 1:
            with others():
                dist.all_reduce(total, group=self._group)
        return total

    def broadcast(self, values: Tensor, source: int) -> Tensor:
        """What `source` gives, in every process; the others give a tensor of the same shape."""
        if self.size == 1:
            return values
        received = values.clone() if source == self.rank else torch.empty_like(values)
        with others():
            dist.broadcast(received, group=self._group, group_src=source)
        return received

    def table(self, row: Sequence[float]) -> Tensor:
        """What each process gives, in the order of their ranks; float64 of shape (size, len(row)), on the CPU."""
        nccl = self.size > 1 and dist.get_backend(self._group) == "nccl"
        rows = torch.zeros(self.size, len(row), dtype=torch.float64)
        rows[self.rank] = torch.tensor(row, dtype=torch.float64)
        return self.sum(rows.cuda() if nccl else rows).cpu()
