"""What a worker learns from: the gradient of its batch at its clock, and how good a point is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gpu_trainer.batches import Batches
from gpu_trainer.flat import Flat
from gpu_trainer.streams import drawing

_MEASURED = 512  # images of a batch while a point is measured


class Learner:
    """A classifier and its data; cross-entropy is the loss.

    Parameters
    ----------
    model : torch.nn.Module
        Without buffers such as batch normalisation's: workers that share a model would share them too.
    batches : Batches
    weight_decay : float, default 0
        The loss has half of it times the squared length of the parameters added.

    Attributes
    ----------
    losses : dict of int to float
        By worker, the loss of its last batch.
    """

    def __init__(self, model: nn.Module, batches: Batches, weight_decay: float = 0.0) -> None:
        if any(buffer.is_floating_point() for buffer in model.buffers()):
            raise ValueError("model must have no buffers that change in training, such as batch normalisation's")
        self.model, self.batches, self.weight_decay = model, batches, weight_decay
        self.flat = Flat(model)
        self.losses: dict[int, float] = {}

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a batch where the model stands, without weight decay."""
        return cross_entropy(self.model(images), labels)

    def gradient(self, worker: int, clock: int, point: Tensor) -> Tensor:
        """The gradient of a worker's batch at its clock, at a point of shape (n,)."""
        images, labels = self.batches.train(worker, clock)
        self.flat.load(point)
        self.flat.zero_gradient()
        with drawing(point.device, self.batches.seed, "dropout", worker, clock):
            loss = self.loss(images, labels)
        loss.backward()
        self.losses[worker] = float(loss.detach())
        gradient = self.flat.gradient()
        return gradient.add_(point, alpha=self.weight_decay) if self.weight_decay else gradient

    def train_loss(self, point: Tensor) -> float:
        """Mean loss over the training set, without weight decay."""
        with self._measuring(point):
            return self._means(self.batches.train_all(_MEASURED))[0]

    def test(self, point: Tensor) -> tuple[float, float]:
        """Mean loss and share of wrong answers on the test set."""
        with self._measuring(point):
            return self._means(self.batches.test(_MEASURED))

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

    def _means(self, batches: Iterator[tuple[Tensor, Tensor]]) -> tuple[float, float]:
        loss, wrong, count = 0.0, 0, 0
        for images, labels in batches:
            answers = self.model(images)
            loss += float(cross_entropy(answers, labels, reduction="sum"))
            wrong += int((answers.argmax(1) != labels).sum())
            count += len(labels)
        return loss / count, wrong / count
