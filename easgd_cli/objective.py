"""What a simulation minimizes, from the command line: an objective's flags are its fields."""

from __future__ import annotations

from dataclasses import fields

import click

from easgd_cli.question import FiniteNumbers, check_known, collected, flag, given, listed, one_sentence
from simulations.objectives import DoubleWell, LinearRegression, Objective, Quadratic

OBJECTIVES: dict[str, type[Objective]] = {
    "quadratic": Quadratic,
    "linear-regression": LinearRegression,
    "double-well": DoubleWell,
}

_MEANING = {
    "h": "Curvature, or with commas the spectrum of the Hessian",
    "noise": "Standard deviation of the gradient noise, of the labels in a regression",
    "deviation": "Standard deviation of a random curvature",
    "variance": "Variance of the inputs, or with commas of each",
    "shape": "Shape of the gamma distribution of the squared inputs",
}


def objective_parameters() -> list[click.Parameter]:
    """The choice of an objective and the flags of all of them; `asked_objective` collects what was given."""
    owners: dict[str, list[str]] = {}
    for name, objective in OBJECTIVES.items():
        for field in _fields(objective):
            owners.setdefault(field, []).append(name)
    chosen = click.Option(
        ["--objective"],
        type=click.Choice(list(OBJECTIVES)),
        default="quadratic",
        show_default=True,
        help="What the workers minimize.",
    )
    options = [
        click.Option([flag(name)], type=FiniteNumbers(), help=f"{_MEANING[name]} ({listed(of)}).")
        for name, of in owners.items()
    ]
    return collected([chosen, *options])


def asked_objective(context: click.Context) -> Objective:
    """The objective on a command line with `objective_parameters`."""
    name = given(context, ["objective"])["objective"]
    values = given(context, {field: None for objective in OBJECTIVES.values() for field in _fields(objective)})
    check_known(f"the objective {name}", values, _fields(OBJECTIVES[name]))
    with one_sentence():
        return OBJECTIVES[name](**values)


def _fields(objective: type[Objective]) -> list[str]:
    return [field.name for field in fields(objective)]  # type: ignore[arg-type]
