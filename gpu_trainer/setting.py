"""What every process of a run sets up: the model with its data, and what the theory says of it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from gpu_trainer.batches import Batches
from gpu_trainer.data import load
from gpu_trainer.group import Group
from gpu_trainer.job import Job
from gpu_trainer.learner import Learner
from gpu_trainer.models import build
from gpu_trainer.preflight import EXAMPLES, Prediction, measure, preflight
from gpu_trainer.result import Measured
from gpu_trainer.stopwatch import Stopwatch


def set_up(job: Job, device: torch.device, watch: Stopwatch) -> Learner:
    """The model at its start, and its data.

    Raises
    ------
    ValueError
        Also if the model has buffers of which the job does not say what becomes of them.
    """
    data = load(job.data, job.data_dir)
    batches = Batches(data, job.batch_size, job.seed, job.shard, job.workers, device=device)
    model = build(job.model, data, job.seed, torch.float32).to(device)
    if any(buffer.is_floating_point() for buffer in model.buffers()):
        if job.is_asynchronous:
            raise ValueError(
                f"model must have no buffers in an asynchronous run, such as batch normalisation's: {job.model} has"
            )
        if job.average_buffers is None:
            raise ValueError(
                "average_buffers must be True (the center has the mean of the workers' buffers) or False (it has the "
                f"first worker's), for the model {job.model} has buffers that are not parameters"
            )
    return Learner(model, batches, job.weight_decay, watch, job.delays)


def prediction(job: Job, learner: Learner) -> Prediction:
    """What the theory says of the loss where the model stands, its curvature measured on some of the training set."""
    batches = learner.batches
    sample = Batches(batches.data, min(EXAMPLES, len(batches.data.train)), job.seed, device=batches.device)
    training = learner.model.training
    learner.model.eval()
    h_max = measure(learner.model, lambda: [learner.loss(*sample.train(0, 0))], seed=job.seed)
    learner.model.train(training)
    found = preflight(job.algorithm, job.schedule, h_max + job.weight_decay)
    if any(isinstance(module, _BatchNorm) for module in learner.model.modules()):
        note = "batch normalisation with its first statistics, not those of each batch"
        found = replace(found, note="; ".join(filter(None, (found.note, note))))
    return found


def measured(learner: Learner, point: Tensor, group: Group) -> Measured:
    """How good a point is, with the buffers that the model has; every process of the group does its share."""
    rows = group.table(learner.shares(point, group.rank, group.size))
    loss, wrong, count, train_loss, _, trained = rows.sum(0).tolist()
    return Measured(train_loss / trained, loss / count, wrong / count)


def model_at(learner: Learner, point: Tensor) -> dict[str, Tensor]:
    """The model's parameters at a point and its buffers, by name, on the CPU; the model is left there."""
    learner.flat.load(point)
    state = learner.model.state_dict()  # of any memory format; a file takes one
    return {name: values.detach().cpu().clone(memory_format=torch.contiguous_format) for name, values in state.items()}
