"""The course of a run: blocks of replicas on the threads, chunks of rounds one after the other, states kept between."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numba
import numpy as np

from simulations.blocks import run
from simulations.observables import Sheet
from simulations.problem import Problem
from simulations.state import Block, State
from simulations.statistics import Moments, merge, moments

SAVE_EVERY = 30.0
"""Seconds between two states that are kept on disk."""

_CHUNK = 2**26  # gradient entries between two looks at the clock: a fraction of a second
_ALONE = 16  # times as long takes an entry of a visit at random
_WINDOWS = 4  # at least, of a chunk: what it takes to begin one is then of no weight

Progress = Callable[[int, int], None]


class Run:
    """A problem with its state and its record."""

    def __init__(self, problem: Problem, start: np.ndarray, statistics_only: bool) -> None:
        self.problem, self.done, self.whole = problem, 0, True
        rows, columns, replicas = problem.rounds + 1, problem.width, problem.replicas
        self.moments = Moments.nothing(rows, columns) if statistics_only else None
        self.record = np.empty((0, 0, 0)) if statistics_only else np.empty((rows, columns, replicas))
        self.blocks = [
            _block(problem, first, min(problem.lanes, replicas - first), start)
            for first in range(0, replicas, problem.lanes)
        ]

    def finish(self, progress: Progress | None, path: Path | None, identity: str) -> None:
        """Go through all rounds, from the state at `path` if there is one."""
        if path is not None and path.exists():
            self._go_on(State.load(path), path, identity)
        saved, saved_at, rounds = self.done, time.monotonic(), self.problem.rounds
        threads = vars(numba.config)["NUMBA_NUM_THREADS"]
        # Beside this thread where there are several blocks, or where an interrupt must not tear one apart.
        apart = min(threads, len(self.blocks)) > 1 or path is not None
        with ThreadPoolExecutor(threads) if apart else nullcontext() as beside:
            try:
                while self.done <= rounds:
                    interrupted = self._advance(min(self.done + self._chunk(), rounds + 1), beside)
                    if interrupted:
                        raise KeyboardInterrupt
                    if progress is not None:
                        progress(self.done - 1, rounds)
                    if path is not None and time.monotonic() - saved_at > SAVE_EVERY:
                        self._state(identity).save(path)
                        saved, saved_at = self.done, time.monotonic()
            finally:
                if path is not None and self.done > saved and self.whole:
                    self._state(identity).save(path)

    def never_is_nan(self, name: str) -> np.ndarray:
        """Per replica the round of what a block calls `diverged` or `ended`; nan where it did not happen."""
        rounds = np.concatenate([getattr(block, name) for block in self.blocks])
        return np.where(rounds < 0, np.nan, rounds)

    def _chunk(self) -> int:
        problem = self.problem
        work = problem.p * problem.d * problem.tau * problem.replicas * (_ALONE if problem.drawn else 1)
        return problem.window * max(_WINDOWS, _CHUNK // work // problem.window)

    def _advance(self, last: int, pool: Executor | None) -> bool:
        """All blocks up to the round `last`; says whether the user wanted to interrupt them meanwhile."""
        first, problem, self.whole = self.done, self.problem, False

        def recorded(block: Block) -> Moments | None:
            if self.moments is None:
                run(problem, block, first, last, Sheet(self.record, 0, block.first, block.lanes))
                return None
            record = np.empty((last - first, problem.width, block.lanes))
            run(problem, block, first, last, Sheet(record, first, 0, block.lanes))
            return moments(record)

        futures = [pool.submit(recorded, block) for block in self.blocks] if pool else []
        interrupted = bool(futures) and _wait(futures)
        for more in (future.result() for future in futures) if pool else map(recorded, self.blocks):
            if self.moments is not None and more is not None:
                merge(self.moments.part(first, last), more)
        self.done, self.whole = last, True
        return interrupted

    def _state(self, identity: str) -> State:
        record = self.record[: self.done] if self.moments is None else np.array(self.moments.part(0, self.done))
        return State.of(identity, self.done, record, self.blocks)

    def _go_on(self, state: State, path: Path, identity: str) -> None:
        if state.identity != identity:
            raise ValueError(f"checkpoint must belong to this very run, but {path} is the state of another")
        if state.done > self.problem.rounds + 1:
            raise ValueError(f"rounds must be at least the {state.done - 1} that {path} has, got {self.problem.rounds}")
        self.done = state.done
        for block in self.blocks:
            state.put_into(block)
        if self.moments is None:
            self.record[: state.done] = state.record
        else:
            for mine, theirs in zip(self.moments.part(0, state.done), state.record, strict=True):
                mine[...] = theirs


def _block(problem: Problem, first: int, lanes: int, start: np.ndarray) -> Block:
    """The block at the start; `start` has the shape (replicas or 1, variables of all, d)."""
    rule, p, d = type(problem.algorithm), problem.p, problem.d
    mine = start[first : first + lanes] if len(start) > 1 else np.repeat(start, lanes, axis=0)
    by_lane = mine.transpose(1, 2, 0)
    count = len(rule.worker)
    workers = by_lane[: p * count].reshape(p, count, d * lanes).transpose(1, 0, 2).reshape(count, p * d * lanes)
    center = by_lane[p * count :].reshape(len(rule.center), d * lanes)
    center = np.ascontiguousarray(center)
    workers = np.ascontiguousarray(workers)
    by_event = p if problem.asynchronous else 0
    return Block(
        first=first,
        workers=workers,
        center=center,
        diverged=np.full(lanes, -1),
        ended=np.full(lanes, -1),
        clocks=np.zeros((p if problem.drawn else 0, lanes), dtype=np.int64),
        due=np.zeros((by_event, lanes)),
        events=np.zeros((by_event, lanes), dtype=np.int64),
        seen=np.zeros((by_event, lanes), dtype=np.int64),
        known=workers.copy() if problem.split else workers[:, :0],
        pulled=np.tile(center, (1, p)) if problem.split else center[:, :0],
    )


def _wait(futures: list[Future[Any]]) -> bool:
    """Wait for all, even if the user interrupts: a state is whole only between chunks, and they are short."""
    interrupted = False
    while True:
        try:
            wait(futures)
            return interrupted
        except KeyboardInterrupt:
            interrupted = True
