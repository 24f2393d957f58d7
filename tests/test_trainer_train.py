"""A run from its start to its verdict."""

import json
import math

import pytest
import torch

from easgd_theory import EASGD, LocalSGD, RoundRobin, Synchronous
from gpu_trainer.batches import Batches
from gpu_trainer.data import load
from gpu_trainer.flat import Flat
from gpu_trainer.group import Group
from gpu_trainer.job import Job
from gpu_trainer.learner import Learner
from gpu_trainer.models import build
from gpu_trainer.run import train
from gpu_trainer.setting import measured
from gpu_trainer.verdict import Watch


def test_four_workers_learn_the_digits():
    seen = []
    job = Job(algorithm=EASGD(eta=0.3, alpha=0.225), schedule=Synchronous(p=4, tau=10), steps=995, batch_size=32)
    result, center = train(job, tell=seen.append)
    assert result.verdict == "stable"
    assert result.diverged_at is None
    assert result.test_error < 0.03
    assert result.steps == 1000
    assert [(event["worker"], event["step"]) for event in seen if event["event"] == "worker"] == [
        (worker, 10 * i) for i in range(1, 101) for worker in range(4)
    ]
    centers = [event for event in seen if event["event"] == "center"]
    assert [event["step"] for event in centers] == list(range(100, 1001, 100))
    assert centers[-1]["test_error"] == result.test_error
    assert all(0 < event["distance"] < 10 for event in centers)
    assert result.samples_per_second == pytest.approx(1000 * 4 * 32 / result.seconds)
    model = build("cnn", load("digits"), 0, torch.float32)
    model.load_state_dict(center)
    learner = Learner(model, Batches(load("digits"), 32))
    found = measured(learner, learner.flat.point(), Group())
    assert found == (result.train_loss, result.test_loss, result.test_error)
    record = json.loads(json.dumps(result.record()))
    assert record["predicted"]["h_max"] == result.predicted.h_max > 0


def test_what_is_called_unstable_diverges():
    """The paper's condition at p = 4: alpha < 2 (2 - eta h) / (2 + 4 (2 - eta h)), at most 0.4."""
    job = Job(algorithm=EASGD(eta=0.05, alpha=0.55), schedule=Synchronous(p=4), steps=200)
    result, _ = train(job)
    assert result.predicted.stable is False
    assert result.predicted.changes["alpha"] < 0.4
    assert result.verdict == "diverged"
    assert result.diverged_at == result.steps < 200


def test_one_worker_that_is_averaged_with_itself_is_sgd():
    """Local SGD with p = 1 moves its center to its worker: plain SGD, here in a loop of torch."""
    data = load("digits")
    rule, schedule = LocalSGD(eta=0.1), Synchronous(p=1, tau=5)
    _, center = train(Job(algorithm=rule, schedule=schedule, steps=20, batch_size=64, weight_decay=0.01), predict=False)
    model, batches = build("cnn", data, 0, torch.float32), Batches(data, 64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.01)
    for clock in range(15):  # the center has absorbed what was pushed on arrival: all visits but the last
        images, labels = batches.train(0, clock)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    for name, values in model.named_parameters():
        torch.testing.assert_close(center[name], values.detach(), rtol=1e-5, atol=1e-6)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    def center(seed):
        job = Job(algorithm=EASGD(0.1, 0.1), schedule=RoundRobin(p=2, tau=2), steps=4, seed=seed)
        return torch.cat([values.reshape(-1) for values in train(job, predict=False)[1].values()])

    assert torch.equal(center(1), center(1))
    assert not torch.equal(center(1), center(2))


def test_a_divergence_is_not_a_catapult():
    watch = Watch(norm=1.0, loss=2.0)
    assert not watch.look(1, 2.0, 150.0)  # beyond 10 times, below 100
    assert not watch.look(2, 2.0, 150.0)
    assert watch.look(3, 2.0, 250.0)
    assert watch.diverged_at == 3
    assert watch.look(4, 2.0, 1.0)
    assert watch.verdict(1.0) == "diverged"
    falling = Watch(norm=1.0, loss=1e-3)
    assert falling.look(1, 101.0, 1e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_has_diverged(value):
    for norm, loss in ((value, 1.0), (1.0, value)):
        watch = Watch(norm=1.0, loss=1.0)
        assert watch.look(7, norm, loss)
        assert watch.diverged_at == 7


def test_a_run_that_ends_above_its_start_is_undecided():
    watch = Watch(norm=1.0, loss=2.0)
    watch.look(1, 1.0, 3.0)
    assert (watch.verdict(2.5), watch.verdict(1.5), watch.verdict(math.nan)) == ("undecided", "stable", "diverged")


def test_a_learner_leaves_the_random_numbers_and_the_mode_as_they_were():
    data = load("digits")
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.Dropout(0.5), torch.nn.Linear(32, 10)
    )
    learner, point = Learner(model, Batches(data, 32)), Flat(model).point()
    state = torch.get_rng_state()
    first = learner.gradient(0, 3, point)
    assert torch.equal(learner.gradient(0, 3, point), first)  # the mask is that of the worker's clock
    assert not torch.equal(learner.gradient(1, 3, point), first)
    measured(learner, point, Group())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"steps": 1.5}, "steps must be"),
        ({"weight_decay": -1}, "weight_decay must be a number of at least 0"),
        ({"batch_size": 5000}, "batch size must be from 1 to 1437"),
        ({"data": "mnits"}, "mnits"),
        ({"model": "resnet"}, "resnet"),
        ({"schedule": Synchronous()}, "needs a value for p"),
        ({"algorithm": EASGD(0.1)}, "needs a value for alpha"),
    ],
)
def test_a_bad_job_is_refused_with_a_sentence(change, sentence):
    good = {"algorithm": EASGD(0.1, 0.1), "schedule": Synchronous(p=2), "steps": 2}
    with pytest.raises((TypeError, ValueError), match=sentence):
        train(Job(**good | change), predict=False)
