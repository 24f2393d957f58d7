"""The report: one HTML file that needs nothing else."""

from __future__ import annotations

from base64 import b64encode
from importlib.metadata import version
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

if TYPE_CHECKING:
    from easgd_cli.result import Reproduction


def render(result: Reproduction) -> str:
    """The report as HTML, its figures inside.

    Parameters
    ----------
    result : Reproduction
    """
    environment = Environment(
        loader=PackageLoader("easgd_cli", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["tie"] = _tie
    environment.filters["base64"] = lambda content: b64encode(content).decode("ascii")
    template = environment.get_template("report.html.j2")
    return template.render(result=result, version=version("easgd"))


def _tie(text: str) -> str:
    """Keep a relation such as ``p = 3`` on one line."""
    for sign in "=<≤>+":
        text = text.replace(f" {sign} ", f"\u00a0{sign}\u00a0")
    return text
