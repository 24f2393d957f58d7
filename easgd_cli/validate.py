"""`easgd validate`: whether a real network does what is predicted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from easgd_cli.comparison import comparison_command, schedules_command
from easgd_cli.findings import show, write_report
from easgd_cli.output import make_directory, report_options, to_json
from easgd_cli.progress import progress, told_how_to_continue
from easgd_cli.question import Count, listed, one_sentence

if TYPE_CHECKING:
    from gpu_trainer.checks import Check
    from gpu_trainer.site import Site

DISAGREEMENT = 1
"""The exit code where what was measured is not what is predicted."""

Checks = Callable[["Site", bool], list["Check"]]
"""From a site, and whether a look is enough, to what a command checks there."""


def _map(site: Site, quick: bool) -> list[Check]:
    from gpu_trainer.modes import MapCheck

    return [MapCheck(site=site, workers=(2,)) if quick else MapCheck(site=site)]


def _growth(site: Site, quick: bool) -> list[Check]:
    from gpu_trainer.modes import GrowthCheck

    return [GrowthCheck(site=site, workers=(2,), periods=(1,)) if quick else GrowthCheck(site=site)]


def _fate(site: Site, quick: bool) -> list[Check]:
    from gpu_trainer.edge import EdgeCheck
    from gpu_trainer.fate import FateCheck, SettlingCheck, admm_grid, easgd_grid

    if quick:
        return [FateCheck(site=site, grids=(easgd_grid(6, 60), admm_grid(4, 300)))]
    grids = (easgd_grid(), admm_grid())
    return [
        FateCheck(site=site, grids=grids),
        SettlingCheck(site=site, grids=tuple(replace(grid, rounds=200) for grid in grids)),
        EdgeCheck(site=site),
    ]


_COMMANDS: dict[str, tuple[Checks, str]] = {
    "map": (_map, "The matrix of one round, measured."),
    "growth": (_growth, "Growth over many rounds."),
    "fate": (_fate, "Who leaves a point, over a grid."),
}

_HELP = """Check on a real network that it does what the theory predicts.

The network is trained for a while, the gradient that is left is subtracted so that its point is stationary, and the
Hessian's eigenvectors there are found. The directory receives tables (CSV), figures, and report.html. A run that was
stopped is continued by the same command. Exit code 1 if something is not as predicted.
"""


def command() -> click.Command:
    """Build the command."""
    commands = {
        name: click.Command(name, params=_options(), callback=partial(_run, name), help=text)
        for name, (_, text) in _COMMANDS.items()
    }
    runs = {"comparison": comparison_command(), "schedules": schedules_command()}
    return click.Group("validate", commands=commands | runs, callback=_ask, invoke_without_command=True, help=_HELP)


@click.pass_context
def _ask(context: click.Context) -> None:
    if context.invoked_subcommand is None:
        known = [*_COMMANDS, "comparison", "schedules"]
        raise click.UsageError(f"what to check is missing: one of {listed(known, 'or')}")


def _options() -> list[click.Parameter]:
    return [
        click.Option(["--data"], default="digits", show_default=True, help="Or fashion-mnist, cifar10, imagefolder."),
        click.Option(["--data-dir"], help="Where the data lie."),
        click.Option(["--model"], default="tiny", show_default=True, help="Or cnn, module:factory; better smooth."),
        click.Option(["--images"], type=Count(), default=64, show_default=True, help="That make the loss."),
        click.Option(["--train-steps"], type=Count(0), default=200, show_default=True, help="Before anything else."),
        click.Option(["--seed"], type=Count(0), default=1, show_default=True, help="Of everything random."),
        click.Option(["--processes"], type=Count(), help="That work on cases.  [default: one for each core]"),
        click.Option(["--quick"], is_flag=True, help="Fewer cases: a look."),
        *report_options("validation"),
    ]


def _run(
    name: str,
    data: str,
    data_dir: str | None,
    model: str,
    images: int,
    train_steps: int,
    seed: int,
    processes: int | None,
    quick: bool,
    output: Path,
    as_json: bool,
) -> None:
    from easgd_cli.conclusions import conclude
    from gpu_trainer.site import Site, prepare

    make_directory(output)
    site = Site(data=data, data_dir=data_dir, model=model, images=images, steps=train_steps, seed=seed)
    findings = []
    with one_sentence():
        for check in _COMMANDS[name][0](site, quick):
            _fill(check, output, processes)
            findings.append(conclude(check, prepare(site, output), output))
    report = write_report(output)
    if as_json:
        click.echo(to_json({"report": str(report), "findings": [vars(finding) for finding in findings]}))
    else:
        show(findings, report)
    if any(finding.agrees is False for finding in findings):
        raise click.exceptions.Exit(DISAGREEMENT)


def _fill(check: Check, directory: Path, processes: int | None) -> None:
    """The check's table, complete."""
    from gpu_trainer.checks import validate

    def kept() -> str:
        path = directory / f"{check.name}.csv"
        return f"{str(path)!r} holds what was done" if path.exists() else ""

    with progress(check.name, len(check.cases())) as bar, told_how_to_continue(kept):
        validate(check, directory, processes=processes, progress=lambda done, total, row: bar.reach(done))
