"""`easgd stability`: is it stable, by what margin, and where is the nearest edge."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isnan
from typing import Any
from warnings import catch_warnings, simplefilter

import click

from easgd_cli.output import show_table, to_json
from easgd_cli.question import Question, asked, one_sentence, question_parameters
from easgd_theory.algorithm import Algorithm
from easgd_theory.regions import sampled_intervals, stable_intervals, values_inside
from easgd_theory.schedules import Schedule, Synchronous
from easgd_theory.spectrum import is_stable, spectral_radius

LARGEST_STATE = 26
"""Up to this many variables of the workers the edges come at once; beyond, the first time compiles kernels."""


@dataclass(frozen=True)
class Edges:
    """Where one parameter is stable, the others held.

    Attributes
    ----------
    stable_intervals : tuple of (float, float)
        Among positive values; inf where an interval has no upper end.
    nearest : float or None
        The nearest edge of a stable interval.
    suggested : float or None
        For an unstable question: a value just inside the nearest stable interval (`values_inside`).
    """

    stable_intervals: tuple[tuple[float, float], ...]
    nearest: float | None
    suggested: float | None


@dataclass(frozen=True)
class ClosedForm:
    """A condition that is known in closed form, as `easgd_theory.stability_condition` states it."""

    statement: str
    exact: bool
    domain: str
    reference: str


@dataclass(frozen=True)
class Answer:
    """All that `easgd stability` says.

    Attributes
    ----------
    spectral_radius : float
        Of one round.
    stable, converges : bool
        Whether the iterates stay bounded, whether they converge.
    condition : ClosedForm or None
        None where none is known; `no_condition` says so in a sentence.
    edges : dict of Edges, or None
        By parameter. None: not computed, the state is large.
    """

    question: Question
    schedule: Schedule
    algorithm: Algorithm
    spectral_radius: float
    stable: bool
    converges: bool
    condition: ClosedForm | None
    no_condition: str
    edges: dict[str, Edges] | None

    @property
    def certified(self) -> bool:
        """Whether the radius is known; else nothing is decided."""
        return not isnan(self.spectral_radius)

    @property
    def verdict(self) -> str:
        """The answer in two words."""
        if not self.certified:
            return "undecided"
        return "converges" if self.converges else "stays bounded" if self.stable else "diverges"

    def parameters(self) -> dict[str, float | bool]:
        """Values of the parameters and options."""
        names = (*self.algorithm.parameters(), *self.algorithm.options())
        return {name: getattr(self.algorithm, name) for name in names}

    def record(self) -> dict[str, Any]:
        """The answer for JSON."""
        edges = None if self.edges is None else {name: asdict(edge) for name, edge in self.edges.items()}
        return {
            "algorithm": type(self.algorithm).__name__,
            "schedule": self.question.schedule_name,
            "p": "inf" if self.schedule.infinite else self.schedule.p,  # strict JSON has no infinity
            "tau": self.schedule.tau,
            "parameters": self.parameters(),
            "h": self.question.curvature,
            "spectral_radius": self.spectral_radius,
            "stable": self.stable if self.certified else None,
            "converges": self.converges if self.certified else None,
            "margin": 1 - self.spectral_radius,
            "condition": self.condition and asdict(self.condition),
            "edges": edges,
        }


def nearest_edges(value: float, intervals: list[tuple[float, float]], stable: bool) -> Edges:
    """The edge nearest to `value`, and where it is unstable a value to try."""
    # 0 is where `stable_intervals` stops looking: an edge only as seen from below
    edges = [edge for interval in intervals for edge in interval if edge < float("inf") and (edge > 0 or value <= 0)]
    nearest = min(edges, key=lambda edge: abs(edge - value), default=None)
    suggested = None if stable else next(iter(values_inside(value, intervals)), None)
    return Edges(tuple(intervals), nearest, suggested)


def _closed_form(algorithm: Algorithm, schedule: Schedule) -> tuple[ClosedForm | None, str]:
    from easgd_theory.conditions import stability_condition

    try:
        known = stability_condition(algorithm, schedule)
    except ValueError as error:
        return None, str(error)
    return ClosedForm(known.statement, known.exact, known.domain, known.reference), ""


def _all_edges(
    question: Question, algorithm: Algorithm, schedule: Schedule, stable: bool, proved: bool
) -> dict[str, Edges]:
    edges, find = {}, stable_intervals if proved else sampled_intervals
    for name in algorithm.parameters():
        intervals = find(name, algorithm, schedule, question.curvature)
        edges[name] = nearest_edges(getattr(algorithm, name), intervals, stable)
    return edges


def answer(question: Question, with_edges: bool | None = None) -> Answer:
    """Compute the answer; `with_edges` None takes the edges from samples, or leaves them out where that takes long."""
    schedule, algorithm = question.schedule(), question.record()
    proved = bool(with_edges)
    if with_edges is None:
        compiles = not schedule.infinite and schedule.workers() * len(algorithm.worker) > LARGEST_STATE
        with_edges = isinstance(schedule, Synchronous) or not compiles
    with one_sentence(), catch_warnings():
        simplefilter("ignore", RuntimeWarning)  # the verdict says what is not certified
        radius = float(spectral_radius(algorithm, schedule, question.curvature))
        stable = bool(is_stable(algorithm, schedule, question.curvature))
        converges = bool(is_stable(algorithm, schedule, question.curvature, strict=True))
    condition, no_condition = _closed_form(algorithm, schedule)
    edges = _all_edges(question, algorithm, schedule, stable, proved) if with_edges else None
    return Answer(question, schedule, algorithm, radius, stable, converges, condition, no_condition, edges)


def _show(answer: Answer) -> None:
    """Print the answer for a person: the verdict first."""
    values = ", ".join(f"{name}={value}" for name, value in answer.parameters().items())
    schedule = f"{answer.question.schedule_name}, p={answer.schedule.p}, tau={answer.schedule.tau}"
    reason, margin = "the spectral radius could not be certified", ""
    if answer.certified:
        reason = f"a round multiplies the error by {answer.spectral_radius!r} in the long run"
        margin = f"; margin to 1: {1 - answer.spectral_radius:.3g}"
    click.echo(f"{answer.verdict}: {reason}")
    click.echo(f"{type(answer.algorithm).__name__}({values}), {schedule}, h={answer.question.curvature:g}{margin}")
    if answer.condition:
        kind = "exact" if answer.condition.exact else "sufficient"
        click.echo(f"closed form ({kind}; {answer.condition.domain}): {answer.condition.statement}")
        click.echo(f"  {answer.condition.reference}")
    else:
        click.echo(f"closed form: {answer.no_condition}")
    click.echo()
    if answer.edges is None:
        click.echo("edges: not computed, ask for them with --edges")
        return
    header = ["parameter", "value", "stable for (the others held)", "nearest edge"]
    rows = [
        [name, f"{answer.parameters()[name]:g}", _shown_intervals(edge), _shown_number(edge.nearest)]
        for name, edge in answer.edges.items()
    ]
    if not answer.stable:
        header.append("try")
        for row, edge in zip(rows, answer.edges.values(), strict=True):
            row.append(_shown_number(edge.suggested))
    show_table(header, rows)


def _shown_intervals(edges: Edges) -> str:
    def shown(low: float, high: float) -> str:
        return f"{low:.6g} to {high:.6g}" if high < float("inf") else f"{low:.6g} up"

    return ", ".join(shown(*interval) for interval in edges.stable_intervals) or "no positive value"


def _shown_number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def command() -> click.Command:
    """Build the command."""
    edges = click.Option(
        ["--edges/--no-edges"],
        default=None,
        help="Compute the stable edges, with proof that none is missed.  "
        f"[default: from samples; round-robin, only up to {LARGEST_STATE} worker variables]",
    )
    as_json = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON, at full precision.")
    return click.Command("stability", params=[*question_parameters(), edges, as_json], callback=_run, help=_HELP)


_HELP = """Say whether ALGORITHM is stable: the spectral radius of one round.

With the margin to 1, the closed-form condition where one is known, and for each parameter the stable intervals of
positive values, the others held.

\b
Example: easgd stability admm --p 3 --eta 0.001 --rho 2.5
"""


@click.pass_context
def _run(context: click.Context, edges: bool | None, as_json: bool) -> None:
    result = answer(asked(context), edges)
    if as_json:
        click.echo(to_json(result.record()))
    else:
        _show(result)
