"""`easgd validate comparison | schedules`: runs side by side on one network, against wall-clock time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from easgd_cli.findings import Finding, keep, show, write_report
from easgd_cli.output import make_directory, report_options, to_json
from easgd_cli.progress import progress, told_how_to_continue
from easgd_cli.question import Count, FiniteNumber, FiniteNumbers, one_sentence

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gpu_trainer.comparison import Runs

METHODS = "EASGD and SGD, EAMSGD, DOWNPOUR, MDOWNPOUR, MSGD"


def comparison_command() -> click.Command:
    """Build ``comparison``."""
    own: list[click.Parameter] = [
        click.Option(
            ["--periods"], type=FiniteNumbers(), default="1,4,16,64", show_default=True, help="Communication periods."
        ),
        click.Option(["--rates"], type=FiniteNumbers(), help=f"Learning rates of {METHODS}."),
        click.Option(
            ["--delay"],
            type=FiniteNumber(),
            default=0.0,
            show_default=True,
            help="Of every worker's steps, seconds: as if each had a device of its own.",
        ),
    ]
    return click.Command("comparison", params=[*own, *_options()], callback=_compare_methods, help=_METHODS_HELP)


def schedules_command() -> click.Command:
    """Build ``schedules``."""
    own: list[click.Parameter] = [
        click.Option(["--tau"], type=Count(), default=10, show_default=True, help="Communication period."),
        click.Option(["--eta"], type=FiniteNumber(), default=0.05, show_default=True, help="Learning rate."),
        click.Option(
            ["--delay"],
            type=FiniteNumber(),
            default=0.2,
            show_default=True,
            help="Of the slow worker's steps, seconds.",
        ),
    ]
    return click.Command("schedules", params=[*own, *_options()], callback=_compare_schedules, help=_SCHEDULES_HELP)


def _options() -> list[click.Parameter]:
    return [
        click.Option(["--data"], default="fashion-mnist", show_default=True, help="Or digits, cifar10, imagefolder."),
        click.Option(["--data-dir"], help="Where the data lie."),
        click.Option(
            ["--model"], default="cnn", show_default=True, help="Or tiny, cifar7, imagenet11, module:factory."
        ),
        click.Option(["--workers"], type=Count(), default=4, show_default=True, help="Of the distributed methods."),
        click.Option(["--steps"], type=Count(), default=400, show_default=True, help="Of each worker."),
        click.Option(["--batch-size"], type=Count(), default=128, show_default=True, help="Of each worker."),
        click.Option(["--seed"], type=Count(0), default=0, show_default=True, help="Of everything random."),
        *report_options("validation"),
    ]


_METHODS_HELP = """The paper's methods on one network: losses and error against wall-clock time, and where it went.

EASGD, EAMSGD and DOWNPOUR with each communication period and MDOWNPOUR on the asynchronous schedule, MSGD and SGD with
one worker; one run after the other, each with a process for each worker. The theory's verdict stands beside each run.
Runs that are complete are not done again.
"""

_SCHEDULES_HELP = """EASGD synchronous, round-robin and asynchronous: the test error against wall-clock time.

Once with workers that are alike, once with one whose steps take longer. Runs that are complete are not done again.
"""


def _compare_methods(
    periods: float | list[float], rates: float | list[float] | None, output: Path, as_json: bool, **shared: Any
) -> None:
    from gpu_trainer.comparison import Comparison

    with one_sentence():
        runs = Comparison(periods=tuple(_whole(period) for period in _several(periods)), **shared)
        runs = runs if rates is None else replace(runs, rates=tuple(_several(rates)))
    _do(runs, output, as_json)


def _compare_schedules(output: Path, as_json: bool, **asked: Any) -> None:
    from gpu_trainer.comparison import Schedules

    _do(Schedules(**asked), output, as_json)


def _do(runs: Runs, output: Path, as_json: bool) -> None:
    """Run, and say what came of it."""
    from gpu_trainer import Failure, Processes
    from gpu_trainer.comparison import compare

    with one_sentence():
        total = len(runs.jobs)
    make_directory(output)

    def kept() -> str:
        return f"{str(output)!r} holds the runs so far"

    try:
        with one_sentence(), progress(runs.name, total) as bar, told_how_to_continue(kept):
            compare(runs, output, processes=Processes(fork=True), progress=lambda done, total, name: bar.reach(done))
    except Failure as failure:
        click.echo(f"easgd: error: {failure}", err=True)
        raise click.exceptions.Exit(1) from None
    finding = _conclude(runs, output)
    report = write_report(output)
    if as_json:
        click.echo(to_json({"report": str(report), "findings": [vars(finding)]}))
    else:
        show([finding], report)


def _conclude(runs: Runs, directory: Path) -> Finding:
    """Draw the runs of a directory and say how they ended."""
    from figures import compared

    found = compared.measured(directory, runs.name)
    curves = compared.comparison(found) if runs.name == "comparison" else compared.schedules(found)
    drawn: dict[str, Figure | Axes] = {runs.name: curves, f"{runs.name}_times": compared.times(found)}
    sentences = _endings(found)
    if runs.name == "schedules":
        sentences += _arrivals(found, _NEARLY * float(found.test_error.max()))
    finding = Finding(runs.name, _TITLES[runs.name], sentences, {}, None, list(drawn))
    keep(finding, drawn, directory)
    return finding


def _endings(found: xr.Dataset) -> list[str]:
    """One for each run: what was predicted, and how it ended."""
    from gpu_trainer.stopwatch import KINDS

    said = []
    for row in range(found.sizes["row"]):
        one = found.isel(row=row)
        # Text, where the table has an empty cell.
        predicted = {"True": "stable", "False": "unstable"}.get(str(one.predicted_stable.item()), "nothing")
        losses = one.train_loss_at.values[np.isfinite(one.train_loss_at.values)]
        rose = (losses / np.minimum.accumulate(losses)).max(initial=1.0)
        shares = ", ".join(f"{one[kind + '_seconds'].item():.1f} {kind}" for kind in KINDS)
        said.append(
            f"{one.run.item()}: predicted {predicted}, ended {one.verdict.item()} with a test error of "
            f"{one.test_error.item():.2%} after {one.seconds.item():.0f} s ({shares}); its training loss was once "
            f"{rose:.2f} times what it had been before."
        )
    return said


def _arrivals(found: xr.Dataset, error: float) -> list[str]:
    """One sentence for each run: when its center first had at most this test error."""
    said = []
    for row, run in enumerate(found.run.values):
        reached = found.time.values[row][found.test_error_at.values[row] <= error]
        when = f"{reached[0]:.0f} s" if reached.size else "not reached"
        said.append(f"{run}: test error {error:.1%} at {when}.")
    return said


_NEARLY = 1.1  # times the worst error in the end: what all come to, and some long before
_TITLES = {"comparison": "The paper's comparison", "schedules": "The schedules"}


def _several(values: float | list[float]) -> list[float]:
    return values if isinstance(values, list) else [values]


def _whole(period: float) -> int:
    if period < 1 or period != int(period):
        raise click.UsageError(f"--periods must be whole numbers of at least 1, got {period:g}")
    return int(period)
