"""What is fixed during a run: sizes, parameters over the clock, the layout of a record, and who acts together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import NamedTuple

import numpy as np

from easgd_theory import visit
from easgd_theory.algorithm import Algorithm, as_number, given_values
from easgd_theory.schedules import Asynchronous, RandomOrder, Schedule, Synchronous
from simulations.compilation import Kernels
from simulations.kernels import CENTER, MEET, MESSAGE
from simulations.objectives import Pieces

_ELEMENTS = 2048  # of a variable of the workers of one block: a few of these fit into the second cache
_LANES = 256
_HERE = "in a simulation"
_DRAWS = 2**16  # of one window of rounds: half a mebibyte
_DRAWS_AT_ONCE = 2**13  # of one that kernels draw themselves, which costs no more for a small one: it stays in a cache


class Columns(NamedTuple):
    """Where the observables beside the center start in a row of a record; -1: not asked for.

    What is known of a round without running it, its `time` and the two columns of `staleness`, stands first.
    """

    time: int
    staleness: int
    worker_mean: int
    spread: int
    loss: int
    workers: int


class Parameters:
    """The algorithm's parameters as rows over the worker's clock; one row where none of them varies."""

    def __init__(self, algorithm: Algorithm) -> None:
        self._functions: dict[int, tuple[str, Callable[[int], float]]] = {}
        constants = {}
        for i, (name, value) in enumerate(given_values(algorithm).items()):
            if callable(value):
                self._functions[i] = (name, value)
                constants[name] = np.nan
            else:
                constants[name] = as_number(name, value, _HERE)
        self._constant = np.array([algorithm.pack(constants)], dtype=float)
        self._rows = self._constant[:0]
        self._lock = Lock()

    @property
    def vary(self) -> bool:
        return bool(self._functions)

    def rows(self, first: int, last: int) -> np.ndarray:
        """The parameters at the clocks first, ..., last - 1; shape (last - first, parameters), or (1, parameters)."""
        if not self.vary:
            return self._constant
        with self._lock:
            known = len(self._rows)
            if known < last:
                more = np.repeat(self._constant, last - known, axis=0)
                for i, (name, function) in self._functions.items():
                    more[:, i] = [as_number(f"{name} at clock {t}", function(t), _HERE) for t in range(known, last)]
                self._rows = np.concatenate([self._rows, more])
            return self._rows[first:last]


@dataclass(frozen=True, eq=False)
class Problem:
    """One run, without its state.

    Attributes
    ----------
    d : int
        Coordinates.
    columns : Columns
        The layout of a row of the record, `width` columns wide; the center is its beginning.
    """

    algorithm: Algorithm
    schedule: Schedule
    pieces: Pieces
    d: int
    rounds: int
    replicas: int
    seed: int
    columns: Columns
    width: int
    parameters: Parameters
    kernels: Kernels

    @cached_property
    def p(self) -> int:
        return self.schedule.workers()

    @cached_property
    def tau(self) -> int:
        return self.schedule.tau

    @cached_property
    def steps(self) -> tuple[int, int]:
        return visit.steps(type(self.algorithm), self.tau)

    @cached_property
    def phases(self) -> np.ndarray:
        numbers = {"meet": MEET, "message": MESSAGE, "center": CENTER}
        return np.array([numbers[phase] for phase in visit.phases(type(self.algorithm))])

    @cached_property
    def x(self) -> int:
        """The place of x among the worker's variables."""
        return type(self.algorithm).worker.index("x")

    @cached_property
    def at_once(self) -> bool:
        """Whether this is the case of `kernels.rounds_at_once`."""
        together = self.group == self.p and not self.drawn
        simple = self.pieces.gradient is None and not self.parameters.vary
        return together and simple and self.tau == 1 and self.phases.tolist() == [MEET, MESSAGE, CENTER]

    @cached_property
    def lone(self) -> bool:
        """Whether this is the case of `kernels.rounds_of_one`."""
        simple = self.pieces.term is not None and self.columns.workers < 0
        return self.at_once and self.d * self.lanes == 1 and simple

    @cached_property
    def asynchronous(self) -> Asynchronous | None:
        """The schedule, if it goes by events."""
        return self.schedule if isinstance(self.schedule, Asynchronous) else None

    @cached_property
    def split(self) -> bool:
        """Whether a visit is two events."""
        return self.asynchronous is not None and self.asynchronous.split

    @cached_property
    def events(self) -> int:
        """Of one round of visits one at a time."""
        return 2 * self.p if self.split else self.p

    @cached_property
    def drawn(self) -> bool:
        """Whether the order of the visits is another one each time."""
        return isinstance(self.schedule, RandomOrder | Asynchronous)

    @cached_property
    def group(self) -> int:
        """How many workers act together."""
        return self.p if isinstance(self.schedule, Synchronous) else 1

    @cached_property
    def lanes(self) -> int:
        """Replicas of one block; one where each has its own parameters at a time, or its own events."""
        if (self.drawn and self.parameters.vary) or self.asynchronous is not None:
            return 1
        return min(max(1, min(_LANES, _ELEMENTS // (self.p * self.d))), self.replicas)

    @cached_property
    def window(self) -> int:
        """Rounds for which random numbers are drawn at a time; an even number, as evaluations are drawn in pairs."""
        draws = self.tau * max(len(self.pieces.variates), 1) * self.p * self.d * self.lanes
        return max(2, (_DRAWS_AT_ONCE if self.at_once else _DRAWS) // draws // 2 * 2)
