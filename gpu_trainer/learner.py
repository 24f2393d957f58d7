"""What a worker learns from: the gradient of its batch at its clock, and how good a point is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gpu_trainer.ahead import Ahead
from gpu_trainer.batches import Batches
from gpu_trainer.flat import Flat
from gpu_trainer.stopwatch import Stopwatch
from gpu_trainer.streams import drawing

_MEASURED = 512  # images of a batch while a point is measured

Buffers = Sequence[Tensor]
"""The values of a model's buffers, in the order of ``model.buffers()``."""


class Learner:
    """A classifier and its data; cross-entropy is the loss.

    Parameters
    ----------
    model : torch.nn.Module
        Shared by the workers; its buffers, such as batch normalisation's running statistics, are each worker's own.
    batches : Batches
    weight_decay : float, default 0
        The loss has half of it times the squared length of the parameters added.
    watch : Stopwatch, optional
        Told what time goes into data.
    delays : sequence of float
        Seconds by which a gradient takes longer, worker by worker.

    Attributes
    ----------
    flat : Flat
        The model's parameters.
    buffers : dict of int to list of Tensor
        By worker, what its steps have made of the model's buffers.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        weight_decay: float = 0.0,
        watch: Stopwatch | None = None,
        delays: Sequence[float] = (),
    ) -> None:
        self.model, self.batches, self.weight_decay = model, batches, weight_decay
        self.flat = Flat(model)
        self.buffers: dict[int, Buffers] = {}
        self._first = [buffer.clone() for buffer in model.buffers()]
        self._source = batches if batches.data.train.in_memory else Ahead(batches)
        self._watch, self._delays = watch or Stopwatch(), delays
        self._seen: dict[int, Tensor] = {}

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a batch where the model stands, without weight decay."""
        return cross_entropy(self.model(images), labels)

    def gradient(self, worker: int, clock: int, point: Tensor) -> Tensor:
        """The gradient of a worker's batch at its clock, at a point of shape (n,)."""
        with self._watch("data"):
            images, labels = self._source.train(worker, clock)
        if worker < len(self._delays):
            time.sleep(self._delays[worker])
        self.flat.load(point)
        self.flat.zero_gradient()
        if self._first:
            self.put(self.buffers_of(worker))
        with drawing(point.device, self.batches.seed, "dropout", worker, clock):
            answers = self.model(images)
        loss = cross_entropy(answers, labels)
        loss.backward()
        if self._first:
            self.buffers[worker] = [buffer.clone() for buffer in self.model.buffers()]
        wrong = (answers.argmax(1) != labels).double().mean()
        seen = torch.stack([loss.detach().double(), wrong, torch.ones_like(wrong)])
        self._seen[worker] = self._seen[worker] + seen if worker in self._seen else seen
        gradient = self.flat.gradient()
        return gradient.add_(point, alpha=self.weight_decay) if self.weight_decay else gradient

    def lately(self) -> dict[int, tuple[float, float]]:
        """By worker, the mean loss and the share of wrong answers of its batches since the last call."""
        seen, self._seen = self._seen, {}
        means: dict[int, tuple[float, float]] = {}
        for worker, sums in seen.items():
            loss, wrong, steps = sums.tolist()
            means[worker] = loss / steps, wrong / steps
        return means

    def buffers_of(self, worker: int) -> Buffers:
        """A worker's buffers: the model's first ones before its first step."""
        return self.buffers.get(worker, self._first)

    @torch.no_grad()
    def put(self, buffers: Buffers) -> None:
        """Give the model these buffers."""
        for buffer, values in zip(self.model.buffers(), buffers, strict=True):
            buffer.copy_(values)

    def shares(self, point: Tensor, part: int, parts: int) -> list[float]:
        """Of `parts` shares of the test and of the training set the given one: the `sums` over either."""
        test, train = (
            self.sums(point, some(_MEASURED, part, parts)) for some in (self.batches.test, self.batches.train_all)
        )
        return [*test, *train]

    def sums(self, point: Tensor, batches: Iterator[tuple[Tensor, Tensor]]) -> tuple[float, float, int]:
        """The losses of all images added up, how many were answered wrongly, and how many there were."""
        loss, wrong, count = 0.0, 0, 0
        with self._measuring(point):
            for images, labels in batches:
                answers = self.model(images)
                loss += float(cross_entropy(answers, labels, reduction="sum"))
                wrong += int((answers.argmax(1) != labels).sum())
                count += len(labels)
        return loss, wrong, count

    @contextmanager
    def _measuring(self, point: Tensor) -> Iterator[None]:
        training = self.model.training
        self.flat.load(point)
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.model.train(training)
