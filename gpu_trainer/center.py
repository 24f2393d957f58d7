"""The asynchronous center: what it keeps, and what a worker's arrival does to it. It knows nothing of processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from easgd_theory.algorithm import Algorithm, given_values
from easgd_theory.schedules import Asynchronous, RoundRobin
from easgd_theory.visit import Luggage, Visit, luggage, message, turn
from gpu_trainer.averaging import Averaging
from gpu_trainer.order import ARRIVAL, COLUMNS, Order
from gpu_trainer.party import beginning, checked, steps_from
from gpu_trainer.roll import Roll


class Errand(IntEnum):
    """What a worker comes for: to begin, to visit, or to say that it has done its part."""

    BEGIN = 0
    VISIT = 1
    LEAVE = 2


class Verdict(IntEnum):
    """What came of a worker's arrival.

    ``DONE``: as it wished. ``BEGIN``: it begins at the x that it is given; if it has made a visit, that is void.
    ``OVER``: the run has ended. ``REPLACED``: another process does this worker's part.
    """

    DONE = 0
    BEGIN = 1
    OVER = 2
    REPLACED = 3


class Reply(NamedTuple):
    """What a worker is told: the verdict, the clock at which it goes on, and variables of the center."""

    verdict: Verdict
    clock: int
    center: Any


class Snapshot(NamedTuple):
    """The center at a moment: its variables, the messages it has absorbed, and the average where one is kept."""

    center: Any
    version: int
    average: Tensor | None

    @property
    def iterate(self) -> Tensor:
        """What the run has come to: the average where one is kept, else the center's x; shape (n,)."""
        iterate: Tensor = self.center.x if self.average is None else self.average
        return iterate


def checked_visits(
    algorithm: Algorithm, schedule: Asynchronous
) -> tuple[type[Algorithm], Callable[[int], Any], Luggage]:
    """The algorithm over tensors, its parameters as a function of the clock, and what travels in a visit.

    Raises
    ------
    TypeError, ValueError
        If a parameter has no value, the pair is not defined, or the schedule says more than p and tau: a run's times
        are what they are.
    """
    if not isinstance(schedule, Asynchronous):
        raise TypeError(f"schedule must be Asynchronous, got {schedule!r}")
    if repr(schedule) != repr(Asynchronous(p=schedule.p, tau=schedule.tau)):
        raise ValueError(f"schedule must give p and tau alone where the times are those of a run, got {schedule!r}")
    rule, k = checked(algorithm, RoundRobin(p=schedule.p, tau=schedule.tau))
    kind: Any = type(algorithm)
    return rule, k, luggage(kind, schedule.tau)


def visiting_card(algorithm: Algorithm, schedule: Asynchronous, like: Tensor) -> dict[str, Any]:
    """What center and workers must agree on; JSON."""
    values = given_values(algorithm) | {name: getattr(algorithm, name) for name in algorithm.options()}
    parameters = {
        name: "a function of the clock" if callable(value) else float(value) for name, value in values.items()
    }
    card = {"algorithm": type(algorithm).__name__, **parameters, "p": schedule.p, "tau": schedule.tau}
    return card | {"n": like.numel(), "dtype": str(like.dtype)}


class Center:
    """The center's variables and all that it knows of the workers.

    Methods may be called from many threads; an arrival is atomic, and they are served in the order in which they come.

    Parameters
    ----------
    algorithm : Algorithm
        All parameters given: numbers, or functions of the worker's clock.
    schedule : Asynchronous
        With its p and tau.
    start : Tensor, shape (n,)
        Where every x begins. A worker that comes for the first time begins here, however late it is.
    averaging : Averaging, optional
        What average of the center is kept.
    state : mapping, optional
        What `state` returned: go on from there.

    Attributes
    ----------
    card : dict
        What a worker must agree on.
    roll : Roll
        Who is there, has ended, was lost.
    refused : list of tuple of int
        Worker and clock of each visit that would have made the center not finite.

    Examples
    --------
    >>> from easgd_theory import EASGD
    >>> center = Center(EASGD(eta=0.5, alpha=0.1), Asynchronous(p=2), torch.ones(1))
    >>> center.serve(Errand.BEGIN, 0, 1, 0, []).center.x
    tensor([1.])
    >>> center.serve(Errand.VISIT, 0, 1, 0, [torch.tensor([3.0])]).verdict.name  # were its x now 3
    'DONE'
    >>> center.snapshot().center.x
    tensor([1.2000])
    """

    def __init__(
        self,
        algorithm: Algorithm,
        schedule: Asynchronous,
        start: Tensor,
        averaging: Averaging | None = None,
        state: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.rule, self._k, self.luggage = checked_visits(algorithm, schedule)
        self.p, self.tau = schedule.workers(), schedule.tau
        self.card = visiting_card(algorithm, schedule, start)
        self._lock = threading.Lock()
        self._center = beginning(self.rule, start)[1]
        self._start = start
        self._latest: dict[int, Tensor] = {}
        if self.rule.gather == "all":
            self._latest = dict.fromkeys(range(self.p), self._first_message(0))
        self._average = averaging and averaging.begin(start)
        self._next, self._pulled, self._incarnations = [0] * self.p, [0] * self.p, [0] * self.p
        self._version, self._order, self._began = 0, Order(), time.monotonic()
        self.roll = Roll(self.p)
        self.refused: list[tuple[int, int]] = []
        self._over = False
        if state is not None:
            self._restore(state)

    def snapshot(self) -> Snapshot:
        """The center now; nothing that it holds will be changed."""
        with self._lock:
            return Snapshot(self._center, self._version, self._average.z if self._average else None)

    def arrivals(self, since: int = 0) -> np.ndarray:
        """The order of arrivals from the one numbered `since` on: an array of `gpu_trainer.order.ARRIVAL`."""
        with self._lock:
            return self._order.arrivals(since)

    @property
    def last_incarnation(self) -> int:
        """The highest number of a process that has been here."""
        with self._lock:
            return max(self._incarnations)

    def end(self) -> None:
        """The run is over: whoever comes is told so."""
        with self._lock:
            self._over = True

    def serve(self, errand: Errand, worker: int, incarnation: int, clock: int, carried: Sequence[Tensor]) -> Reply:
        """Serve a worker; this is the one place where the center changes.

        Parameters
        ----------
        errand : Errand
        worker : int
        incarnation : int
            The number of the process that does this worker's part, above those of all processes before it.
        clock : int
            Of a visit: the gradient steps that the worker has made.
        carried : sequence of Tensor, shape (n,)
            Of a visit: what its `luggage` names, variables, then gradients. They are not changed any more.
        """
        with self._lock:
            if self._over:
                return Reply(Verdict.OVER, self._next[worker], self._center)
            known = self._incarnations[worker]
            if incarnation < known:
                return Reply(Verdict.REPLACED, self._next[worker], self._center)
            self._incarnations[worker] = incarnation
            if errand is Errand.VISIT:
                return self._visit(worker, clock, carried)
            if errand is Errand.LEAVE:
                return Reply(Verdict.DONE, clock, self._center)
            if known == 0:
                return Reply(Verdict.BEGIN, 0, self._center._replace(x=self._start))
            return self._begin(worker, self._next[worker])

    def _visit(self, worker: int, clock: int, carried: Sequence[Tensor]) -> Reply:
        if clock < self._next[worker]:  # it was absorbed, and the worker never heard so
            return self._begin(worker, self._next[worker])
        before = self._center
        sent, after = self._turn(worker, clock, carried)
        if not all(bool(torch.isfinite(each).all()) for each in after):
            self.refused.append((worker, clock))
            return self._begin(worker, clock + self.tau)
        if self._average:
            self._average.see(before.x)
        if self._latest:
            self._latest[worker] = sent
        self._record(worker, False, clock)
        self._center, self._version = after, self._version + 1
        self._next[worker], self._pulled[worker] = clock + self.tau, self._version
        return Reply(Verdict.DONE, clock, after if self.luggage.pulls_again else before)

    def _turn(self, worker: int, clock: int, carried: Sequence[Tensor]) -> tuple[Tensor, Any]:
        """What it sends, and the center after that."""
        names = self.luggage.worker
        known = dict.fromkeys(self.rule.worker) | dict(zip(names, carried, strict=False))
        visit = Visit(self.rule, steps_from(self._k, clock), self.tau, self.rule.Worker(**known))
        gradients = carried[len(names) :]
        return turn(self.rule, self._k(clock), (worker, visit), gradients, self._center, self._latest, self.p)

    def _begin(self, worker: int, clock: int) -> Reply:
        """It begins at the center's x, and goes on at a clock."""
        self._record(worker, True, clock)
        self._next[worker], self._pulled[worker] = clock, self._version
        if self._latest:
            self._latest[worker] = self._first_message(clock)
        return Reply(Verdict.BEGIN, clock, self._center)

    def _first_message(self, clock: int) -> Tensor:
        """What a worker stands for that begins at the center's x, until it visits."""
        worker = beginning(self.rule, self._center.x)[0]
        sent: Tensor = message(self.rule, self._k(clock), worker, worker, self._center)
        return sent

    def _record(self, worker: int, begins: bool, clock: int) -> None:
        seconds = time.monotonic() - self._began
        self._order.append(worker, begins, clock, self._pulled[worker], self._version, seconds)

    def state(self) -> dict[str, Tensor]:
        """All that another process needs to go on from here; tensors that will not change."""
        with self._lock:
            arrivals = self._order.arrivals()
            numbers = {
                "next": self._next,
                "pulled": self._pulled,
                "incarnations": self._incarnations,
                "version": self._version,
                "refused": self.refused,
                "averaged": self._average.t if self._average else 0,
                "seconds": time.monotonic() - self._began,
            } | {f"roll.{name}": value for name, value in self.roll.state().items()}
            return (
                {"start": self._start}
                | {f"center.{name}": value for name, value in self._center._asdict().items()}
                | {f"message.{i}": value for i, value in self._latest.items()}
                | ({"average": self._average.z} if self._average else {})
                | {f"order.{name}": torch.from_numpy(arrivals[name].copy()) for name in COLUMNS}
                | {name: torch.tensor(value, dtype=_dtype(name)) for name, value in numbers.items()}
            )

    def _restore(self, state: Mapping[str, Tensor]) -> None:
        def variable(name: str) -> Tensor:
            return state[name].to(self._start)

        self._center = self.rule.Center(*(variable(f"center.{name}") for name in self.rule.center))
        self._latest = {i: variable(f"message.{i}") for i in self._latest}
        if self._average:
            self._average.z, self._average.t = variable("average"), int(state["averaged"])
        rows = np.zeros(len(state["order.worker"]), dtype=ARRIVAL)
        for name in COLUMNS:
            rows[name] = state[f"order.{name}"].numpy()
        self._order = Order(rows)
        self._next, self._pulled = state["next"].tolist(), state["pulled"].tolist()
        self._incarnations, self._version = state["incarnations"].tolist(), int(state["version"])
        self.refused = [(worker, clock) for worker, clock in state["refused"].tolist()]
        self.roll = Roll(self.p, {name: state[f"roll.{name}"].tolist() for name in self.roll.state()})
        self._began, self._start = time.monotonic() - float(state["seconds"]), variable("start")


def _dtype(name: str) -> torch.dtype:
    return torch.float64 if name == "seconds" else torch.int64
