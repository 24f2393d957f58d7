"""What a command line asks about: an algorithm, a schedule, the parameters. Flags come from the registry."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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


def check_known(owner: str, values: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise UsageError where a value was given that the owner has no use for."""
    for name, value in values.items():
        if name not in known:
            shown = flag(name) if isinstance(value, bool) else f"{flag(name)} {shown_numbers(value)}"
            takes = listed([flag(other) for other in known])
            raise click.UsageError(f"{owner} has no parameter {name}, got {shown}; it takes {takes}")


def shown_numbers(value: float | Sequence[float]) -> str:
    """One number or several, as they are given."""
    return ",".join(f"{number:g}" for number in (value if isinstance(value, Sequence) else [value]))


@dataclass(frozen=True)
class Setup:
    """An algorithm on a schedule, with the values that were given.

    Attributes
    ----------
    algorithm : type
        The algorithm's record.
    schedule_name : str
        ``"round-robin"``, ``"synchronous"`` or another that the command knows.
    p : int, inf or None
        Number of workers; None where it was not given, inf for the limit of infinitely many.
    tau : int
        Communication period.
    values : mapping
        Parameters and yes-or-no options that were given.
    """

    algorithm: type[Algorithm]
    schedule_name: str
    p: int | float | None
    tau: int
    values: Mapping[str, float]

    def schedule(self, schedules: Mapping[str, Callable[..., Schedule]] = SCHEDULES) -> Schedule:
        """The schedule, of those known by name; raises UsageError where the algorithm is not defined on it."""
        name, p = self.algorithm.__name__, self.p
        if p is None and "p" in self.algorithm.requires_one:
            p = 1
        if p is None:
            raise click.UsageError(f"{name} needs --p, the number of workers: a whole number of at least 1")
        with one_sentence():
            schedule = schedules[self.schedule_name](p=p, tau=self.tau)
            self.algorithm.check(schedule)
        return schedule

    def record(self, varying: Collection[str] = ()) -> Algorithm:
        """The algorithm with its values; `varying` names the parameters that get theirs later."""
        name, parameters = self.algorithm.__name__, self.algorithm.parameters()
        check_known(name, self.values, (*parameters, *self.algorithm.options()))
        missing = [flag(known) for known in parameters if known not in self.values and known not in varying]
        if missing:
            kind = "a finite number" if len(missing) == 1 else "finite numbers"
            raise click.UsageError(f"{name} needs {listed(missing)}: {kind}")
        return self.algorithm(**self.values)


@dataclass(frozen=True)
class Question(Setup):
    """A setup on a curvature.

    Attributes
    ----------
    h : float or None
        Curvature; None stands for 1.
    """

    h: float | None

    @property
    def curvature(self) -> float:
        """The curvature, 1 where none was given."""
        return 1.0 if self.h is None else self.h


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
        number = _finite(value)
        if number is None:
            raise click.UsageError(f"{_shown(param)} must be a finite number, got {value!r}")
        return number


class FiniteNumbers(click.ParamType):
    """One finite float, or several with commas between them."""

    name = "number[,number...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a number as one, several as a list."""
        if not isinstance(value, str):
            return value
        numbers = [number for text in value.split(",") if (number := _finite(text)) is not None]
        if len(numbers) != value.count(",") + 1:
            raise click.UsageError(f"{_shown(param)} must be a finite number, or several such as 1,10, got {value!r}")
        return numbers if len(numbers) > 1 else numbers[0]


def _finite(text: Any) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


class Count(click.ParamType):
    """A whole number of at least `least`."""

    name = "integer"

    def __init__(self, least: int = 1) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read a count."""
        try:
            number = int(value)
        except ValueError:
            number = self.least - 1
        if number < self.least:
            raise click.UsageError(f"{_shown(param)} must be a whole number of at least {self.least}, got {value!r}")
        return number


class Workers(Count):
    """A number of workers, or inf for the limit of infinitely many."""

    name = "integer or inf"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a number of workers."""
        return math.inf if str(value).lower() == "inf" else super().convert(value, param, ctx)


def _shown(param: click.Parameter | None) -> str:
    return param.opts[0] if param is not None else "the value"


def setup_parameters(schedules: Collection[str], workers: Count) -> list[click.Parameter]:
    """The argument ALGORITHM and its flags, read from the registry as it is now; `asked_setup` collects them.

    Parameters
    ----------
    schedules : collection of str
        Names that are accepted.
    workers : Count
        The numbers of workers that are.
    """
    limit = ", inf for the limit" if isinstance(workers, Workers) else ""
    fixed = [
        click.Option(["--p"], type=workers, help=f"Number of workers{limit}; a sequential method has 1."),
        click.Option(
            ["--tau"], type=Count(), default=1, show_default=True, help="Communication period: steps per exchange."
        ),
        click.Option(
            ["--schedule"],
            type=click.Choice(list(schedules)),
            default="round-robin",
            show_default=True,
            help="Who meets the center when.",
        ),
    ]
    return collected(
        [
            click.Argument(["algorithm"], type=AlgorithmName(), required=False, metavar="ALGORITHM"),
            *fixed,
            *record_parameters(),
        ]
    )


def record_parameters() -> list[click.Parameter]:
    """The flags of all algorithms' parameters and options, read from the registry as it is now."""
    parameters = [
        click.Option([flag(name)], type=FiniteNumber(), help=f"Of {listed(owners)}.")
        for name, owners in _owners(lambda algorithm: algorithm.parameters()).items()
    ]
    switches = [
        click.Option([flag(name)], is_flag=True, help=f"Option of {listed(owners)}.")
        for name, owners in _owners(lambda algorithm: algorithm.options()).items()
    ]
    return [*parameters, *switches]


def question_parameters() -> list[click.Parameter]:
    """The parameters of a question about a map, with its curvature; `asked` collects what was given."""
    curvature = click.Option(
        ["--h"], type=FiniteNumber(), help="Curvature, an eigenvalue of the Hessian.  [default: 1]"
    )
    return [*setup_parameters(SCHEDULES, Workers()), *collected([curvature])]


def _owners(names: Callable[[type[Algorithm]], tuple[str, ...]]) -> dict[str, list[str]]:
    """Names of all parameters (or options), each with the algorithms that have it."""
    owners: dict[str, list[str]] = {}
    for algorithm in ALGORITHMS.values():
        for name in names(algorithm):
            owners.setdefault(name, []).append(algorithm.__name__)
    return owners


_COLLECTED = "easgd_cli.question"


def collected(parameters: list[click.Parameter]) -> list[click.Parameter]:
    """The parameters, kept for `given` and not passed on: the commands' signatures do not depend on registries."""
    for parameter in parameters:
        parameter.expose_value = False
        parameter.callback = _collect
    return parameters


def _collect(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    # a switch that was not given is False, a parameter None: both leave the record's default alone
    if value is not None and value is not False:
        context.meta.setdefault(_COLLECTED, {})[parameter.name] = value
    return value


def given(context: click.Context, names: Collection[str]) -> dict[str, Any]:
    """What was given of the parameters of these names."""
    found = context.meta.get(_COLLECTED, {})
    return {name: found[name] for name in names if name in found}


def asked_setup(context: click.Context) -> Setup:
    """The setup on a command line with `setup_parameters`."""
    fixed = given(context, ("algorithm", "schedule", "p", "tau"))
    if "algorithm" not in fixed:  # click would not say what is accepted
        raise click.UsageError(f"ALGORITHM is missing: one of {listed(list(ALGORITHMS), 'or')}")
    return Setup(fixed["algorithm"], fixed["schedule"], fixed.get("p"), fixed["tau"], given_of_record(context))


def given_of_record(context: click.Context) -> dict[str, Any]:
    """What was given of `record_parameters`."""
    names = dict.fromkeys(name for rule in ALGORITHMS.values() for name in (*rule.parameters(), *rule.options()))
    return given(context, names)


def asked(context: click.Context) -> Question:
    """The question on a command line with `question_parameters`."""
    return Question(**vars(asked_setup(context)), h=given(context, ["h"]).get("h"))
