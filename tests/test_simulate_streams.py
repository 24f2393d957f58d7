"""The random numbers: known answers, distributions, independence, and that an address decides about everything."""

import numpy as np
import pytest
from scipy import stats

from easgd_theory import EASGD, Synchronous
from easgd_theory.schedules import RandomOrder, RoundRobin
from simulations import LinearRegression, Quadratic, Record, simulate, streams

U = np.uint64


@pytest.mark.parametrize(
    ("key", "counter", "words"),
    [  # those of Random123, the authors' own implementation, for 20 rounds
        ((0, 0), (0, 0), (0xC2B6E3A8C2C69865, 0x6F81ED42F350084D)),
        ((2**64 - 1,) * 2, (2**64 - 1,) * 2, (0xE02CB7C4D95D277A, 0xD06633D0893B8B68)),
        (
            (0xA4093822299F31D0, 0x082EFA98EC4E6C89),
            (0x243F6A8885A308D3, 0x13198A2E03707344),
            (0x263C7D30BB0F0AF1, 0x56BE8361D3311526),
        ),
    ],
)
def test_threefry_gives_the_known_answers(key, counter, words):
    assert tuple(map(int, streams.threefry(*map(U, key), *map(U, counter)))) == words


def draws(pairs, streams_, shape=0.0, seed=1):
    """Both words of blocks 0, ..., pairs - 1 of each stream, by evaluation; shape (2 pairs, streams)."""
    count = len(streams_)
    out = np.empty(2 * pairs * count)
    block, stream = np.zeros(count, dtype=U), np.array(streams_, dtype=U)
    shapes = np.full(count, shape) if shape else np.empty(0)
    streams.fill_in_pairs(out, block, stream, shapes, U(1), U(0), U(0), U(seed))
    return out.reshape(2, pairs, count).transpose(1, 0, 2).reshape(2 * pairs, count)


def test_normals_are_normal():
    z = draws(2**18, [3, 5, 2**40]).ravel()
    n = z.size
    assert stats.kstest(z, "norm").pvalue > 1e-3
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3), (6, 15)):
        spread = np.sqrt(stats.norm.moment(2 * power) - moment**2)
        assert abs((z**power).mean() - moment) < 4 * spread / np.sqrt(n)
    for edge in (3.0, 4.0388, 4.5):  # the ziggurat's tail begins at 4.04
        assert abs(np.count_nonzero(np.abs(z) > edge) - 2 * n * stats.norm.sf(edge)) < 4 * np.sqrt(
            n * stats.norm.sf(edge)
        )
    layers = np.histogram(np.abs(z), bins=stats.halfnorm.ppf(np.linspace(0, 1, 2001)))[0]
    assert stats.chisquare(layers).pvalue > 1e-3


@pytest.mark.parametrize("shape", [0.3, 0.5, 1.0, 2.5, 40.0])
def test_gammas_are_gammas(shape):
    x = draws(2**16, [7], shape).ravel()
    assert stats.kstest(x, stats.gamma(shape).cdf).pvalue > 1e-3
    assert x.mean() == pytest.approx(shape, abs=4 * np.sqrt(shape / x.size))


def test_neither_streams_nor_seeds_nor_times_are_correlated():
    workers = [int(streams.stream_of(r, i)) for r in range(8) for i in range(8)]
    z = np.concatenate([draws(2**13, workers, seed=s) for s in (0, 1)], axis=1)
    n = len(z)
    for a, b in ((z, z), (z[1:], z[:-1]), (z[2:], z[:-2]), (z**2, z**2), (z[1:] ** 2, z[:-1] ** 2)):
        correlation = np.corrcoef(a.T, b.T)[: z.shape[1], z.shape[1] :]
        if a is b or np.array_equal(a, b):
            np.fill_diagonal(correlation, 0.0)
        assert np.abs(correlation).max() < 5.5 / np.sqrt(n)  # of 16,384 entries
        assert (correlation**2).mean() == pytest.approx(1 / n, rel=0.05)


def test_addresses_differ_by_construction():
    replicas, workers = np.meshgrid([0, 1, 2, 2**39], [0, 1, 7, 2**24 - 1])
    addresses = [int(streams.stream_of(r, i)) for r, i in zip(replicas.flat, workers.flat, strict=True)]
    assert len(set(addresses)) == len(addresses)
    words = {
        tuple(map(int, streams.threefry(U(5), purpose, U(block), U(stream))))
        for purpose in (streams.NOISE, streams.ORDER)
        for block in range(20)
        for stream in range(20)
    }
    assert len(words) == 800


def test_workers_are_drawn_uniformly_and_independently():
    p, ticks, replicas = 5, 4000, 20
    order, evaluations = np.empty((ticks, replicas), dtype=np.int64), np.empty((ticks, replicas), dtype=np.int64)
    clocks = np.zeros((p, replicas), dtype=np.int64)
    streams.draw_order(order, clocks, evaluations, U(3), 0, 0, p, 2)
    assert stats.chisquare(np.bincount(order.ravel(), minlength=p)).pvalue > 1e-3
    pairs = np.bincount((order[1:] * p + order[:-1]).ravel(), minlength=p * p)
    assert stats.chisquare(pairs).pvalue > 1e-3
    assert clocks.sum() == 2 * ticks * replicas
    for worker in range(p):  # each visit finds the clock where the last one left it
        mine = evaluations[order[:, 0] == worker, 0]
        np.testing.assert_array_equal(mine, 2 * np.arange(mine.size))


@pytest.mark.parametrize("objective", [Quadratic(1.0, 0.5, 0.2), LinearRegression([1.0, 0.5], 0.3, shape=2.0)])
@pytest.mark.parametrize("tau", [1, 2, 3])
def test_a_worker_s_noise_depends_on_its_own_clock_alone(objective, tau):
    """One worker gets the same numbers whichever way its draws are laid out."""
    common = {"rounds": 7, "replicas": 3, "seed": 11}
    one = simulate(EASGD(0.1, 0.2), Synchronous(p=1, tau=tau), objective, **common)
    other = simulate(EASGD(0.1, 0.2), RandomOrder(p=1, tau=tau), objective, **common)
    np.testing.assert_array_equal(one.center, other.center)


@pytest.mark.parametrize("schedule", [Synchronous(p=3, tau=3), RoundRobin(p=3), RandomOrder(p=3, tau=2)])
def test_bits_depend_on_the_seed_and_the_replica_alone(schedule, monkeypatch):
    def run(replicas, **options):
        objective = Quadratic([1.0, 0.3], noise=1.0, deviation=0.1)
        return simulate(EASGD(0.1, 0.1), schedule, objective, rounds=23, replicas=replicas, **options)

    record = Record(worker_mean=True, spread=True, loss=True, workers=True)
    many = run(600, record=record, seed=2**63 - 1)
    few = run(5, record=record, seed=2**63 - 1)
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 1)
    monkeypatch.setattr("simulations.problem._DRAWS", 64)  # many small windows
    monkeypatch.setattr("simulations.engine._CHUNK", 1)
    alone = run(600, record=record, seed=2**63 - 1)
    assert alone.identical(many)
    for name in ("center", "worker_mean", "spread", "loss", "worker_x"):
        np.testing.assert_array_equal(many[name][:5], few[name])
    assert not np.array_equal(run(5, seed=0).center, few.center)
    assert len(np.unique(many.center[:, -1, 0])) == 600


def test_statistics_do_not_depend_on_the_threads(monkeypatch):
    def run():
        record = Record(spread=True, statistics=True)
        return simulate(EASGD(0.1, 0.1), Synchronous(p=3), Quadratic(1.0, 1.0), rounds=9, replicas=2000, record=record)

    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 1)
    one = run()
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 3)
    assert run().identical(one)
