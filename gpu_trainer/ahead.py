"""Batches from files, loaded while the ones before are learned from."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from gpu_trainer.batches import Batches

Batch = tuple[Tensor, Tensor]


class Ahead:
    """What `Batches.train` returns, with each worker's next batch on its way when one is asked for.

    Parameters
    ----------
    batches : Batches
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._coming: dict[int, tuple[int, Future[Batch]]] = {}

    def train(self, worker: int, clock: int) -> Batch:
        """The batch of a worker at its clock."""
        expected, coming = self._coming.pop(worker, (None, None))
        wanted = coming if coming is not None and expected == clock else self._load(worker, clock)
        self._coming[worker] = clock + 1, self._load(worker, clock + 1)
        return wanted.result()

    def _load(self, worker: int, clock: int) -> Future[Batch]:
        return self._loader.submit(self._batches.train, worker, clock)
