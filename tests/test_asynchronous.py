"""Asynchronous runs in real processes: what the center records is what happened, whatever happens to the processes."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from asynchronous_processes import START, Task, Uneven, serve_all, work_on

from easgd_theory import ADMM, DOWNPOUR, EAMSGD, EASGD, MDOWNPOUR, Asynchronous, DiLoCo
from gpu_trainer.faults import Distant, Slowed, Spoiled, hang, kill, wake
from gpu_trainer.order import ARRIVAL, staleness
from gpu_trainer.replay import replay
from gpu_trainer.sessions import Door, Place, hosted_store
from simulations import Quadratic, Record, simulate

pytestmark = pytest.mark.xdist_group("asynchronous")
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["gpu_trainer.service", "gpu_trainer.visitor"])  # they import torch once, for all
H = 1.3
RULES = [
    EASGD(eta=0.3, alpha=0.2),
    EAMSGD(eta=0.1, alpha=0.2, delta=0.9),
    ADMM(eta=0.1, rho=1.0),
    DOWNPOUR(eta=0.05),
    MDOWNPOUR(eta=0.02, delta=0.5),
    DiLoCo(eta=0.1, nu=0.4, mu=0.3),
]
PATIENT = 60.0  # of a test whose run should end


@dataclass
class Running:
    """A run's processes."""

    task: Task
    center: object = None
    workers: list = field(default_factory=list)

    def start_center(self):
        self.center = PROCESSES.Process(target=serve_all, args=([self.task],))
        self.center.start()

    def start_worker(self, number):
        process = PROCESSES.Process(target=work_on, args=([self.task], number))
        process.start()
        self.workers.append(process)
        return process

    def until(self, worker, visits):
        """Wait until the center's checkpoint has so many visits of a worker."""
        deadline = time.monotonic() + PATIENT
        while time.monotonic() < deadline:
            if (kept := self.task.folder / "checkpoint.pt").exists():
                arrivals = arrivals_of(torch.load(kept, weights_only=True))
                if np.count_nonzero((arrivals["worker"] == worker) & ~arrivals["begins"]) >= visits:
                    return
            time.sleep(0.005)
        raise AssertionError(f"worker {worker} has not made {visits} visits")

    def join(self):
        for process in (*self.workers, self.center):
            process.join(PATIENT)
            assert process.exitcode is not None, "a process did not end"

    def outcome(self):
        """What the center wrote, with the order of arrivals as an array."""
        written = torch.load(self.task.folder / "center.pt", weights_only=False)
        return written | {"arrivals": arrivals_of(written["state"])}

    def reports(self, number):
        return [torch.load(path, weights_only=False) for path in self.task.folder.glob(f"worker_{number}_*.pt")]

    def stop(self):
        for process in (*self.workers, self.center):
            if process is not None and process.is_alive():
                process.kill()
                process.join()


@contextmanager
def run(folder, algorithm, gradient, p=3, tau=2, visits=60, **place) -> Iterator[Running]:
    """A run whose processes are started; none is left behind."""
    with hosted_store() as port:
        kind = Distant if "delay" in place else Place
        at = kind(port=port, **{"silence": 30.0, "absence": 0.2, **place})
        running = Running(Task(algorithm, Asynchronous(p=p, tau=tau), gradient, visits, at, folder))
        try:
            running.start_center()
            for number in range(p):
                running.start_worker(number)
            yield running
        finally:
            running.stop()


def arrivals_of(state):
    rows = np.zeros(len(state["order.worker"]), dtype=ARRIVAL)
    for name in ARRIVAL.names:
        rows[name] = state[f"order.{name}"].numpy()
    return rows


def assert_replayed(task, outcome, gradient=None):
    """The recorded order gives the recorded center, to rounding."""
    quiet = (
        replace(gradient or task.gradient, seconds=0.0) if isinstance(gradient or task.gradient, Uneven) else gradient
    )
    *_, crew = replay(task.algorithm, task.schedule, outcome["arrivals"], START, quiet)
    for name in crew.rule.center:
        expected = getattr(crew.center, name)
        assert (expected != (START if name == "x" else 0)).all()
        torch.testing.assert_close(outcome["state"][f"center.{name}"], expected, rtol=1e-12, atol=1e-13)


def visits_of(outcome, worker):
    arrivals = outcome["arrivals"]
    return arrivals[(arrivals["worker"] == worker) & ~arrivals["begins"]]


# What is recorded is what happened


CASES = [
    (rule, tau, p, moved)
    for rule in RULES
    for tau in ((1,) if "tau" in rule.requires_one else (1, 3))
    for p in (1, 2, 4)
    for moved in (0.0, 0.3)
]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """All cases, one after the other, in one center's and four workers' processes."""
    folder = tmp_path_factory.mktemp("asynchronous")
    tasks = []
    with hosted_store() as port:
        for number, (rule, tau, p, moved) in enumerate(CASES):
            place = Place(port=port, name=str(number))
            own = folder / str(number)
            own.mkdir()
            tasks.append(Task(rule, Asynchronous(p=p, tau=tau), Uneven(H, moved, 1e-3), 8, place, own))
        processes = [PROCESSES.Process(target=serve_all, args=(tasks,))]
        processes += [PROCESSES.Process(target=work_on, args=(tasks, number)) for number in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(PATIENT)
    assert [process.exitcode for process in processes] == [0] * 5
    return [Running(task) for task in tasks]


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda n: "-".join(map(str, CASES[n])).split("(")[0] + str(n))
def test_the_recorded_order_gives_the_recorded_center(recorded, number):
    running, (rule, tau, p, moved) = recorded[number], CASES[number]
    outcome = running.outcome()
    assert outcome["lost"] == []
    assert outcome["refused"] == []
    arrivals = outcome["arrivals"]
    assert not arrivals["begins"].any()
    np.testing.assert_array_equal(arrivals["version"], np.arange(8 * p))
    for worker in range(p):
        np.testing.assert_array_equal(visits_of(outcome, worker)["clock"], tau * np.arange(8))
    assert (np.diff(arrivals["seconds"]) >= 0).all()
    assert_replayed(running.task, outcome)
    if moved == 0.0:
        order = arrivals["worker"]
        state = [START.numpy() * (name == "x") for name in rule.worker * p + rule.center]
        simulated = simulate(
            rule, Asynchronous(p=p, tau=tau, order=order), Quadratic(H), rounds=8, start=state,
            record=Record(staleness=True),
        )  # fmt: skip
        np.testing.assert_allclose(outcome["state"]["center.x"], simulated.center[0, -1], rtol=1e-12, atol=1e-13)
        late = staleness(arrivals).reshape(8, p)
        np.testing.assert_allclose(simulated.staleness[0, 1:], late.mean(1))
        np.testing.assert_allclose(simulated.largest_staleness[0, 1:], late.max(1))


def test_workers_overtake_one_another(recorded):
    """Else the orders above would all be that of a round-robin run, and prove nothing about orders."""
    orders = [running.outcome()["arrivals"]["worker"] for running in recorded if running.task.schedule.p == 4]
    assert any((order != np.tile(np.arange(4), 8)).any() for order in orders)


# What is survived


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("replaced", [False, True], ids=["lost", "replaced"])
def test_a_killed_worker_costs_its_own_steps_only(tmp_path, seed, replaced):
    rng = np.random.default_rng([seed, replaced])
    rule = RULES[rng.integers(len(RULES))]
    tau = 1 if "tau" in rule.requires_one else 2
    with run(
        tmp_path, rule, Uneven(H, 0.3, 3e-3 / tau), tau=tau, visits=120, absence=30.0 if replaced else 0.2
    ) as running:
        victim = int(rng.integers(3))
        running.until(victim, int(rng.integers(1, 60)))
        kill(running.workers[victim].pid)
        running.workers[victim].join()
        if replaced:
            running.start_worker(victim)
        running.join()
        outcome = running.outcome()
    assert outcome["lost"] == [victim]
    assert_replayed(running.task, outcome)
    for worker in range(3):
        clocks = visits_of(outcome, worker)["clock"]
        if worker != victim or replaced:
            np.testing.assert_array_equal(clocks, tau * np.arange(120))
            assert [report["clock"] for report in running.reports(worker)] == [120 * tau]
        else:
            np.testing.assert_array_equal(clocks, tau * np.arange(len(clocks)))
            assert len(clocks) < 120


def test_a_center_that_dies_while_it_welcomes_is_not_waited_for():
    """As long as the next one waits for a worker."""
    with hosted_store() as port:
        place, made = Place(port=port, silence=10.0), []
        worker = threading.Thread(target=lambda: made.append(place.join({"worker": 0})), daemon=True)
        worker.start()
        door, store = Door(place, 0), place.store()
        welcomed = 0
        while worker.is_alive():
            for number, _ in door.cards():
                welcomed += 1
                if welcomed == 1:
                    store.set(f"welcome/{number}", "")  # and no more than that
                else:
                    session = door.welcome(number)
            time.sleep(0.01)
        assert [number for number, _ in made] == [2]
        del session


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_center_goes_on_from_its_checkpoint(tmp_path, seed):
    rng = np.random.default_rng(seed)
    with run(tmp_path, RULES[2 * seed], Uneven(H, 0.3, 3e-3), tau=1, visits=150) as running:
        for moment in (20, 80):
            running.until(int(rng.integers(3)), moment + int(rng.integers(40)))
            kill(running.center.pid)
            running.center.join()
            running.start_center()
        running.join()
        outcome = running.outcome()
    assert outcome["lost"] == []
    np.testing.assert_array_equal(np.diff(outcome["arrivals"]["version"]), ~outcome["arrivals"]["begins"][:-1])
    for worker in range(3):
        (report,) = running.reports(worker)
        absorbed, acknowledged = visits_of(outcome, worker)["clock"], report["visited"]
        assert report["clock"] == 150
        assert acknowledged[-1] == absorbed[-1] == 149
        assert (np.diff(absorbed) >= 1).all()  # nothing twice
        assert np.isin(absorbed, acknowledged).mean() > 0.9


def test_a_worker_that_hangs_holds_nobody(tmp_path):
    with run(tmp_path, RULES[0], Uneven(H, 0.3, 2e-3), visits=100) as running:
        running.until(1, 5)
        hang(running.workers[1].pid)
        for worker in (0, 2):
            running.workers[worker].join(PATIENT)
            assert [report["clock"] for report in running.reports(worker)] == [200]
        assert running.center.is_alive()
        assert running.reports(1) == []
        wake(running.workers[1].pid)
        running.join()
        outcome = running.outcome()
    assert outcome["lost"] == []
    assert len(visits_of(outcome, 1)) == 100
    assert_replayed(running.task, outcome)


def test_a_worker_that_hangs_for_too_long_is_lost_and_may_come_back(tmp_path):
    with run(tmp_path, RULES[0], Uneven(H, 0.3, 4e-3), visits=200, silence=1.0, absence=30.0) as running:
        running.until(1, 5)
        hang(running.workers[1].pid)
        time.sleep(1.6)
        wake(running.workers[1].pid)
        running.join()
        outcome = running.outcome()
    assert [loss["worker"] for loss in outcome["losses"]] == [1]
    assert outcome["lost"] == []
    assert_replayed(running.task, outcome)
    assert visits_of(outcome, 1)["clock"][-1] == 398


def test_a_push_that_is_not_finite_is_refused(tmp_path):
    gradient = Uneven(H, 0.3, 1e-3)
    with run(tmp_path, RULES[0], Spoiled(gradient, 1, 7), visits=20) as running:
        running.join()
        outcome = running.outcome()
    assert outcome["refused"] == [(1, 8)]
    assert outcome["lost"] == []
    assert [report["restarts"] for report in running.reports(1)] == [1]
    arrivals = outcome["arrivals"]
    begun = arrivals[arrivals["begins"]]
    assert begun[["worker", "clock"]].tolist() == [(1, 10)]
    assert len(visits_of(outcome, 1)) == 19
    assert_replayed(running.task, outcome, Spoiled(replace(gradient, seconds=0.0), 1, 7))


# What is hidden


@pytest.mark.parametrize(("rule", "low", "high"), [(RULES[0], 0.9, 1.0), (RULES[1], 0.9, 1.0), (RULES[3], -1.0, 0.1)])
def test_the_exchange_runs_during_the_gradient(tmp_path, rule, low, high):
    """EASGD and EAMSGD hide at least 90% of 50 ms where a step takes longer; DOWNPOUR has to wait for its center."""
    with run(tmp_path, rule, Slowed(Uneven(H), 0.1), p=1, tau=1, visits=10, delay=0.05) as running:
        running.join()
        (report,) = running.reports(0)
    communicated, waited = report["spent"]
    assert communicated >= 0.5
    assert low <= 1 - waited / communicated <= high


def test_the_page_on_asynchronous_runs_prints_what_it_says(capsys):
    text = (Path(__file__).parent.parent / "docs" / "asynchronous.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    exec(block, {})
    promised = re.findall(r"^print\(.*\)  # (.*)$", block, flags=re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == promised == ["20 []", "True"]
