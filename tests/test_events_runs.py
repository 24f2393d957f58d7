"""Asynchronous runs: pauses and deaths, the same bits whatever happens, what is recorded, and what is refused."""

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from test_events import ALL, INF, RULES, events_of
from test_house import ROOT

import easgd_theory
from easgd_theory import (
    ADMM,
    EASGD,
    SGD,
    Asynchronous,
    Deterministic,
    Exponential,
    Lognormal,
    Pareto,
    Pause,
    RoundRobin,
)
from simulations import Quadratic, Record, clocks, compilation, simulate, streams

# Pauses and deaths


def test_a_dead_worker_does_nothing_and_a_pausing_one_nothing_meanwhile():
    pauses = [Pause(0, 5.0), Pause(1, 3.0, 20.0)]
    schedule = Asynchronous(p=3, compute=Exponential(0.5), pauses=pauses)
    events = events_of(schedule, 300)
    assert events.times[events.order == 0].max() < 5.0
    paused = events.times[events.order == 1]
    assert not ((paused >= 3.0) & (paused < 20.0)).any()
    assert (paused < 3.0).any()
    assert (paused > 20.0).any()
    run = simulate(EASGD(0.1, 0.1), schedule, Quadratic(1.0, 1.0), rounds=100, record=Record(workers=True))
    assert len(np.unique(run.worker_x[0, run.time[0] > 5.0, 0])) <= 2  # the round of its death may be on both sides


@pytest.mark.parametrize("statistics", [False, True])
def test_a_run_ends_when_nobody_is_left(statistics):
    schedule = Asynchronous(p=3, compute=Deterministic(1.0), pauses=[Pause(i, 4.5 + i) for i in range(3)])
    visits = 5 + 6 + 7  # at the times 0, 1, ... before the death
    record = Record(worker_mean=True, statistics=statistics)
    run = simulate(EASGD(0.1, 0.1), schedule, Quadratic(1.0), rounds=50, replicas=2, record=record)
    np.testing.assert_array_equal(run.ended, visits // 3 + 1)
    for name in ("center", "time", "worker_mean"):
        values = run[name].values.reshape(2, 51, -1)
        assert np.isfinite(values[:, : visits // 3 + 1]).all()
        assert np.isnan(values[:, visits // 3 + 1 :]).all()
    assert run.time[0, visits // 3] == 6.0
    stillborn = Asynchronous(p=2, pauses=[Pause(0, 0.0), Pause(1, 0.0)])
    np.testing.assert_array_equal(simulate(EASGD(0.1, 0.1), stillborn, Quadratic(), rounds=3).ended, 1)


def test_divergence_and_the_end_of_a_run_go_together():
    schedule = Asynchronous(p=2, pauses=[Pause(0, 30.0), Pause(1, 30.0)])
    start = np.array([[1e149, 1.0, 1.0], [0.0, 0.0, 0.0]])[:, :, None]
    run = simulate(EASGD(1.9, 1.3), schedule, Quadratic(1.2), rounds=90, replicas=2, start=start)
    assert run.diverged[0] < run.ended[0]
    assert np.isnan(run.diverged[1])
    assert np.isnan(run.center[0, int(run.diverged[0]) :]).all()
    assert np.isfinite(run.center[1, : int(run.ended[1])]).all()


# The same bits


MANY = [
    Asynchronous(p=3, tau=2, compute=Lognormal(1.0, 3.0), communication=Exponential(0.5), speeds=[1.0, 3.0, 0.1]),
    Asynchronous(p=3, tau=2, compute=Pareto(1.0, 1.2), communication=Exponential(0.5), split=True),
    Asynchronous(p=3, compute=Deterministic(1.0), pauses=[Pause(i, 20.0 + i) for i in range(3)], split=True),
    Asynchronous(p=3, order=np.random.default_rng(0).integers(3, size=300)),
    Asynchronous(p=3, order=np.random.default_rng(0).integers(3, size=300), split=True),
]
EVERY_SCHEDULE = pytest.mark.parametrize("schedule", MANY, ids=["times", "split", "dying", "order", "split order"])


@EVERY_SCHEDULE
def test_bits_depend_on_the_seed_and_the_replica_alone(schedule, monkeypatch):
    def run(replicas, **options):
        return simulate(
            EASGD(0.1, 0.1), schedule, Quadratic([1.0, 0.3], 1.0, 0.1), rounds=40, replicas=replicas, **options
        )

    many, few = run(9, record=ALL, seed=2**63 - 1), run(2, record=ALL, seed=2**63 - 1)
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 1)
    monkeypatch.setattr("simulations.problem._DRAWS", 64)  # many small windows
    monkeypatch.setattr("simulations.arrivals._SLAB", 1)  # and slabs,
    monkeypatch.setattr("simulations.arrivals._ROOM", 2)  # some of which are too small
    monkeypatch.setattr("simulations.engine._CHUNK", 1)
    assert run(9, record=ALL, seed=2**63 - 1).identical(many)
    for name in set(few) - {"ended", "diverged"}:
        np.testing.assert_array_equal(many[name][:2], few[name])
    assert not np.array_equal(run(2, seed=0).center[:, :10], few.center[:, :10])


@EVERY_SCHEDULE
@pytest.mark.parametrize("statistics", [False, True])
def test_an_interrupted_run_goes_on_to_the_same_bits(schedule, statistics, tmp_path, monkeypatch):
    monkeypatch.setattr("simulations.engine._CHUNK", 1)
    monkeypatch.setattr("simulations.engine._WINDOWS", 1)
    monkeypatch.setattr("simulations.problem._DRAWS", 1)  # two rounds at a time
    path = tmp_path / "state.npz"
    record = Record(spread=True, workers=True, staleness=True, statistics=statistics)

    def run(rounds=40, rule=RULES[0], **options):
        return simulate(
            rule, schedule, Quadratic(1.0, 1.0), rounds=rounds, replicas=3, seed=4, record=record, **options
        )

    def stop(done, rounds):
        if done >= 9:
            raise KeyboardInterrupt

    for rule in RULES[:2] if schedule.tau == 1 else RULES[:1]:
        with pytest.raises(KeyboardInterrupt):
            run(rule=rule, progress=stop, checkpoint=path)
        left = []
        resumed = run(rule=rule, checkpoint=path, progress=lambda done, _, left=left: left.append(done))
        assert 9 < left[0] < 14
        assert resumed.identical(run(rule=rule))
        assert run(rule=rule, checkpoint=path, rounds=50).identical(run(rule=rule, rounds=50))
        path.unlink()


def test_plain_python_gives_the_same_numbers(tmp_path):
    """NUMBA_DISABLE_JIT: the same text without the compiler."""
    code = """
import sys
import numpy as np
from easgd_theory import *
from simulations import Quadratic, Record, simulate
found = []
for rule in (EASGD(0.3, 0.2), ADMM(0.1, 1.0)):
    for split in (False, True):
        for compute in (Lognormal(1.0, 0.5), Pareto(1.0, 2.0), Exponential(1.0)):
            schedule = Asynchronous(p=3, compute=compute, communication=Exponential(0.1), pauses=[Pause(1, 2.0, 3.0)],
                                    split=split)
            record = Record(spread=True, staleness=True, workers=True)
            run = simulate(rule, schedule, Quadratic([1.0, 0.5], 0.5), rounds=5, replicas=2, record=record)
            found += [run[name].values.ravel() for name in run]
np.save(sys.argv[1], np.concatenate(found))
"""
    results = []
    for disabled in "01":
        environment = {**os.environ, "NUMBA_DISABLE_JIT": disabled, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-W", "error", "-c", code, tmp_path / f"{disabled}.npy"]
        subprocess.run(command, check=True, env=environment)
        results.append(np.load(tmp_path / f"{disabled}.npy"))
    np.testing.assert_allclose(*results, rtol=1e-13, atol=1e-15)


def test_an_edit_of_what_a_kept_loop_calls_gives_another_one(monkeypatch):
    """Numba itself looks at the file of the caller only."""

    def name():
        return compilation.kept.__wrapped__(clocks.draw_events).__qualname__

    before = name()
    assert name() == before
    words = compilation._plain(streams.words_at)
    monkeypatch.setitem(words.__globals__, "_1", np.uint64(3))
    assert name() != before


# What is recorded, and what is refused


def test_the_settings_stand_in_the_dataset(tmp_path):
    schedule = Asynchronous(p=2, compute=Lognormal(1.0, 0.5), speeds=[1.0, 2.0], pauses=[Pause(1, 2.0, 3.0)])
    run = simulate(EASGD(0.1, 0.1), schedule, Quadratic(), rounds=3)
    assert run.time.dims == ("replica", "round")
    assert run.attrs["compute"] == "Lognormal(mean=1.0, shape=0.5)"
    assert run.attrs["speeds"] == "[1.0, 2.0]"
    assert run.attrs["pauses"] == "(Pause(worker=1, start=2.0, end=3.0),)"
    assert run.attrs["split"] == 0
    run.to_netcdf(tmp_path / "run.nc", engine="h5netcdf")
    both = simulate(EASGD(0.1, 0.1), schedule, Quadratic(), rounds=3, replicas=400, record=Record(statistics=True))
    each = simulate(EASGD(0.1, 0.1), schedule, Quadratic(), rounds=3, replicas=400)
    np.testing.assert_allclose(both.time.sel(statistic="mean"), each.time.mean("replica"), rtol=1e-12)
    np.testing.assert_allclose(both.time.sel(statistic="variance"), each.time.var("replica", ddof=1), rtol=1e-10)


def test_what_is_refused(refused):
    refused(lambda: Asynchronous(p=2, compute=1.0), "compute", "1.0", "Exponential")
    refused(lambda: Asynchronous(p=2, communication="slow"), "communication", "slow")
    refused(lambda: Asynchronous(p=2, compute=Deterministic(0.0)), "compute", "positive")
    refused(lambda: Asynchronous(p=2, speeds=[1.0]), "speeds", "(1,)", "p=2")
    refused(lambda: Asynchronous(p=2, speeds=-1.0), "speeds", "-1.0")
    refused(lambda: Asynchronous(p=2, speeds="fast"), "speeds")
    refused(lambda: Asynchronous(p=2, pauses=Pause(0, 1.0)), "pauses", "Pause")
    refused(lambda: Asynchronous(p=2, pauses=[Pause(2, 1.0)]), "pauses", "p=2")
    refused(lambda: Asynchronous(p=2, pauses=[Pause(0, 1.0), Pause(0, 3.0, 4.0)]), "pauses", "overlap")
    refused(lambda: Asynchronous(p=2, split=1), "split", "1")
    refused(lambda: Asynchronous(p=2, order=[0, 2]), "order", "p=2")
    refused(lambda: Asynchronous(p=2, order=[0.0, 1.0]), "order", "float64")
    refused(lambda: Asynchronous(p=2, order=[0, 1], speeds=2.0), "order", "speeds=2.0")
    refused(lambda: Asynchronous(p=INF), "p", "finite")
    refused(lambda: Asynchronous(p=2).ticks(), "Asynchronous")
    refused(lambda: Pause(0, 2.0, 1.0), "start", "2.0")
    refused(lambda: Pause(-1, 2.0), "worker", "-1")
    refused(lambda: Pause(0.5, 2.0), "worker", "0.5")
    refused(lambda: Pause(0, float("nan")), "start", "finite")
    for times in (Deterministic, Exponential, partial(Lognormal, shape=1.0), partial(Pareto, shape=2.0)):
        refused(lambda times=times: times(-1.0), "mean", "-1.0")
        refused(lambda times=times: times([1.0, 2.0]), "mean", "(2,)")
        refused(lambda times=times: times(None), "mean", "None")
    refused(lambda: Lognormal(1.0, 0.0), "shape", "0")
    refused(lambda: Pareto(1.0, 1.0), "shape", "above 1")

    def call(rule, schedule, **options):
        return lambda: simulate(rule, schedule, Quadratic(), **{"rounds": 3} | options)

    refused(call(EASGD(0.1, 0.1), Asynchronous()), "p")
    refused(call(SGD(0.1), Asynchronous(p=2)), "p")
    refused(call(SGD(0.1), Asynchronous(p=1, split=True)), "split", "SGD")
    refused(call(ADMM(0.1, 0.1), Asynchronous(p=2, tau=2)), "tau")
    refused(call(EASGD(0.1, 0.1), Asynchronous(p=2, order=[0, 1])), "order", "6", "2")
    refused(call(EASGD(0.1, 0.1), RoundRobin(p=2), record=Record(staleness=True)), "staleness", "RoundRobin")
    endless = Asynchronous(p=2, pauses=[Pause(0, 1.0, 1e300), Pause(1, 1.0, 1e300)])
    refused(call(EASGD(0.1, 0.1), endless, rounds=50), "compute", "1e+300")


def test_a_schedule_equals_itself_alone():
    one, other = (Asynchronous(p=2, speeds=[1.0, 2.0]) for _ in range(2))
    assert one != other
    assert {one, other} == {other, one}
    with pytest.raises(ValueError, match="read-only"):
        one.speeds[0] = 3.0


@pytest.mark.parametrize(
    "ask",
    [
        lambda schedule: easgd_theory.spectral_radius(RULES[0], schedule),
        lambda schedule: easgd_theory.is_stable(RULES[0], schedule),
        lambda schedule: easgd_theory.iteration_map(EASGD, schedule),
        lambda schedule: easgd_theory.stability_condition(EASGD, schedule),
        lambda schedule: easgd_theory.stable_intervals("eta", EASGD(alpha=0.1), schedule),
        lambda schedule: easgd_theory.critical_value("eta", EASGD(alpha=0.1), schedule),
        lambda schedule: easgd_theory.stability_map(EASGD([0.1, 0.2], 0.1), schedule),
        lambda schedule: easgd_theory.stability_boundary(EASGD([0.1, 0.2], [0.1, 0.2]), schedule),
        lambda schedule: easgd_theory.stationary_covariance(RULES[0], schedule),
        lambda schedule: easgd_theory.moments(RULES[0], schedule, rounds=3),
    ],
)
def test_theory_refuses_what_has_no_round(ask, refused):
    schedule = Asynchronous(p=200, speeds=np.linspace(1.0, 2.0, 200))
    refused(lambda: ask(schedule), "schedule must be", "Asynchronous(p=200", "(200,)")
