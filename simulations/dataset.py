"""What a simulation records, and the dataset it becomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from json import dumps
from typing import TYPE_CHECKING, Any

import numpy as np

from easgd_theory.algorithm import Algorithm
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
    workers: bool = False
    statistics: bool = False

    def layout(self, rule: type[Algorithm], p: int, d: int) -> tuple[Columns, int]:
        """Where a row of the record has what, and its width; the center comes first."""
        sizes = {"worker_mean": d, "spread": 1, "loss": 1, "workers": len(rule.worker) * p * d}
        columns, width = {}, d
        for name, size in sizes.items():
            columns[name] = width if getattr(self, name) else -1
            width += size if getattr(self, name) else 0
        return Columns(**columns), width


CENTER_ONLY = Record()


def dataset(run: Run, attributes: dict[str, Any]) -> xr.Dataset:
    """The record with names, in the dimensions (replica, round, ...) or (statistic, round, ...)."""
    import xarray as xr

    problem, diverged = run.problem, run.diverged().astype(float)
    diverged[diverged < 0] = np.nan
    if run.moments is None:
        leading, values = "replica", run.record.transpose(2, 0, 1)
    else:
        leading, values = "statistic", np.array([run.moments.mean, run.moments.variance()])
    variables = {name: ((leading, "round", *dims), data) for name, dims, data in _observables(problem, values)}
    coordinates = {}
    if run.moments is not None:
        variables["count"] = (("round",), run.moments.number[:, 0])
        coordinates["statistic"] = ["mean", "variance"]
    return xr.Dataset({**variables, "diverged": (("replica",), diverged)}, coordinates, attributes)


def _observables(problem: Problem, values: np.ndarray) -> Iterator[tuple[str, tuple[str, ...], np.ndarray]]:
    """Names, further dimensions and values, of shape (replicas or statistics, rounds, ...)."""
    columns, d, p = problem.columns, problem.d, problem.p
    yield "center", ("coordinate",), values[:, :, :d]
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
        "objective": type(objective).__name__,
        **{name: _text_or_number(value) for name, value in values.items()},
        "start": "every x is 1, the rest 0" if start is None else _text_or_number(np.asarray(start)),
        "rounds": problem.rounds,
        "replicas": problem.replicas,
        "seed": problem.seed,
        "easgd_version": package_version(),
    }


def _text_or_number(value: Any) -> Any:
    if callable(value):
        return f"a function of the clock, {digest_of(value)}"
    if isinstance(value, bool | np.bool_):
        return int(value)
    array = np.asarray(value)
    if array.ndim == 0:
        return array.item()
    return dumps(array.tolist()) if array.size <= 64 else f"an array of shape {array.shape}, {digest_of(array)}"
