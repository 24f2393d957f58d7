"""What a command line asks about: an algorithm, a schedule, the parameters. Flags come from the registry."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from easgd_theory.algorithm import Algorithm
from easgd_theory.algorithms import ALGORITHMS
from easgd_theory.schedules import RoundRobin, Schedule, Synchronous

SCHEDULES: dict[str, type[Schedule]] = {"round-robin": RoundRobin, "synchronous": Synchronous}


@contextmanager
def one_sentence() -> Iterator[None]:
    """Pass the library's sentence about a bad value on as the command line's."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from None


def flag(name: str) -> str:
    """The flag of a parameter."""
    return "--" + name.replace("_", "-")


def listed(names: Collection[str], last: str = "and") -> str:
    """The names as English lists them."""
    *first, end = names
    return f"{', '.join(first)} {last} {end}" if first else end


@dataclass(frozen=True)
class Question:
    """An algorithm on a schedule, with the values that were given.

    Attributes
    ----------
    algorithm : type
        The algorithm's record.
    schedule_name : str
        ``"round-robin"`` or ``"synchronous"``.
    p : int, inf or None
        Number of workers; None where it was not given, inf for the limit of infinitely many.
    tau : int
        Communication period.
    h : float or None
        Curvature; None stands for 1.
    values : mapping
        Parameters and yes-or-no options that were given.
    """

    algorithm: type[Algorithm]
    schedule_name: str
    p: int | float | None
    tau: int
    h: float | None
    values: Mapping[str, float]

    @property
    def curvature(self) -> float:
        """The curvature, 1 where none was given."""
        return 1.0 if self.h is None else self.h

    def schedule(self) -> Schedule:
        """The schedule; raises UsageError where the algorithm is not defined on it."""
        name, p = self.algorithm.__name__, self.p
        if p is None and "p" in self.algorithm.requires_one:
            p = 1
        if p is None:
            raise click.UsageError(f"{name} needs --p, the number of workers: a whole number of at least 1")
        with one_sentence():
            schedule = SCHEDULES[self.schedule_name](p=p, tau=self.tau)
            self.algorithm.check(schedule)
        return schedule

    def record(self, varying: Collection[str] = ()) -> Algorithm:
        """The algorithm with its values; `varying` names the parameters that get theirs later."""
        name, parameters = self.algorithm.__name__, self.algorithm.parameters()
        takes = listed([flag(known) for known in (*parameters, *self.algorithm.options())])
        for given, value in self.values.items():
            if given not in (*parameters, *self.algorithm.options()):
                shown = flag(given) if isinstance(value, bool) else f"{flag(given)} {value:g}"
                raise click.UsageError(f"{name} has no parameter {given}, got {shown}; it takes {takes}")
        missing = [flag(known) for known in parameters if known not in self.values and known not in varying]
        if missing:
            kind = "a finite number" if len(missing) == 1 else "finite numbers"
            raise click.UsageError(f"{name} needs {listed(missing)}: {kind}")
        return self.algorithm(**self.values)


class AlgorithmName(click.ParamType):
    """A registered algorithm, in any case."""

    name = "algorithm"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Find the record of an algorithm."""
        if not isinstance(value, str):
            return value
        if value.lower() in ALGORITHMS:
            return ALGORITHMS[value.lower()]
        close = difflib.get_close_matches(value.lower(), ALGORITHMS, n=1)
        hint = f", did you mean {close[0]}?" if close else ""
        raise click.UsageError(f"unknown algorithm {value!r}{hint} (known are {listed(list(ALGORITHMS))})")


class FiniteNumber(click.ParamType):
    """A float that is neither nan nor infinite."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a number."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise click.UsageError(f"{_shown(param)} must be a finite number, got {value!r}")
        return number


class Count(click.ParamType):
    """A whole number of at least 1."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read a count."""
        try:
            number = int(value)
        except ValueError:
            number = 0
        if number < 1:
            raise click.UsageError(f"{_shown(param)} must be a whole number of at least 1, got {value!r}")
        return number


class Workers(Count):
    """A number of workers, or inf for the limit of infinitely many."""

    name = "integer or inf"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a number of workers."""
        return math.inf if str(value).lower() == "inf" else super().convert(value, param, ctx)


def _shown(param: click.Parameter | None) -> str:
    return param.opts[0] if param is not None else "the value"


def question_parameters() -> list[click.Parameter]:
    """The argument ALGORITHM and its flags, read from the registry as it is now; `asked` collects what was given."""
    fixed = [
        click.Option(["--p"], type=Workers(), help="Number of workers, inf for the limit; a sequential method has 1."),
        click.Option(
            ["--tau"], type=Count(), default=1, show_default=True, help="Communication period: steps per exchange."
        ),
        click.Option(["--h"], type=FiniteNumber(), help="Curvature, an eigenvalue of the Hessian.  [default: 1]"),
        click.Option(
            ["--schedule"],
            type=click.Choice(list(SCHEDULES)),
            default="round-robin",
            show_default=True,
            help="Who meets the center when.",
        ),
    ]
    parameters = [
        click.Option([flag(name)], type=FiniteNumber(), help=f"Of {listed(owners)}.")
        for name, owners in _owners(lambda algorithm: algorithm.parameters()).items()
    ]
    switches = [
        click.Option([flag(name)], is_flag=True, help=f"Option of {listed(owners)}.")
        for name, owners in _owners(lambda algorithm: algorithm.options()).items()
    ]
    question: list[click.Parameter] = [
        click.Argument(["algorithm"], type=AlgorithmName(), required=False, metavar="ALGORITHM"),
        *fixed,
        *parameters,
        *switches,
    ]
    for parameter in question:  # collected, not passed on: the commands' signatures do not depend on the registry
        parameter.expose_value = False
        parameter.callback = _collect
    return question


def _owners(names: Callable[[type[Algorithm]], tuple[str, ...]]) -> dict[str, list[str]]:
    """Names of all parameters (or options), each with the algorithms that have it."""
    owners: dict[str, list[str]] = {}
    for algorithm in ALGORITHMS.values():
        for name in names(algorithm):
            owners.setdefault(name, []).append(algorithm.__name__)
    return owners


_COLLECTED = "easgd_cli.question"


def _collect(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    context.meta.setdefault(_COLLECTED, {})[parameter.name] = value
    return value


def asked(context: click.Context) -> Question:
    """The question that a command line with `question_parameters` asks."""
    given = dict(context.meta[_COLLECTED])
    algorithm, schedule_name, p, tau, h = (given.pop(name) for name in ("algorithm", "schedule", "p", "tau", "h"))
    if algorithm is None:  # click would not say what is accepted
        raise click.UsageError(f"ALGORITHM is missing: one of {listed(list(ALGORITHMS), 'or')}")
    # a switch that was not given is False, a parameter None: both leave the record's default alone
    values = {name: value for name, value in given.items() if value is not None and value is not False}
    return Question(algorithm, schedule_name, p, tau, h, values)
