"""What a simulation records, and the dataset it becomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import version
from json import dumps
from typing import TYPE_CHECKING, Any

import numpy as np

from easgd_theory.algorithm import Algorithm
from easgd_theory.schedules import Schedule
from simulations.compilation import digest_of
from simulations.engine import Run
from simulations.objectives import Objective
from simulations.problem import Columns, Problem

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Record:
    r"""What a simulation records beside the center.

    Parameters
    ----------
    worker_mean : bool, default False
        The mean of the workers' x.
    spread : bool, default False
        The mean over the workers of :math:`|x^i - \tilde x|^2`.
    loss : bool, default False
        The objective at the center.
    staleness : bool, default False
        Of an `Asynchronous` schedule how many messages of others a worker's message finds absorbed since that worker
        last pulled the center (in an atomic exchange: since its last visit): mean and maximum over a round.
    workers : bool, default False
        Every variable of every worker.
    statistics : bool, default False
        Of all these only mean and variance over the replicas that have not diverged, which takes no room for each
        replica.

    References
    ----------
    Chan, Golub, LeVeque (1983), The American Statistician 37: the variance from blocks.

    Examples
    --------
    >>> Record(loss=True).spread
    False
    """

    worker_mean: bool = False
    spread: bool = False
    loss: bool = False
    staleness: bool = False
    workers: bool = False
    statistics: bool = False

    def layout(self, rule: type[Algorithm], p: int, d: int, timed: bool = False) -> tuple[Columns, int]:
        """Where a row of the record has what, and its width; the center comes first."""
        sizes = {
            "time": 1,
            "staleness": 2,
            "worker_mean": d,
            "spread": 1,
            "loss": 1,
            "workers": len(rule.worker) * p * d,
        }
        wanted = {name: getattr(self, name) for name in sizes if name != "time"} | {"time": timed}
        columns, width = {}, d
        for name, size in sizes.items():
            columns[name] = width if wanted[name] else -1
            width += size if wanted[name] else 0
        return Columns(**columns), width


CENTER_ONLY = Record()


def dataset(run: Run, attributes: dict[str, Any]) -> xr.Dataset:
    """The record with names, in the dimensions (replica, round, ...) or (statistic, round, ...)."""
    import xarray as xr

    problem = run.problem
    if run.moments is None:
        leading, values = "replica", run.record.transpose(2, 0, 1)
    else:
        leading, values = "statistic", np.array([run.moments.average(), run.moments.variance()])
    variables = {name: ((leading, "round", *dims), data) for name, dims, data in _observables(problem, values)}
    variables["diverged"] = (("replica",), run.never_is_nan("diverged"))
    if problem.asynchronous:
        variables["ended"] = (("replica",), run.never_is_nan("ended"))
    coordinates = {}
    if run.moments is not None:
        variables["count"] = (("round",), run.moments.number[:, 0])
        coordinates["statistic"] = ["mean", "variance"]
    return xr.Dataset(variables, coordinates, attributes)


def _observables(problem: Problem, values: np.ndarray) -> Iterator[tuple[str, tuple[str, ...], np.ndarray]]:
    """Names, further dimensions and values, of shape (replicas or statistics, rounds, ...)."""
    columns, d, p = problem.columns, problem.d, problem.p
    yield "center", ("coordinate",), values[:, :, :d]
    if columns.time >= 0:
        yield "time", (), values[:, :, columns.time]
    if columns.staleness >= 0:
        yield "staleness", (), values[:, :, columns.staleness]
        yield "largest_staleness", (), values[:, :, columns.staleness + 1]
    if columns.worker_mean >= 0:
        yield "worker_mean", ("coordinate",), values[:, :, columns.worker_mean : columns.worker_mean + d]
    if columns.spread >= 0:
        yield "spread", (), values[:, :, columns.spread]
    if columns.loss >= 0:
        yield "loss", (), values[:, :, columns.loss]
    if columns.workers >= 0:
        for i, name in enumerate(type(problem.algorithm).worker):
            first = columns.workers + i * p * d
            mine = values[:, :, first : first + p * d]
            yield f"worker_{name}", ("worker", "coordinate"), mine.reshape(*mine.shape[:2], p, d)


@cache
def package_version() -> str:
    """The installed version; to look it up takes longer than a short simulation."""
    return version("easgd")


def attributes(problem: Problem, objective: Objective, start: Any) -> dict[str, Any]:
    """All parameters, as files can hold them: numbers and texts."""
    algorithm = problem.algorithm
    names = (*algorithm.parameters(), *algorithm.options())
    values = {name: getattr(algorithm, name) for name in names} | objective.parameters()
    return {
        "algorithm": type(algorithm).__name__,
        "schedule": type(problem.schedule).__name__,
        "p": problem.p,
        "tau": problem.tau,
        **_settings(problem.schedule),
        "objective": type(objective).__name__,
        **{name: _text_or_number(value) for name, value in values.items()},
        "start": _text_or_number(np.asarray(start)),
        "rounds": problem.rounds,
        "replicas": problem.replicas,
        "seed": problem.seed,
        "easgd_version": package_version(),
    }


def _settings(schedule: Schedule) -> dict[str, Any]:
    """What a schedule has beside p and tau."""
    values = {field.name: getattr(schedule, field.name) for field in fields(schedule)}
    plain = (bool, float, np.ndarray)
    return {
        name: _text_or_number(value if isinstance(value, plain) else _abbreviated(repr(value)))
        for name, value in values.items()
        if name not in ("p", "tau")
    }


def _abbreviated(text: str) -> str:
    return text if len(text) <= 1000 else f"{text[:500]} ... {digest_of(text)}"


def _text_or_number(value: Any) -> Any:
    if callable(value):
        return f"a function of the clock, {digest_of(value)}"
    if isinstance(value, bool | np.bool_):
        return int(value)
    array = np.asarray(value)
    if array.ndim == 0:
        return array.item()
    return dumps(array.tolist()) if array.size <= 64 else f"an array of shape {array.shape}, {digest_of(array)}"
