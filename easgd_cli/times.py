"""How long things take in an asynchronous simulation, from the command line."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click

from easgd_cli.question import FiniteNumbers, collected, flag, given, listed, one_sentence
from easgd_theory.times import Deterministic, Exponential, Lognormal, Pareto, Times

TIMES: dict[str, type[Times]] = {
    "deterministic": Deterministic,
    "exponential": Exponential,
    "lognormal": Lognormal,
    "pareto": Pareto,
}


class TimesType(click.ParamType):
    """NAME:MEAN, with :SHAPE where the distribution has one."""

    name = "name:mean[:shape]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Times:
        """Read a distribution."""
        if isinstance(value, Times):
            return value
        option = param.opts[0] if param else "the times"
        name, *texts = value.split(":")
        if name not in TIMES:
            raise click.UsageError(
                f"{option} must be {listed(list(TIMES), 'or')} and its mean in seconds, such as exponential:1, "
                f"got {value!r}"
            )
        takes = [field.name.upper() for field in fields(TIMES[name])]
        try:
            numbers = [float(text) for text in texts]
        except ValueError:
            numbers = []
        if len(numbers) != len(takes):
            raise click.UsageError(f"{option} must be {':'.join([name, *takes])} with numbers, got {value!r}")
        with one_sentence():
            return TIMES[name](*numbers)


def times_parameters() -> list[click.Parameter]:
    """The flags of the asynchronous schedule; `asked_times` collects what was given."""
    return collected(
        [
            click.Option(
                ["--compute"],
                type=TimesType(),
                help="Asynchronous: what a gradient step takes, in simulated seconds, such as lognormal:1:0.3.  "
                "[default: exponential:1]",
            ),
            click.Option(
                ["--communication"],
                type=TimesType(),
                help="Asynchronous: what a trip to the center takes.  [default: deterministic:0]",
            ),
            click.Option(
                ["--speeds"],
                type=FiniteNumbers(),
                help="Asynchronous: the workers' speeds, with commas between them.  [default: 1]",
            ),
            click.Option(["--split"], is_flag=True, help="Asynchronous: push and pull at different times."),
        ]
    )


def asked_times(context: click.Context, schedule_name: str) -> dict[str, Any]:
    """What was given of `times_parameters`; raises UsageError where another schedule is asked for."""
    times = given(context, ("compute", "communication", "speeds", "split"))
    if times and schedule_name != "asynchronous":
        raise click.UsageError(
            f"{listed([flag(name) for name in times])} need --schedule asynchronous, got {schedule_name}"
        )
    return times
