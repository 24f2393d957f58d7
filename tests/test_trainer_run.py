"""Runs that are kept: checkpoints, averages, buffers, records."""

import json
import math
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from easgd_theory import ADMM, DOWNPOUR, EAMSGD, EASGD, SGD, RoundRobin, Synchronous
from gpu_trainer import Averaging, Crew, Decayed, Failure, Job, Keep, train
from gpu_trainer.averaging import Average
from gpu_trainer.run import Run

NORMALISED = "train_models:normalised"
JOBS = {
    "momentum": Job(
        algorithm=EAMSGD(eta=Decayed(0.05, 0.01), alpha=0.1, delta=0.9),
        schedule=Synchronous(p=3, tau=2),
        steps=20,
        model=NORMALISED,
        average_buffers=True,
        weight_decay=1e-4,
        shard=True,
    ),
    "average": Job(
        algorithm=DOWNPOUR(eta=0.02), schedule=RoundRobin(p=2, tau=3), steps=20, averaging=Averaging(), model="tiny"
    ),
    "sequential": Job(
        algorithm=SGD(eta=0.05), schedule=Synchronous(p=1), steps=20, averaging=Averaging(0.1), model="tiny"
    ),
    "admm": Job(algorithm=ADMM(eta=0.05, rho=0.5), schedule=RoundRobin(p=2), steps=20, model="tiny"),
}


def kept(job, directory, **settings):
    """The center of a run that is kept, and its result."""
    directory.mkdir(exist_ok=True)
    result, center = train(job, predict=False, keep=Keep(directory=directory, checkpoint_every=4, **settings))
    assert all(
        torch.equal(values, center[name]) for name, values in load_file(directory / "center.safetensors").items()
    )
    return result, center


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", JOBS)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(name, tmp_path):
    job = JOBS[name]
    whole, center = kept(job, tmp_path / "whole")
    _, half = kept(replace(job, steps=10), tmp_path / "parts")
    result, resumed = kept(job, tmp_path / "parts", resume=True)
    assert not same(half, center)
    assert same(resumed, center)
    assert (result.steps, result.test_loss, result.verdict) == (whole.steps, whole.test_loss, whole.verdict)
    started = [event for event in events(tmp_path / "parts") if event["event"] == "started"]
    assert [event["step"] for event in started] == [0, 9 if name == "average" else 8]


def events(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_measuring_and_keeping_do_not_disturb_a_run(tmp_path):
    job = JOBS["momentum"]
    _, center = train(job, predict=False)
    _, measured = kept(job, tmp_path, evaluate_every=1)
    assert same(center, measured)


def test_a_prediction_says_that_batch_normalisation_is_not_that_of_training():
    job = Job(algorithm=SGD(eta=0.01), schedule=Synchronous(p=1), steps=1, model=NORMALISED, average_buffers=True)
    result, _ = train(job)
    assert result.predicted.note == "batch normalisation with its first statistics, not those of each batch"
    result, _ = train(replace(job, model="tiny", average_buffers=None))
    assert result.predicted.note == ""


def test_what_is_recorded(tmp_path):
    job = replace(JOBS["average"], steps=30)
    result, _ = kept(job, tmp_path, evaluate_every=6)
    seen = events(tmp_path)
    assert [event["event"] for event in seen[:1]] == ["started"]
    assert seen[0]["role"] == "worker"
    assert seen[-1] == {"event": "ended", "rank": 0, "step": 30, "verdict": result.verdict}
    workers = [event for event in seen if event["event"] == "worker"]
    assert {event["worker"] for event in workers} == {0, 1}
    assert [event["step"] for event in workers if event["worker"] == 1] == [6, 9, 12, 18, 21, 24, 30]
    assert all(event["loss"] > 0 and 0 <= event["error"] <= 1 and event["distance"] > 0 for event in workers)
    centers = [event for event in seen if event["event"] == "center"]
    assert [event["step"] for event in centers] == [6, 12, 18, 24, 30]
    assert all(now["seconds"] > before["seconds"] for before, now in pairwise(centers))
    record = json.loads((tmp_path / "result.json").read_text())
    assert record == json.loads(json.dumps(result.record()))
    assert set(record["time"]) == {"compute", "data", "wait", "communicate"}
    assert record["seconds"] == pytest.approx(sum(record["time"].values()))
    assert record["config"]["algorithm"] == "ADOWNPOUR"
    assert record["lost_workers"] == []
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_a_run_that_is_not_finite_has_null_in_its_record(tmp_path):
    job = Job(algorithm=EASGD(eta=0.1, alpha=5.0), schedule=Synchronous(p=4), steps=400)
    result, _ = kept(job, tmp_path)
    assert (result.verdict, result.diverged_at) == ("diverged", result.steps)
    assert result.steps < 400
    json.loads((tmp_path / "result.json").read_text(), parse_constant=lambda name: pytest.fail(name))


@pytest.mark.parametrize("averaging", [Averaging(), Averaging(0.25)])
def test_an_average_is_that_of_the_centers_on_the_masters_clock(averaging):
    """z_0 is the start; then one center a visit, from the first one on, as the center was before it absorbed."""
    crew = Crew(DOWNPOUR(0.1), RoundRobin(p=3, tau=2), torch.ones(1, dtype=torch.float64), averaging)
    plain = Crew(DOWNPOUR(0.1), RoundRobin(p=3, tau=2), torch.ones(1, dtype=torch.float64))
    centers = []
    for _ in range(4):
        crew.round(lambda worker, clock, point: point)
        for active in plain.schedule.ticks():
            centers.append(plain.center.x.item())
            plain.tick(active, lambda worker, clock, point: point)
    assert crew.latest.item() == plain.iterate.item()
    z = 1.0
    for t, center in enumerate(centers):
        a = averaging.weight or 1 / (t + 1)
        z = (1 - a) * z + a * center
    assert crew.iterate.item() == pytest.approx(z, rel=1e-14)
    if averaging.weight is None:
        assert crew.iterate.item() == pytest.approx(np.mean(centers), rel=1e-14)


def test_polyak_averaging_of_sgd_reaches_the_optimal_variance():
    """(Polyak, Juditsky 1992) t Var(z_t) -> sigma^2 / h^2, four times smaller than without, here with eta h = 0.8."""
    noise = torch.Generator().manual_seed(1)
    crew = Crew(SGD(0.4), Synchronous(p=1), torch.zeros(4000, dtype=torch.float64), Averaging())
    for _ in range(400):
        crew.round(lambda worker, clock, x: 2.0 * x + torch.randn(x.shape, generator=noise, dtype=x.dtype))
    assert 400 * crew.iterate.var().item() == pytest.approx(1 / 4, rel=0.1)
    assert crew.latest.var().item() == pytest.approx(0.4 / (2 * (2 - 0.8)), rel=0.1)


@pytest.mark.parametrize("average", [True, False])
def test_the_centers_buffers_are_what_was_asked_for(average):
    job = replace(JOBS["momentum"], steps=6, average_buffers=average)
    run = Run(job, Keep(), False, "cpu", None)
    _, center = run.run()
    means = [run.learner.buffers_of(worker)[0] for worker in range(3)]
    assert not torch.equal(means[0], means[1])
    torch.testing.assert_close(center["2.running_mean"], torch.stack(means).mean(0) if average else means[0])
    assert center["2.num_batches_tracked"] == 6


def damage(path, change):
    file = path / "worker_1.safetensors"
    content = bytearray(file.read_bytes())
    if change == "bit":
        content[-3] ^= 1
    file.write_bytes(content[: len(content) // 2] if change == "half" else content)
    if change == "gone":
        file.unlink()


@pytest.mark.parametrize("change", ["bit", "half", "gone"])
def test_a_damaged_checkpoint_is_refused_and_nothing_is_lost(change, tmp_path):
    job = JOBS["admm"]
    _, center = kept(job, tmp_path)
    newest = tmp_path / "checkpoints" / "step_16"
    damage(newest, change)
    before = (tmp_path / "center.safetensors").read_bytes()
    with pytest.raises(Failure, match=r"step_16 is damaged: worker_1.safetensors .* the one before"):
        kept(job, tmp_path, resume=True)
    assert (tmp_path / "center.safetensors").read_bytes() == before
    shutil.rmtree(newest)
    assert same(kept(job, tmp_path, resume=True)[1], center)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    job = JOBS["admm"]
    kept(job, tmp_path)
    with pytest.raises(Failure, match="another run: batch_size was 128 there and is 64 here"):
        kept(replace(job, batch_size=64), tmp_path, resume=True)
    (tmp_path / "checkpoints" / "step_16" / "state.json").write_text("[1]")
    with pytest.raises(Failure, match="not a checkpoint of this program"):
        kept(job, tmp_path, resume=True)


def test_an_unfinished_checkpoint_is_none(tmp_path):
    job = JOBS["admm"]
    _, center = kept(job, tmp_path)
    (tmp_path / "checkpoints" / "step_16").rename(tmp_path / "checkpoints" / ".step_20")
    assert same(kept(job, tmp_path, resume=True)[1], center)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Averaging(0), r"the weight of an average must be a number in \(0, 1\]"),
        (lambda: Averaging(1.5), "the weight of an average"),
        (lambda: Averaging(math.nan), "the weight of an average"),
        (lambda: Decayed(0.1, -1), "gamma must be a number of at least 0"),
        (lambda: Keep(checkpoint_every=0), "checkpoint_every must be a whole number"),
        (lambda: replace(JOBS["sequential"], schedule=Synchronous(p=1, tau=2)), "needs tau = 1"),
        (lambda: train(replace(JOBS["momentum"], average_buffers=None)), "average_buffers must be True"),
        (lambda: train(JOBS["admm"], device="tpu"), "device must be auto, cpu or cuda"),
    ],
)
def test_bad_values_are_refused(make, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        make()


def test_an_average_takes_in_the_first_center_whole():
    average = Average(Averaging(), torch.ones(2), 0)
    average.see(torch.full((2,), 3.0))
    assert average.z.tolist() == [3.0, 3.0]


def test_a_checkpoint_between_two_looks_changes_no_record(tmp_path):
    """What is said of a worker since the last look does not begin anew in the middle."""
    job = JOBS["admm"]
    for place, parts in (("whole", [20]), ("parts", [10, 20])):
        (tmp_path / place).mkdir()
        for steps in parts:
            keep = Keep(directory=tmp_path / place, checkpoint_every=3, resume=True)
            train(replace(job, steps=steps), predict=False, keep=keep)
    last = [
        {event["worker"]: event["loss"] for event in events(tmp_path / place) if event["event"] == "worker"}
        for place in ("whole", "parts")
    ]
    assert last[0] == last[1]


@pytest.mark.parametrize("name", ["step", "verdict", "averaged", "digest"])
def test_a_state_with_something_missing_is_refused(name, tmp_path):
    kept(JOBS["admm"], tmp_path)
    path = tmp_path / "checkpoints" / "step_16" / "state.json"
    record = json.loads(path.read_text())
    (record if name == "digest" else record["state"]).pop(name)
    path.write_text(json.dumps(record))
    with pytest.raises(Failure, match="not a checkpoint of this program"):
        kept(JOBS["admm"], tmp_path, resume=True)
