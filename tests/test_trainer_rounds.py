"""The trainer's own rounds, in one process and in four, are the iteration maps; and their naive twins."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from cases import CASES, Case, select
from torch import multiprocessing, nn
from trainer_processes import ROUNDS, START, Quadratic, train_all, trained

from easgd_theory import EAMSGD, EASGD, MSGD, RandomOrder, RoundRobin, Synchronous, iteration_map
from gpu_trainer import Crew, ElasticAveraging
from gpu_trainer.arithmetic import in_slices

COLUMNS = 3


def crew_from(case: Case, state: np.ndarray) -> Crew:
    """A crew whose variables, in our layout, are the rows of `state`."""
    crew = Crew(case.algorithm, case.schedule, torch.zeros(state.shape[1], dtype=torch.float64))
    rows = list(torch.tensor(state))
    count = len(crew.rule.worker)
    crew.workers = [crew.rule.Worker(*rows[i * count : (i + 1) * count]) for i in range(crew.p)]
    crew.center = crew.rule.Center(*rows[crew.p * count :])
    return crew


def state_of(crew: Crew) -> np.ndarray:
    return torch.stack([value for variables in (*crew.workers, crew.center) for value in variables]).numpy()


def close(ours: np.ndarray, expected: np.ndarray) -> None:
    """Equal to 1e-12 of the largest entry: rounding grows with the iterates."""
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("case", CASES)
def test_rounds_in_one_process_are_the_naive_ones(case):
    """Entry by entry, after every one of many rounds: growth, and not agreement at the end."""
    starts = [case.start(seed) for seed in range(COLUMNS)]
    crew = crew_from(case, case.embedding() @ np.stack(starts, axis=1))
    for _ in range(ROUNDS):
        starts = [np.array(case.step(list(start), **case.arguments)) for start in starts]
        crew.round(lambda worker, clock, point: case.h * point)
        close(state_of(crew), case.embedding() @ np.stack(starts, axis=1))
    assert crew.clocks == [ROUNDS * case.schedule.tau] * case.schedule.p


def four_processes() -> list[Case]:
    """The cases of the shared table that p = 1, 2 and 4 processes can run; p = 4 in the place of 3."""
    wanted = select(lambda case: case.schedule.p in (1, 2, 3))
    cases = [param.values[0] for param in wanted]
    return [replace(case, schedule=replace(case.schedule, p=4)) if case.schedule.p == 3 else case for case in cases]


PARALLEL = four_processes()


def follows_the_map(case: Case, states: list) -> None:
    """All rounds from x = START, entry by entry; `states` has the variables by name, round by round, per worker."""
    rule, matrix = case.algorithm, iteration_map(case.algorithm, case.schedule, h=case.h).matrix
    worker, center = (
        [f"{who}.{name}" for name in names] for who, names in (("worker", rule.worker), ("center", rule.center))
    )
    rows = [state[name] for state in states for name in worker] + [states[0][name] for name in center]
    ours = torch.stack(rows, dim=1).numpy()
    start = [START.numpy() * (name == "x") for name in rule.worker * case.schedule.p + rule.center]
    np.testing.assert_array_equal(ours[0], start)
    for before, after in pairwise(ours):
        np.testing.assert_allclose(after, matrix @ before, rtol=0, atol=1e-12 * np.abs(before).max(), err_msg=case.id)
    growth = np.abs(np.linalg.matrix_power(matrix, ROUNDS) @ ours[0]).max()
    assert np.abs(ours[-1]).max() == pytest.approx(growth, rel=1e-9, abs=1e-12), case.id


@pytest.fixture(scope="module")
def in_processes(tmp_path_factory):
    """The states that four processes have written, by rank and number of the case."""
    folder = tmp_path_factory.mktemp("processes")
    jobs = [(case.algorithm, case.schedule, case.h) for case in PARALLEL]
    multiprocessing.spawn(train_all, (4, folder, jobs), nprocs=4)
    return [torch.load(folder / f"rank_{rank}.pt", weights_only=True) for rank in range(4)]


@pytest.mark.xdist_group("trainer_processes")
def test_rounds_in_processes_are_the_iteration_map(in_processes):
    for number, case in enumerate(PARALLEL):
        states = [in_processes[rank][str(number)] for rank in range(case.schedule.p)]
        follows_the_map(case, states)
        for state in states[1:]:
            for name in case.algorithm.center:
                assert torch.equal(state[f"center.{name}"], states[0][f"center.{name}"]), case.id


@pytest.mark.parametrize("case", select(lambda case: case.schedule.p == 1 and case.point == "calm"))
def test_a_worker_of_its_own_needs_no_processes(case):
    follows_the_map(case, [trained(case.algorithm, case.schedule, case.h, ROUNDS)])


@cache
def _tensors(count: int, length: int) -> list:
    generator = torch.Generator().manual_seed(count)
    return [torch.randn(length, generator=generator, dtype=torch.float64) for _ in range(count)]


@pytest.mark.parametrize("size", [1, 7, 64, 100, 1000])
@pytest.mark.parametrize("case", select(lambda case: case.schedule.p in (1, 2) and case.schedule.tau == 1))
def test_slices_change_nothing(case, size):
    """The functions over slices give the bits that they give over the whole."""
    whole, sliced = type(case.algorithm), in_slices(type(case.algorithm), size)
    values = _tensors(2 * len(whole.worker) + len(whole.center) + 1, 100)
    count = len(whole.worker)
    old, new = whole.Worker(*values[:count]), whole.Worker(*values[count : 2 * count])
    center, g = whole.Center(*values[2 * count : -1]), values[-1]
    k = case.algorithm.pack({name: getattr(case.algorithm, name) for name in whole.parameters()})
    arguments = {
        "query": (old, center, k),
        "visit": (old, center, k, g),
        "local_query": (old, k),
        "local": (old, k, g),
        "push_before": (old, center, k),
        "push_after": (old, new, center, k),
        "absorb": (center, g, k, 2, 3),
    }
    checked = 0
    for name, given in arguments.items():
        if hasattr(whole, name):
            expected, got = getattr(whole, name)(*given), getattr(sliced, name)(*given)
            pairs = [(expected, got)] if isinstance(expected, torch.Tensor) else zip(expected, got, strict=True)
            for one, other in pairs:
                assert torch.equal(one, other)
                assert any(one is value for value in values) == any(other is value for value in values)
                checked += 1
    assert checked >= 2


def test_the_model_stands_where_the_gradient_is_due():
    model = Quadratic(1.0)
    elastic = ElasticAveraging(model, MSGD(eta=0.1, delta=0.9), Synchronous(p=1))
    for _ in range(3):
        model().backward()
        elastic.step()
        elastic.zero_grad()
    state = elastic.state_dict()
    at = torch.cat([model.first, model.rest[:, 0]]).detach()
    torch.testing.assert_close(at, state["worker.x"] + 0.9 * state["worker.v"], rtol=0, atol=0)
    with elastic.worker():
        assert torch.equal(torch.cat([model.first, model.rest[:, 0]]), state["worker.x"])
    assert torch.equal(torch.cat([model.first, model.rest[:, 0]]).detach(), at)


def test_the_center_is_left_in_the_model():
    model = Quadratic(1.0)
    with ElasticAveraging(model, EASGD(eta=0.5, alpha=0.25), Synchronous(p=1)) as elastic:
        model().backward()
        elastic.step()
        model.zero_grad()
        model().backward()
        elastic.step()
        with elastic.center():
            inside = torch.cat([model.first, model.rest[:, 0]]).detach()
    assert torch.equal(torch.cat([model.first, model.rest[:, 0]]).detach(), inside)
    torch.testing.assert_close(inside, START * (1 + 0.25 * (0.5 - 1)))  # x = 1, .5; center = 1, 1, .875


def test_a_state_goes_on_where_it_was():
    rule, schedule = EAMSGD(eta=lambda t: 0.1 / (1 + t), alpha=0.2, delta=0.9), RoundRobin(p=1, tau=2)
    model, copy = Quadratic(1.3), Quadratic(1.3)

    def steps(elastic, model, count):
        for _ in range(count):
            elastic.zero_grad()
            model().backward()
            elastic.step()
        return elastic.state_dict()

    elastic = ElasticAveraging(model, rule, schedule)
    halfway = steps(elastic, model, 4)
    final = steps(elastic, model, 4)
    other = ElasticAveraging(copy, rule, schedule)
    other.load_state_dict(halfway)
    resumed = steps(other, copy, 4)
    assert final.keys() == resumed.keys()
    assert all(torch.equal(final[name], resumed[name]) for name in final)
    assert int(final["clock"]) == 8
    with pytest.raises(ValueError, match="state must hold"):
        ElasticAveraging(Quadratic(1.0), EASGD(0.1, 0.1), schedule).load_state_dict(halfway)


def test_a_rate_that_decays_follows_the_workers_clock():
    rule = EASGD(eta=lambda t: 0.2 / (1 + t), alpha=0.1)
    crew = Crew(rule, RoundRobin(p=2, tau=2), torch.ones(1, dtype=torch.float64))
    x, center = [1.0, 1.0], 1.0
    for clock in (0, 2, 4):
        for i in range(2):
            pull = 0.1 * (x[i] - center)
            x[i], center = x[i] - 0.2 / (1 + clock) * x[i] - pull, center + pull
            x[i] -= 0.2 / (2 + clock) * x[i]
        crew.round(lambda worker, clock, point: point)
    np.testing.assert_allclose([worker.x.item() for worker in crew.workers], x, rtol=1e-14)
    np.testing.assert_allclose(crew.iterate.item(), center, rtol=1e-14)


def test_weight_decay_is_part_of_the_gradient():
    state = {}
    for decay, h in ((0.25, 1.0), (0.0, 1.25)):
        model = Quadratic(h)
        elastic = ElasticAveraging(model, EASGD(0.3, 0.2), Synchronous(p=1), weight_decay=decay)
        for _ in range(5):
            elastic.zero_grad()
            model().backward()
            elastic.step()
        state[decay] = elastic.state_dict()["worker.x"]
    torch.testing.assert_close(state[0.25], state[0.0], rtol=1e-14, atol=0)


def test_buffers_are_never_passed_over_in_silence():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with pytest.raises(ValueError, match="average_buffers must be True"):
        ElasticAveraging(model, EASGD(0.1, 0.1), Synchronous(p=1))
    elastic = ElasticAveraging(model, EASGD(0.1, 0.1), Synchronous(p=1), average_buffers=True)
    model(torch.randn(8, 2)).sum().backward()
    elastic.step()
    before = model[1].running_mean.clone()
    with elastic.center():
        model[1].running_mean += 1
    assert torch.equal(model[1].running_mean, before)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Crew(EASGD(0.1, 0.1), Synchronous(), START), "needs a value for p"),
        (lambda: Crew(EASGD(0.1), Synchronous(p=2), START), "needs a value for alpha"),
        (lambda: Crew(EASGD(0.1, [0.1, 0.2]), Synchronous(p=2), START), "alpha must be one number in training"),
        (lambda: Crew(MSGD(0.1, 0.9), Synchronous(p=2), START), "p=1 only"),
        (lambda: Crew(EASGD(0.1, 0.1), RandomOrder(p=2), START), "Synchronous or RoundRobin"),
        (lambda: Crew(EASGD(0.1, 0.1), Synchronous(p=2), START[None]), r"shape \(n,\)"),
        (lambda: Crew(EASGD, Synchronous(p=2), START), "algorithm must be"),
        (lambda: ElasticAveraging(Quadratic(1), EASGD(0.1, 0.1), Synchronous(p=2)), "number of processes, 1, got 2"),
        (lambda: ElasticAveraging(nn.ReLU(), EASGD(0.1, 0.1), Synchronous(p=1)), "parameters that require"),
        (
            lambda: ElasticAveraging(Quadratic(1), EASGD(0.1, 0.1), Synchronous(p=1), weight_decay=-1),
            "weight_decay must be",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_with_a_sentence(make, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        make()
