"""What the algorithms do: simulations of many replicas, the update rules being those of `easgd_theory`, compiled."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulations.dataset import Record
    from simulations.objectives import DoubleWell, LinearRegression, LogisticRegression, Quadratic
    from simulations.run import simulate

_HOME = {
    "dataset": "Record",
    "objectives": "DoubleWell LinearRegression LogisticRegression Quadratic",
    "run": "simulate",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = [
    "DoubleWell",
    "LinearRegression",
    "LogisticRegression",
    "Quadratic",
    "Record",
    "simulate",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module at first use (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
