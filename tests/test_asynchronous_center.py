"""The asynchronous center without processes: what an arrival does, what is kept, what is refused."""

import copy
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from easgd_theory import ADMM, DOWNPOUR, EAMSGD, EASGD, MDOWNPOUR, MSGD, Asynchronous, DiLoCo, LocalSGD
from easgd_theory.algorithm import Algorithm
from easgd_theory.visit import luggage
from gpu_trainer.averaging import Averaging
from gpu_trainer.center import Center, Errand, Verdict, visiting_card
from gpu_trainer.order import ARRIVAL, Order, staleness
from gpu_trainer.replay import replay
from gpu_trainer.roll import Roll
from gpu_trainer.service import Service
from gpu_trainer.sessions import Place, hosted_store
from gpu_trainer.visitor import Visitor

START = torch.tensor([1.0, -2.0], dtype=torch.float64)
RULES = [
    EASGD(eta=0.3, alpha=0.2),
    EAMSGD(eta=0.1, alpha=0.2, delta=0.9),
    ADMM(eta=0.1, rho=1.0),
    DOWNPOUR(eta=0.05),
    MDOWNPOUR(eta=0.02, delta=0.5),
    LocalSGD(eta=0.1),
    DiLoCo(eta=0.1, nu=0.4, mu=0.3),
]
EVERY_RULE = pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)


class Direct:
    """A place where the center is in the same process, and a session is a call."""

    silence = 1.0

    def __init__(self, center):
        self.center, self.number = center, 0

    def join(self, card):
        self.number += 1
        return self.number, Direct._Session(self.center, card["worker"])

    @dataclass
    class _Session:
        center: Center
        worker: int

        def ask(self, header, tensors, count):
            errand, incarnation, clock = header
            reply = self.center.serve(Errand(errand), self.worker, incarnation, clock, tensors)
            values = [getattr(reply.center, name) for name in self.center.luggage.center]
            return [reply.verdict, incarnation, reply.clock], values


def crowd(rule, p, tau=1, start=START):
    """A center and its workers, all in this process."""
    schedule = Asynchronous(p=p, tau=tau)
    center = Center(rule, schedule, start, Averaging())
    place = Direct(center)
    return center, [Visitor(rule, schedule, number, place, start) for number in range(p)]


def gradient(worker, clock, point):
    return 1.1 * point + np.cos(worker + 5 * clock)


@EVERY_RULE
@pytest.mark.parametrize("seed", range(3))
def test_any_order_is_replayed_to_the_bit(rule, seed):
    """Workers, too: the center computes their messages, and does it as they would."""
    rng = np.random.default_rng(seed)
    p, tau = int(rng.integers(1, 5)), 1 if "tau" in rule.requires_one else int(rng.integers(1, 4))
    center, visitors = crowd(rule, p, tau)
    for number in rng.integers(0, p, 30):
        assert visitors[number].round(gradient)
    *_, crew = replay(rule, Asynchronous(p=p, tau=tau), center.arrivals(), START, gradient, Averaging())
    ours = center.snapshot()
    assert all(map(torch.equal, ours.center, crew.center))
    assert torch.equal(ours.iterate, crew.iterate)
    assert ours.version == 30
    for number, visitor in enumerate(visitors):
        assert visitor.clock == crew.clocks[number]
        assert all(map(torch.equal, visitor.worker, crew.workers[number]))


@EVERY_RULE
def test_a_center_goes_on_from_its_state(rule):
    center, visitors = crowd(rule, 3)
    order = np.random.default_rng(5).integers(0, 3, 20)
    for number in order[:10]:
        visitors[number].round(gradient)
    state = center.state()
    other = Center(rule, Asynchronous(p=3), torch.zeros_like(START), Averaging(), state)
    kept = {name: value.clone() for name, value in state.items()}
    twins = [copy.copy(visitor) for visitor in visitors]
    for twin in twins:
        twin._session = Direct._Session(other, twin.number)
    for number in order[10:]:
        visitors[number].round(gradient)
        twins[number].round(gradient)
    assert all(torch.equal(state[name], kept[name]) for name in kept)  # a state does not change
    one, two = center.state(), other.state()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one if "seconds" not in name)


def test_a_process_that_was_replaced_is_sent_away():
    center, visitors = crowd(RULES[0], 2)
    visitors[0].round(gradient)
    newcomer = Visitor(RULES[0], Asynchronous(p=2), 0, visitors[0]._place, START)
    assert newcomer.clock == 1
    assert torch.equal(newcomer.worker.x, center.snapshot().center.x)
    with pytest.raises(ConnectionError, match="another process does the part of worker 0"):
        visitors[0].round(gradient)
    newcomer.round(gradient)
    assert center.arrivals()[["worker", "begins", "clock"]].tolist() == [(0, 0, 0), (0, 1, 1), (0, 0, 1)]


@EVERY_RULE
def test_replacements_are_replayed_to_the_bit(rule):
    center, visitors = crowd(rule, 3)
    rng = np.random.default_rng(1)
    for _ in range(40):
        number = int(rng.integers(3))
        if rng.random() < 0.2:
            visitors[number] = Visitor(rule, Asynchronous(p=3), number, visitors[number]._place, START)
        else:
            visitors[number].round(gradient)
    assert 3 < np.count_nonzero(center.arrivals()["begins"]) < 15
    *_, crew = replay(rule, Asynchronous(p=3), center.arrivals(), START, gradient)
    assert all(map(torch.equal, center.snapshot().center, crew.center))
    for number, visitor in enumerate(visitors):
        assert all(map(torch.equal, visitor.worker, crew.workers[number]))


def test_a_visit_that_was_absorbed_is_not_absorbed_again():
    center, (visitor, _) = crowd(DOWNPOUR(eta=0.1), 2)
    visitor.round(gradient)
    visitor.round(gradient)
    before = center.snapshot()
    reply = center.serve(Errand.VISIT, 0, 1, 1, [torch.ones_like(START)])  # as after a reply that was lost
    assert (reply.verdict, reply.clock) == (Verdict.BEGIN, 2)
    assert center.snapshot() == before


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@EVERY_RULE
def test_what_is_not_finite_is_refused(rule, value):
    center, (visitor, other) = crowd(rule, 2)
    for _ in range(6):
        visitor.round(lambda worker, clock, point: gradient(worker, clock, point) + (value if clock == 2 else 0.0))
        other.round(gradient)  # also between the refusal and the next visit: ADMM's center reads everyone
        assert all(bool(torch.isfinite(each).all()) for each in center.snapshot().center)
    assert len(center.refused) == visitor.restarts == 1
    assert visitor.clock == 6
    *_, crew = replay(rule, Asynchronous(p=2), center.arrivals(), START, gradient)
    assert all(map(torch.equal, center.snapshot().center, crew.center))


def test_a_run_that_is_ended_lets_its_workers_go():
    center, (visitor, _) = crowd(RULES[0], 2)
    center.end()
    assert not visitor.round(gradient)
    assert visitor.clock == 0


def test_an_order_with_a_gap_is_not_replayed():
    order = Order()
    order.append(0, False, 0, 0, 0, 0.0)
    order.append(0, False, 2, 1, 1, 0.0)
    with pytest.raises(ValueError, match=r"every visit of worker 0: that of clock 1 is missing before arrival 1"):
        list(replay(RULES[0], Asynchronous(p=1), order.arrivals(), START, gradient))


def test_an_order_grows_and_is_copied():
    order = Order()
    for number in range(1000):
        order.append(number % 3, number == 500, number, max(0, number - number % 7), number, number / 10)
    arrivals = order.arrivals(990)
    arrivals["worker"] = -1
    assert order.arrivals(990)["worker"].tolist() == [number % 3 for number in range(990, 1000)]
    assert Order(order.arrivals()).arrivals().tobytes() == order.arrivals().tobytes()
    assert staleness(order.arrivals()).tolist() == [number % 7 for number in range(1000) if number != 500]


def test_the_roll():
    roll = Roll(3)
    assert not roll.finished(silence=10.0, absence=0.0)
    for worker in range(3):
        roll.arrive(worker, worker + 1, worker + 1)
    assert roll.lose(0, 1)
    assert not roll.lose(1, 1)  # another session's end says nothing of this one
    roll.arrive(2, 7, 7)  # a replacement, before the session that it replaces was seen to break
    assert not roll.lose(2, 3)
    assert roll.lost == [0, 2]
    roll.leave(1, 2)
    roll.leave(2, 7)
    assert not roll.finished(silence=0.0, absence=10.0)
    again = Roll(3, roll.state())
    roll.arrive(0, 1, 8)  # the same process: its session alone was lost
    assert roll.lost == [2]
    assert not roll.finished(silence=0.0, absence=0.0)
    assert again.lost == [0, 2]
    assert again.finished(silence=10.0, absence=0.0)
    never = Roll(2)
    never.arrive(0, 1, 1)
    never.leave(0, 1)
    assert never.finished(silence=0.0, absence=10.0)
    assert never.lost == [1]


@EVERY_RULE
def test_what_travels_is_what_is_read(rule):
    """A message goes up and a center down, but for ADMM, whose message needs the worker's step."""
    kind = type(rule)
    taken = luggage(kind, 1)
    assert taken.center == ("x",)
    assert len(taken.worker) + taken.gradients == (3 if kind is ADMM else 1)
    assert taken.pulls_again == kind.pushes_first


@dataclass(frozen=True, eq=False)
class Late(Algorithm):
    """Its message needs a gradient at the center."""

    eta: Any = None
    worker = ("x",)
    query = staticmethod(lambda w, c, k: c.x)
    visit = staticmethod(lambda w, c, k, g: (c.x - k.eta * g,))
    push_after = staticmethod(lambda old, new, c, k: new.x - old.x)
    absorb = staticmethod(lambda c, total, k, count, p: (c.x + total,))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Center(MSGD(0.1, 0.9), Asynchronous(p=1), START), ["MSGD has no center"]),
        (lambda: Center(Late(0.1), Asynchronous(p=1), START), ["Late", "tau=1", "after the center was read"]),
        (lambda: Center(ADMM(0.1, 1.0), Asynchronous(p=2, tau=2), START), ["tau=1 only"]),
        (lambda: Center(EASGD(0.1), Asynchronous(p=2), START), ["alpha"]),
        (lambda: Center(EASGD(0.1, 0.1), Asynchronous(), START), ["p"]),
        (lambda: Center(EASGD(0.1, 0.1), Asynchronous(p=2, speeds=2.0), START), ["p and tau alone", "speeds=2.0"]),
        (lambda: Center(EASGD(0.1, 0.1), Asynchronous(p=2, order=[0, 1]), START), ["p and tau alone"]),
        (lambda: Center(EASGD(0.1, 0.1), 4, START), ["schedule must be Asynchronous, got 4"]),
        (lambda: Place(port=1, silence=0), ["silence", "0"]),
        (lambda: Place(port=1, absence=float("nan")), ["absence", "nan"]),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_sentence(make, words, refused):
    refused(make, *words)


def test_the_card_names_what_must_agree():
    schedule = Asynchronous(p=2, tau=3)
    card = visiting_card(MDOWNPOUR(eta=lambda clock: 0.1, delta=0.5), Asynchronous(p=2), START)
    assert card.keys() == {"algorithm", "eta", "delta", "nesterov", "p", "tau", "n", "dtype"}
    one, other = (visiting_card(EASGD(eta, 0.1), schedule, START) for eta in (0.1, 0.2))
    assert [name for name in one if one[name] != other[name]] == ["eta"]


def test_numbers_grow_in_a_new_store_too():
    """A worker that was there before the center went on from its state is asked to come again."""
    schedule, center = Asynchronous(p=1), Center(RULES[0], Asynchronous(p=1), START)
    center.serve(Errand.BEGIN, 0, 10, 0, [])
    again = Center(RULES[0], schedule, START, state=center.state())
    with hosted_store() as port, ThreadPoolExecutor() as pool:
        place = Place(port=port, silence=20.0)
        early = pool.submit(Visitor, RULES[0], schedule, 0, place, START)
        while not place.store().check(["card/1"]):
            time.sleep(0.01)
        with Service(again, place) as service:
            with early.result() as visitor:
                assert visitor.round(gradient)
            assert service.wait(10.0)
    assert again.last_incarnation > 10
    assert again.roll.lost == []


def test_a_worker_with_other_parameters_is_refused(refused):
    center = Center(EASGD(0.3, 0.2), Asynchronous(p=2), START)
    with hosted_store() as port:
        place = Place(port=port)
        with Service(center, place):
            for rule, number, like, words in (
                (EASGD(0.3, 0.1), 0, START, ["alpha", "0.2", "got 0.1"]),
                (EASGD(0.3, 0.2), 0, START[:1], ["n", "2", "got 1"]),
                (EASGD(0.3, 0.2), 2, START, ["worker", "p=2", "got 2"]),
            ):
                refused(lambda: Visitor(rule, Asynchronous(p=2), number, place, like), *words)  # noqa: B023


def test_nobody_is_at_home():
    with hosted_store() as port:
        place = Place(port=port, silence=0.3)
        with pytest.raises(ConnectionError, match=r"no center was found for 0\.3 s"):
            Visitor(RULES[0], Asynchronous(p=1), 0, place, START)
    with pytest.raises(ConnectionError):
        Visitor(RULES[0], Asynchronous(p=1), 0, place, START)
    assert ARRIVAL.names == ("worker", "begins", "clock", "pulled", "version", "seconds")
