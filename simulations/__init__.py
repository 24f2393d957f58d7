"""What the algorithms do: simulations of many replicas, the update rules being those of `easgd_theory`, compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from easgd_theory.lazily import exports

if TYPE_CHECKING:
    from simulations.dataset import Record
    from simulations.objectives import DoubleWell, LinearRegression, LogisticRegression, Quadratic
    from simulations.run import simulate

_HOME = {
    "dataset": "Record",
    "objectives": "DoubleWell LinearRegression LogisticRegression Quadratic",
    "run": "simulate",
}

__all__ = [
    "DoubleWell",
    "LinearRegression",
    "LogisticRegression",
    "Quadratic",
    "Record",
    "simulate",
]

__getattr__, __dir__ = exports(__name__, _HOME)
