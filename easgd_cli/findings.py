"""What `easgd validate` found, kept beside its tables, and the report of all that a directory holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from easgd_cli.output import to_json, write_bytes, write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_IN_THE_REPORT = ("map", "growth", "fate", "settling", "edge", "comparison", "schedules")


@dataclass(frozen=True)
class Finding:
    """What a table says.

    Attributes
    ----------
    name : str
        The check's; its table is ``NAME.csv``.
    title : str
    sentences : list of str
        What was found, with numbers.
    numbers : dict
        The same for programs.
    agrees : bool or None
        Whether the check holds; None where nothing is asked of it.
    pictures : list of str
        Files, without a suffix.
    """

    name: str
    title: str
    sentences: list[str]
    numbers: dict[str, Any]
    agrees: bool | None
    pictures: list[str]


def keep(finding: Finding, drawn: Mapping[str, Figure | Axes], directory: Path) -> None:
    """Write what was found as ``NAME.json``, and its pictures by their names."""
    for name, picture in drawn.items():
        for suffix in (".png", ".svg"):
            write_picture(picture, directory / f"{name}{suffix}")
    write_bytes(directory / f"{finding.name}.json", to_json(asdict(finding)).encode())


def write_report(directory: Path) -> Path:
    """Put everything that the directory holds into one HTML file that needs nothing else."""
    from easgd_cli.report import environment

    found = [json.loads(path.read_bytes()) for name in _IN_THE_REPORT if (path := directory / f"{name}.json").exists()]
    templates = environment()
    templates.filters["picture"] = lambda name: (directory / f"{name}.png").read_bytes()
    page = templates.get_template("validation.html.j2").render(findings=found, version=version("easgd"))
    write_bytes(directory / "report.html", page.encode())
    return directory / "report.html"


def show(findings: Sequence[Finding], report: Path) -> None:
    """Print what was found for a person: the verdicts first."""
    for finding in findings:
        verdict = {True: ": as predicted", False: ": NOT as predicted", None: ""}[finding.agrees]
        click.echo(f"{finding.title}{verdict}")
        for sentence in finding.sentences:
            click.echo(f"  {sentence}")
    click.echo(f"report: {report}")
