"""`easgd reproduce`: recompute every claim and figure of the paper that this project covers, and write the report."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from easgd_cli.output import make_directory, report_options, to_json, write_bytes, write_data
from easgd_cli.progress import Bar, progress
from easgd_cli.result import DrawnPicture, Reproduction

if TYPE_CHECKING:
    from easgd_cli.claims import Claim, Effort
    from easgd_cli.pictures import Picture

DISAGREEMENT = 1
"""The exit code where a claim disagrees."""


def reproduce(directory: Path, quick: bool) -> Reproduction:
    """Judge the claims, draw the figures into `directory`, and write report.html and results.json beside them.

    Parameters
    ----------
    directory : Path
        It exists.
    quick : bool
        Coarse grids.
    """
    began = time.perf_counter()
    from easgd_cli.claims import BEYOND, FULL, PAPER, QUICK
    from easgd_cli.pictures import PICTURES
    from easgd_cli.report import render

    effort = QUICK if quick else FULL
    statements = (*PAPER, *BEYOND)
    with progress("starting", len(statements) + len(PICTURES)) as bar:
        claims = [_judge(statement.place, statement.judge, effort, bar) for statement in statements]
        pictures = tuple(_draw(picture, directory, quick, bar) for picture in PICTURES)
    paper, beyond = tuple(claims[: len(PAPER)]), tuple(claims[len(PAPER) :])
    seconds = time.perf_counter() - began
    result = Reproduction(paper, beyond, pictures, quick, datetime.now(UTC), seconds)
    write_bytes(directory / "results.json", to_json(result.record()).encode())
    write_bytes(directory / "report.html", render(result).encode())
    return result


def _judge(place: str, judge: Callable[[Effort], Claim], effort: Effort, bar: Bar) -> Claim:
    bar.start(place)
    claim = judge(effort)
    bar.advance(f"{claim.identifier:4} {place}: {claim.verdict}, {claim.seconds:.1f} s")
    return claim


def _draw(picture: Picture, directory: Path, quick: bool, bar: Bar) -> DrawnPicture:
    from figures.style import render

    bar.start(picture.name)
    began = time.perf_counter()
    dataset = picture.compute(quick)
    write_data(dataset, directory / f"{picture.name}.nc")
    figure = picture.draw(dataset)
    png = render(figure, ".png")
    write_bytes(directory / f"{picture.name}.png", png)
    write_bytes(directory / f"{picture.name}.svg", render(figure, ".svg"))
    seconds = time.perf_counter() - began
    bar.advance(f"figure {picture.name}: {seconds:.1f} s")
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return DrawnPicture(picture.name, picture.place, picture.caption, png, width, height, seconds)


def command() -> click.Command:
    """Build the command."""
    options: list[click.Parameter] = [
        click.Option(["--quick"], is_flag=True, help="Coarse grids: a look, in seconds."),
        *report_options("reproduction"),
    ]
    return click.Command("reproduce", params=options, callback=_run, help=_HELP)


_HELP = """Recompute the paper's claims and figures, and write a report.

Every claim of Section 4, of Lemma 7.1 and of Corollary 7.1 of arXiv:1412.6651 is computed and judged. The directory
receives report.html (one file, to be opened in a browser), results.json, and each figure as PNG, SVG and netCDF.
Exit code 1 if a claim disagrees.
"""


@click.pass_context
def _run(context: click.Context, quick: bool, output: Path, as_json: bool) -> None:
    make_directory(output)
    result = reproduce(output, quick)
    report = output / "report.html"
    if as_json:
        click.echo(to_json(result.record() | {"report": str(report)}))
    else:
        click.echo(f"report: {report}")
        click.echo(f"{result.summary()}; {result.seconds:.0f} s")
    context.exit(0 if result.agree() else DISAGREEMENT)
