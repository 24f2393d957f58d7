"""Batches, as a function of (seed, worker, clock)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from gpu_trainer import streams
from gpu_trainer.data import Data
from gpu_trainer.images import Images


@dataclass(frozen=True, eq=False)
class Batches:
    """What each worker sees at each value of its clock.

    A worker goes through the training set (or its shard) without replacement, in a new order each epoch; what is left
    at the end of an epoch and does not fill a batch is dropped. Random patches and flips are those of the data set.
    Everything random is keyed by (seed, worker, clock).

    Parameters
    ----------
    data : Data
        The set.
    size : int
        Images in a batch, from 1 to what a worker has.
    seed : int, default 0
        Of all orders, patches and flips.
    shard : bool, default False
        Whether each worker has a part of its own, of a fixed random partition; else each has the whole set.
    workers : int, default 1
        How many share the set; it matters only with `shard`.
    dtype : torch.dtype, default torch.float32
        Of the images in a batch.
    device : torch.device or str, default "cpu"
        Where batches are wanted; sets that are held in memory are moved there at the start.

    Raises
    ------
    ValueError
        If a worker has no full batch.

    Examples
    --------
    >>> from gpu_trainer.data import load
    >>> batches = Batches(load("digits"), size=128, seed=3)
    >>> images, labels = batches.train(worker=0, clock=1000)
    >>> images.shape, labels.shape, batches.per_epoch
    (torch.Size([128, 1, 8, 8]), torch.Size([128]), 11)
    """

    data: Data
    size: int
    seed: int = 0
    shard: bool = False
    workers: int = 1
    dtype: torch.dtype = torch.float32
    device: torch.device | str = "cpu"
    _orders: dict[int, tuple[int, Tensor]] = field(default_factory=dict, init=False, repr=False)  # the current epochs'

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        each = len(self.data.train) // (self.workers if self.shard else 1)
        if not 1 <= self.size <= each:
            share = f"a shard of {self.data.name} for each of {self.workers} workers" if self.shard else self.data.name
            raise ValueError(f"the batch size must be from 1 to {each}, what {share} has to train on, got {self.size}")

    @cached_property
    def per_epoch(self) -> int:
        """Batches in an epoch, the same for all workers: shards differ by one image at most."""
        return len(self.data.train) // (self.workers if self.shard else 1) // self.size

    def train(self, worker: int, clock: int) -> tuple[Tensor, Tensor]:
        """The batch of a worker at its clock.

        Parameters
        ----------
        worker : int
            From 0; with shards below `workers`.
        clock : int
            The gradient steps that the worker has taken so far.

        Returns
        -------
        images : Tensor of shape (size, channels, side, side)
            Pixels in [0, 1].
        labels : Tensor of shape (size,), int64
        """
        epoch, step = divmod(clock, self.per_epoch)
        index = self._order(worker, epoch)[step * self.size : (step + 1) * self.size]
        draw = streams.generator(self.seed, "patches", worker, clock)
        positions = torch.from_numpy(draw.random((self.size, 2)))
        flips = torch.from_numpy(draw.random(self.size) < 0.5) if self.data.flip else None
        return self._batch(self._train, index, positions, flips)

    def test(self, batch_size: int, part: int = 0, parts: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """The test set in order, center patches, in batches of at most `batch_size`; of `parts` shares the given one.

        The shares, for processes that measure together, are disjoint and together the whole set.
        """
        return self._measured(self._test, batch_size, part, parts)

    def train_all(self, batch_size: int, part: int = 0, parts: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """The whole training set as `test` has the test set: for its loss, its gradient and its curvature."""
        return self._measured(self._train, batch_size, part, parts)

    @cached_property
    def _train(self) -> Images:
        return self.data.train.to(self.device)

    @cached_property
    def _test(self) -> Images:
        return self.data.test.to(self.device)

    @cached_property
    def _partition(self) -> Tensor:
        return torch.from_numpy(streams.generator(self.seed, "shards").permutation(len(self.data.train)))

    def _order(self, worker: int, epoch: int) -> Tensor:
        known, order = self._orders.get(worker, (None, None))
        if known != epoch or order is None:
            order = self._new_order(worker, epoch)
            self._orders[worker] = epoch, order
        return order

    def _new_order(self, worker: int, epoch: int) -> Tensor:
        draw = streams.generator(self.seed, "order", worker, epoch)
        if not self.shard:
            return torch.from_numpy(draw.permutation(len(self.data.train)))
        if not 0 <= worker < self.workers:
            raise ValueError(f"worker must be from 0 to {self.workers - 1}: there are so many shards, got {worker}")
        shard = self._partition[worker :: self.workers]
        return shard[torch.from_numpy(draw.permutation(len(shard)))]

    def _measured(self, images: Images, batch_size: int, part: int, parts: int) -> Iterator[tuple[Tensor, Tensor]]:
        start, stop = (len(images) * each // parts for each in (part, part + 1))
        for first in range(start, stop, batch_size):
            index = torch.arange(first, min(first + batch_size, stop))
            yield self._batch(images, index, torch.full((len(index), 2), 0.5, dtype=torch.float64))

    def _batch(
        self, images: Images, index: Tensor, positions: Tensor, flips: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        patches = images.patches(index, self.data.side, positions, flips).to(self.device)
        return patches.to(self.dtype).div_(self.data.white), images.labels[index.to(images.labels.device)]
