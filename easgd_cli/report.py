"""Reports: HTML files that need nothing else."""

from __future__ import annotations

from base64 import b64encode
from importlib.metadata import version
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

if TYPE_CHECKING:
    from easgd_cli.result import Reproduction


def environment() -> Environment:
    """Of the templates: with the filter ``base64``, for pictures."""
    made = Environment(
        loader=PackageLoader("easgd_cli", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["base64"] = lambda content: b64encode(content).decode("ascii")
    return made


def render(result: Reproduction) -> str:
    """The report as HTML, its figures inside.

    Parameters
    ----------
    result : Reproduction
    """
    templates = environment()
    templates.filters["tie"] = _tie
    return templates.get_template("report.html.j2").render(result=result, version=version("easgd"))


def _tie(text: str) -> str:
    """Keep a relation such as ``p = 3`` on one line."""
    for sign in "=<≤>+":
        text = text.replace(f" {sign} ", f"\u00a0{sign}\u00a0")
    return text
