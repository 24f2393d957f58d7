"""`simulate`: what an algorithm does on an objective, as a dataset."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from easgd_theory.algorithm import Algorithm, as_real
from easgd_theory.schedules import Asynchronous, RandomOrder, RoundRobin, Schedule, Synchronous
from simulations.compilation import digest_of, kernels_of
from simulations.dataset import CENTER_ONLY, Record, attributes, dataset, package_version
from simulations.engine import Run
from simulations.objectives import Objective
from simulations.problem import Parameters, Problem
from simulations.streams import WORKER_BITS

if TYPE_CHECKING:
    import xarray as xr


def simulate(
    algorithm: Algorithm,
    schedule: Schedule,
    objective: Objective,
    *,
    rounds: int,
    replicas: int = 1,
    seed: int = 0,
    start: Any = 1.0,
    record: Record = CENTER_ONLY,
    progress: Callable[[int, int], None] | None = None,
    checkpoint: str | PathLike[str] | None = None,
) -> xr.Dataset:
    r"""Run an algorithm on an objective, many independent replicas of it at once.

    Parameters
    ----------
    algorithm : Algorithm
        All parameters given: numbers, or functions of the worker's clock, the number of gradient steps that it has
        made.
    schedule : Synchronous, RoundRobin, RandomOrder or Asynchronous
        With its number of workers p.
    objective : Objective
        Such as `Quadratic`.
    rounds : int
        How many rounds, at least 0. A round is p visits where workers act one at a time.
    replicas : int, default 1
        Independent runs.
    seed : int, default 0
        Below 2^63. The same seed gives the same bits, whatever the number of threads, on the same machine and with the
        same versions; replica 7 is the same among 8 and among 8000.
    start : float or array of shape (n,), (n, d) or (replicas, n, d), default 1.0
        Where every x starts, the rest being 0; or all variables, in the order of ``iteration_map(...).state``.
    record : Record, optional
        What to record beside the center; by default nothing.
    progress : callable, optional
        Called with the rounds done and the rounds to do, from time to time.
    checkpoint : path, optional
        A file for the state of the run, written about twice a minute and when the run ends or is interrupted. If it
        exists the run goes on from there, to the same bits.

    Returns
    -------
    xarray.Dataset
        ``center`` with the dimensions (replica, round, coordinate), round 0 being the start, and what `record` asks
        for; of an algorithm without a center, its iterate. ``diverged`` holds the first round at which a variable of a
        replica exceeded 1e150, nan if none did; from there on everything recorded is nan. Of an `Asynchronous` schedule
        there are ``time``, the simulated seconds at the end of each round unless the order was given, and ``ended``:
        the first round that was not completed because every worker had died, nan if there was none; from there on, too,
        everything is nan. With
        ``Record(statistics=True)`` the dimension ``statistic`` (mean, variance) takes the place of the replicas, and
        ``count`` says how many had not diverged.

    Raises
    ------
    TypeError, ValueError
        A bad value, or a pair of algorithm and schedule that is not defined.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651, Sections 3 and 4.

    Examples
    --------
    >>> from easgd_theory import EASGD, Synchronous
    >>> from simulations import Quadratic, simulate
    >>> run = simulate(EASGD(eta=0.5, alpha=0.1), Synchronous(p=4), Quadratic(h=1.0), rounds=2)
    >>> run.center.values.ravel().round(6).tolist()
    [1.0, 1.0, 0.8]
    """
    problem, first = _problem(algorithm, schedule, objective, rounds, replicas, seed, start, record)
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and not path.parent.is_dir():
        raise ValueError(f"checkpoint must be in a directory that exists, got {str(path)!r}")
    run = Run(problem, first, record.statistics)
    run.finish(progress, path, "" if path is None else _identity(problem, objective, first, record))
    return dataset(run, attributes(problem, objective, start))


def _problem(
    algorithm: Algorithm,
    schedule: Schedule,
    objective: Objective,
    rounds: int,
    replicas: int,
    seed: int,
    start: Any,
    record: Record,
) -> tuple[Problem, np.ndarray]:
    """The run, checked, and its start as an array of shape (replicas or 1, n, d)."""
    if not isinstance(algorithm, Algorithm):
        raise TypeError(f"algorithm must be an algorithm such as EASGD(eta=0.1, alpha=0.1), got {algorithm!r}")
    if not isinstance(schedule, Synchronous | RoundRobin | RandomOrder | Asynchronous):
        raise TypeError(f"schedule must be Synchronous, RoundRobin, RandomOrder or Asynchronous, got {schedule!r}")
    if not isinstance(objective, Objective):
        raise TypeError(f"objective must be an objective such as Quadratic(h=1.0), got {objective!r}")
    if not isinstance(record, Record):
        raise TypeError(f"record must be a Record, such as Record(loss=True), got {record!r}")
    rule = type(algorithm)
    algorithm.check(schedule)
    _check_variables(rule)
    rounds = _whole("rounds", rounds, 0, 2**40)
    if isinstance(schedule, Asynchronous):
        _check_events(rule, schedule, rounds)
    elif record.staleness:
        raise ValueError(f"staleness is recorded of an Asynchronous schedule only, got {schedule!r}")
    replicas = _whole("replicas", replicas, 1, 2 ** (64 - WORKER_BITS))
    seed = _whole("seed", seed, 0, 2**63)
    p = _whole("p", schedule.workers(), 1, 2**WORKER_BITS)
    first = _start(rule, p, replicas, objective.dimension(), start)
    d = first.shape[2]
    pieces = objective.pieces(p, d)
    timed = isinstance(schedule, Asynchronous) and schedule.order is None
    columns, width = record.layout(rule, p, d, timed)
    problem = Problem(
        algorithm, schedule, pieces, d, rounds, replicas, seed, columns, width, Parameters(algorithm),
        kernels_of(algorithm, pieces),
    )  # fmt: skip
    return problem, first


def _check_variables(rule: type[Algorithm]) -> None:
    if "x" not in rule.worker or (rule.center and "x" not in rule.center):
        raise ValueError(f"{rule.__name__} must call a variable of the worker and of the center x to be simulated")


def _check_events(rule: type[Algorithm], schedule: Asynchronous, rounds: int) -> None:
    if schedule.split and not rule.center:
        raise ValueError(f"split must be False for {rule.__name__}: it has no center to pull or to push to")
    needed = rounds * schedule.workers() * (1 + schedule.split)
    if schedule.order is not None and len(schedule.order) < needed:
        raise ValueError(f"order must have {needed} entries for {rounds} rounds, got {len(schedule.order)}")


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if not low <= value < high:
        raise ValueError(f"{name} must be at least {low} and below {high}, got {value}")
    return int(value)


def _start(rule: type[Algorithm], p: int, replicas: int, dimension: int | None, start: Any) -> np.ndarray:
    n = p * len(rule.worker) + len(rule.center)
    state = as_real("start", start)
    shape = state.shape
    if state.ndim == 0:
        state = np.where([name == "x" for name in (*rule.worker * p, *rule.center)], state, 0.0)
    if state.ndim == 1:
        state = np.repeat(state[:, None], dimension or 1, axis=1)
    if state.ndim == 2:
        state = state[None]
    if state.ndim != 3 or len(state) not in (1, replicas) or state.shape[1] != n or state.shape[2] == 0:
        raise ValueError(
            f"start must be a number or have the shape ({n},), ({n}, d) or ({replicas}, {n}, d), got {shape}"
        )
    if dimension not in (None, state.shape[2]):
        raise ValueError(f"start must have the objective's d={dimension} coordinates, got the shape {shape}")
    return state


def _identity(problem: Problem, objective: Objective, first: np.ndarray, record: Record) -> str:
    """A digest of everything that decides about the bits of the run."""
    names = (*problem.algorithm.parameters(), *problem.algorithm.options())
    values = [(name, getattr(problem.algorithm, name)) for name in names]
    return digest_of(
        problem.kernels.rounds.__qualname__,
        values,
        type(problem.schedule).__name__,
        [value if isinstance(value, np.ndarray) else repr(value) for value in vars(problem.schedule).values()],
        (type(objective).__name__, list(objective.parameters().items())),
        (problem.replicas, problem.seed, repr(record), problem.lanes),
        first,
        (np.__version__, package_version()),
    )
