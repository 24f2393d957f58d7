"""Asynchronous runs: events against a plain queue, split exchanges, recorded orders, durations."""

import heapq
from dataclasses import dataclass

import naive
import numpy as np
import pytest
from scipy import stats

from easgd_theory import (
    ADMM,
    ALGORITHMS,
    DOWNPOUR,
    EASGD,
    SGD,
    Asynchronous,
    Deterministic,
    Exponential,
    Lognormal,
    Pareto,
    Pause,
    RandomOrder,
    RoundRobin,
)
from easgd_theory.algorithm import Algorithm, Parameter
from simulations import Quadratic, Record, clocks, simulate, streams
from simulations.arrivals import Arrivals, law_of
from simulations.engine import Run
from simulations.run import _problem

ALL = Record(worker_mean=True, spread=True, loss=True, staleness=True, workers=True)
RULES = [EASGD(0.3, 0.2), ADMM(0.1, 1.0), DOWNPOUR(0.05)]
EVERY_RULE = pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
H, INF = 1.5, float("inf")


def drawn(times, purpose, worker, count, seed=0, replica=0):
    """The first durations of a worker, as the simulator draws them."""
    number, stream = np.arange(count, dtype=np.uint64), np.full(count, streams.stream_of(replica, worker), np.uint64)
    bits, out = np.empty(count, np.uint64), np.empty(count)
    clocks.durations(law_of(times), purpose, np.uint64(seed), number, stream, bits, out)
    return out


def events_of(schedule, count, seed=0, rule=RULES[0]):
    """The first events of a schedule: whose they are, their numbers and their times."""
    problem, start = _problem(rule, schedule, Quadratic(), 1 + count // schedule.p, 1, seed, 1.0, Record())
    return Arrivals(problem, schedule, Run(problem, start, True).blocks[0]).take(count)


# The naive twin: a queue, and the paper's rules in loops


def naive_finish(start, duration, pauses):
    """When work of this duration is done: piece by piece between the pauses."""
    for pause in sorted(pauses, key=lambda pause: pause.start):
        if start <= pause.start <= start + duration:
            duration -= pause.start - start
            start = pause.end
    return start + duration


def naive_queue(schedule, count, steps=None, seed=0):
    """Times, workers and numbers of events in order; `steps[k]` gradient steps follow event k of a visit."""
    steps = steps or [schedule.tau]
    most = count + schedule.tau + 2
    compute = [drawn(schedule.compute, streams.COMPUTE, i, most * schedule.tau, seed) for i in range(schedule.p)]
    trips = [drawn(schedule.communication, streams.COMMUNICATION, i, most, seed) for i in range(schedule.p)]
    pauses = [[pause for pause in schedule.pauses if pause.worker == i] for i in range(schedule.p)]
    speeds, used = np.broadcast_to(schedule.speeds, schedule.p), [0] * schedule.p
    queue = [(naive_finish(0.0, trips[i][0], pauses[i]), i, 0) for i in range(schedule.p)]
    heapq.heapify(queue)
    while count > 0 and queue[0][0] < INF:
        now, i, n = heapq.heappop(queue)
        yield now, i, n
        more = steps[n % len(steps)]
        work = sum(compute[i][used[i] : used[i] + more]) / speeds[i]
        used[i] += more
        heapq.heappush(queue, (naive_finish(now, work + trips[i][n + 1], pauses[i]), i, n + 1))
        count -= 1


class NaiveVisits:
    """Atomic visits: the naive round-robin round of one worker alone; ADMM's center is the mean of everyone."""

    def __init__(self, rule, p, tau):
        self.name = type(rule).__name__.lower()
        self.step = naive.ROUNDS[self.name, "round_robin"][0]
        self.arguments = {name: getattr(rule, name) for name in rule.parameters()} | {"p": 1, "tau": tau, "h": H}
        self.workers = [[float(name == "x") for name in rule.worker] for _ in range(p)]
        self.center = 1.0

    def event(self, i, number):
        *self.workers[i], self.center = self.step([*self.workers[i], self.center], **self.arguments)
        if self.name == "admm":
            self.center = np.mean([x - dual for dual, x in self.workers])


class NaiveSplit:
    """Pull and push at different times, for each rule by hand."""

    def __init__(self, rule, p, tau):
        self.rule, self.tau, self.p, self.center = rule, tau, p, 1.0
        self.workers = [[float(name == "x") for name in rule.worker] for _ in range(p)]
        self.carried, self.received = [0.0] * p, [1.0] * p
        self.kind = type(rule).__name__.lower()

    def event(self, i, number):
        getattr(self, f"{self.kind}_{'first' if number % 2 == 0 else 'second'}")(i, self.rule)

    def easgd_first(self, i, k):
        [x] = self.workers[i]
        self.carried[i] = k.alpha * (x - self.center)
        x = x - k.eta * H * x - self.carried[i]
        for _ in range(self.tau - 1):
            x = x - k.eta * H * x
        self.workers[i] = [x]

    def easgd_second(self, i, k):
        self.center += self.carried[i]

    def downpour_first(self, i, k):
        self.center += self.workers[i][1]

    def downpour_second(self, i, k):
        x, v = self.center, 0.0
        for _ in range(self.tau):
            x, v = x - k.eta * H * x, v - k.eta * H * x
        self.workers[i] = [x, v]

    def admm_first(self, i, k):
        dual, x = self.workers[i]
        dual = dual - (x - self.center)
        x = (x - k.eta * H * x + k.eta * k.rho * (dual + self.center)) / (1 + k.eta * k.rho)
        self.workers[i] = [dual, x]

    def admm_second(self, i, k):
        dual, x = self.workers[i]
        self.received[i] = x - dual
        self.center = sum(self.received) / self.p


def held_against(run, rule, schedule, twin, queue, per_round):
    """Every round of a run is the twin's, its time and its staleness too."""
    visits, pulled, absorbed, delays = 0, [0] * schedule.p, 0, []
    pushes_second = schedule.split and twin.kind != "downpour"
    for now, i, number in queue:
        twin.event(i, number)
        if not schedule.split or number % 2 == pushes_second:
            delays.append(absorbed - pulled[i])
            absorbed += 1
        if not schedule.split or number % 2 != pushes_second:
            pulled[i] = absorbed
        visits += 1
        if visits % per_round == 0:
            here = run.isel(replica=0, round=visits // per_round)
            assert here.time.item() == pytest.approx(now, rel=1e-12)
            assert here.center.item() == pytest.approx(twin.center, rel=1e-11, abs=1e-12)
            mine = np.stack([here[f"worker_{name}"].values[:, 0] for name in rule.worker], axis=1)
            np.testing.assert_allclose(mine, twin.workers, rtol=1e-11, atol=1e-12)
            assert here.staleness.item() == pytest.approx(np.mean(delays))
            assert here.largest_staleness.item() == max(delays)
            delays = []
    return visits


CLOCKS = [
    {"compute": Lognormal(1.0, 0.5), "communication": Exponential(0.2)},
    {"compute": Exponential(2.0), "communication": Pareto(0.5, 1.5), "speeds": [1.0, 0.2, 3.0, 1.0]},
    {
        "compute": Pareto(1.0, 2.5),
        "pauses": [Pause(1, 3.0, 9.0), Pause(3, 0.0, 5.0), Pause(1, 9.0, 11.0), Pause(2, 8.0)],
    },
]


@EVERY_RULE
@pytest.mark.parametrize("times", CLOCKS, ids=["lognormal", "exponential", "pareto"])
@pytest.mark.parametrize("split", [False, True], ids=["atomic", "split"])
def test_a_run_is_the_naive_queue(rule, times, split):
    tau, rounds = 1 if isinstance(rule, ADMM) else 3, 40
    schedule = Asynchronous(p=4, tau=tau, split=split, **times)
    per_round = 8 if split else 4
    run = simulate(rule, schedule, Quadratic(H), rounds=rounds, record=ALL, seed=3)
    steps = [0, tau] if split else [tau]  # of all three the message is sent before the steps, or needs no more
    twin = (NaiveSplit if split else NaiveVisits)(rule, 4, tau)
    queue = naive_queue(schedule, rounds * per_round, steps, seed=3)
    assert held_against(run, rule, schedule, twin, queue, per_round) == rounds * per_round
    assert np.isnan(run.ended).all()


def test_steps_on_which_the_message_depends_lie_between_pull_and_push():
    @dataclass(frozen=True, eq=False)
    class Late(Algorithm):
        eta: Parameter = None
        worker = ("x",)
        query = staticmethod(lambda w, c, k: c.x)
        visit = staticmethod(lambda w, c, k, g: (c.x - k.eta * g,))
        local_query, local = SGD.local_query, SGD.local
        push_after = staticmethod(lambda old, new, c, k: new.x - c.x)
        absorb = staticmethod(lambda c, total, k, count, p: (c.x + total,))

    schedule = Asynchronous(p=3, tau=2, compute=Lognormal(1.0, 0.5), communication=Exponential(0.3), split=True)
    events = events_of(schedule, 60, rule=Late(0.1))
    expected = list(naive_queue(schedule, 60, [2, 0]))
    assert [(i, n) for _, i, n in expected] == list(zip(events.order, events.numbers, strict=True))
    np.testing.assert_allclose(events.times, [now for now, _, _ in expected], rtol=1e-12)


# Orders that other schedules have, too


def both(rule, schedule, other, objective, **options):
    """Two schedules' runs with the same seed."""
    return [simulate(rule, one, objective, record=Record(workers=True), **options) for one in (schedule, other)]


@EVERY_RULE
@pytest.mark.parametrize("split", [False, True], ids=["atomic", "split"])
def test_equal_times_are_round_robin(rule, split):
    tau = 1 if isinstance(rule, ADMM) else 2
    schedule = Asynchronous(p=5, tau=tau, compute=Deterministic(0.3), split=split)
    ours, plain = both(rule, schedule, RoundRobin(p=5, tau=tau), Quadratic([1.0, H], 1.0), rounds=30, replicas=2)
    for name in plain:
        np.testing.assert_array_equal(ours[name], plain[name])
    np.testing.assert_allclose(ours.time[1], tau * 0.3 * np.clip(np.arange(-1, 30), 0, None), rtol=1e-12)


@pytest.mark.parametrize("name", [name for name, rule in ALGORITHMS.items() if "p" not in rule.requires_one])
def test_without_communication_a_split_exchange_is_atomic(name):
    rule = ALGORITHMS[name]
    rule = rule(**dict.fromkeys(rule.parameters(), 0.1))
    atomic = Asynchronous(p=3, compute=Exponential(1.0), speeds=[1.0, 2.0, 0.3])
    split = Asynchronous(p=3, compute=Exponential(1.0), speeds=[1.0, 2.0, 0.3], split=True)
    one, other = both(rule, atomic, split, Quadratic(H, 0.5), rounds=20)
    for variable in one:
        np.testing.assert_allclose(one[variable], other[variable], rtol=1e-12, err_msg=variable)


@EVERY_RULE
def test_a_recorded_order_is_run_in_that_order(rule):
    p, rounds = 4, 25
    ticks = np.tile(np.arange(p), rounds)
    ours, plain = both(rule, Asynchronous(p=p, order=ticks), RoundRobin(p=p), Quadratic(H, 1.0), rounds=rounds)
    assert "time" not in ours
    np.testing.assert_array_equal(ours.center, plain.center)
    order, counted = np.empty((p * rounds, 1), dtype=np.int64), np.zeros((p, 1), dtype=np.int64)
    streams.draw_order(order, counted, np.empty_like(order), np.uint64(7), 0, 0, p, 1)
    ours, plain = both(
        rule, Asynchronous(p=p, order=order[:, 0]), RandomOrder(p=p), Quadratic(H, 1.0), rounds=rounds, seed=7
    )
    np.testing.assert_array_equal(ours.center, plain.center)
    np.testing.assert_array_equal(ours.worker_x, plain.worker_x)


@pytest.mark.parametrize("split", [False, True], ids=["atomic", "split"])
def test_a_recorded_order_is_that_of_the_times(split):
    schedule = Asynchronous(p=4, tau=2, compute=Lognormal(1.0, 1.0), communication=Exponential(0.5), split=split)
    fed = Asynchronous(p=4, tau=2, order=events_of(schedule, 240, seed=5).order, split=split)
    ours, plain = both(RULES[0], fed, schedule, Quadratic(H, 1.0), rounds=30, seed=5)
    np.testing.assert_array_equal(ours.center, plain.center)


def test_matrices_and_decaying_rates_go_by_worker_and_clock():
    def eta(clock):
        return 0.1 / (1 + 0.3 * clock)

    rng = np.random.default_rng(4)
    h = rng.standard_normal((3, 2, 2))
    objective, order = Quadratic(h + h.transpose(0, 2, 1), 0.5), np.tile(np.arange(3), 20)
    fed, plain = both(
        EASGD(eta, 0.2), Asynchronous(p=3, tau=2, order=order), RoundRobin(p=3, tau=2), objective, rounds=20
    )
    np.testing.assert_array_equal(fed.worker_x, plain.worker_x)
    split = simulate(
        EASGD(eta, 0.2), Asynchronous(p=3, tau=2, order=np.repeat(order, 2), split=True), objective, rounds=20
    )
    np.testing.assert_array_equal(split.center, plain.center)


@pytest.mark.parametrize("rule", [SGD(0.1), EASGD(0.1, 0.3), ADMM(0.1, 1.0)], ids=lambda rule: type(rule).__name__)
def test_one_worker_alone_has_but_one_order(rule):
    ours, plain = both(rule, Asynchronous(p=1), RoundRobin(p=1), Quadratic(H, 1.0), rounds=9, replicas=2)
    np.testing.assert_array_equal(ours.worker_x, plain.worker_x)


def test_memoryless_workers_come_in_random_order():
    p = 6
    order = events_of(Asynchronous(p=p), 60_000 + p).order
    np.testing.assert_array_equal(order[:p], np.arange(p))  # everyone sets out at time 0
    assert stats.chisquare(np.bincount(order[p:], minlength=p)).pvalue > 1e-3
    pairs = np.bincount(order[p:-1] * p + order[p + 1 :], minlength=p * p)
    assert stats.chisquare(pairs).pvalue > 1e-3


# Durations


@pytest.mark.parametrize(
    ("times", "exact"),
    [
        (Exponential(2.0), stats.expon(scale=2.0)),
        (Lognormal(0.5, 0.8), stats.lognorm(0.8, scale=0.5 * np.exp(-0.32))),
        (Pareto(3.0, 2.5), stats.pareto(2.5, scale=1.8)),
    ],
)
def test_durations_have_their_distribution(times, exact):
    sample = drawn(times, streams.COMPUTE, 3, 200_000)
    assert exact.mean() == pytest.approx(times.mean)
    assert abs(sample.mean() - times.mean) < 4.5 * sample.std() / np.sqrt(sample.size)
    assert stats.kstest(sample, exact.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(np.argsort(np.argsort(sample))[1:], np.argsort(np.argsort(sample))[:-1])[0, 1]) < 0.01
    other = drawn(times, streams.COMMUNICATION, 3, 200_000)
    assert abs(np.corrcoef(np.log(sample), np.log(other))[0, 1]) < 0.01
    np.testing.assert_array_equal(drawn(Deterministic(0.7), streams.COMPUTE, 0, 3), 0.7)


def test_a_worker_s_times_are_its_own():
    """They do not depend on how many others there are, nor on what these do."""
    few, many = (Asynchronous(p=p, compute=Lognormal(1.0, 0.5)) for p in (3, 700))
    pausing = Asynchronous(p=3, compute=Lognormal(1.0, 0.5), pauses=[Pause(0, 2.0)])
    mine = []
    for schedule in (few, many, pausing):
        events = events_of(schedule, 30 * schedule.p)
        mine.append(events.times[events.order == 2][:15])
    np.testing.assert_array_equal(mine[0], mine[1])
    np.testing.assert_array_equal(mine[0], mine[2])
