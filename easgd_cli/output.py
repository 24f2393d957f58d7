"""What leaves the program: JSON, tables, and files that are complete or not there."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from easgd_theory.files import atomic

if TYPE_CHECKING:
    import xarray as xr

SCHEMA_VERSION = 1


def to_json(record: Mapping[str, Any]) -> str:
    """`record` as JSON, its schema's version first; a float that is not finite becomes null."""
    return json.dumps(_finite({"schema_version": SCHEMA_VERSION, **record}), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: rich's on a terminal, aligned columns in a pipe."""
    if sys.stdout.isatty():
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table

        table = Table(*header, box=SIMPLE_HEAD)
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def check_file(option: str, path: Path, suffixes: Sequence[str]) -> None:
    """Raise UsageError unless a file of a known kind can be written at `path`: asked before anything is computed."""
    if path.is_dir():
        raise click.UsageError(f"{option} must name a file, got the directory {str(path)!r}")
    if path.suffix.lower() not in suffixes:
        raise click.UsageError(f"{option} must end in {', '.join(suffixes)}, got {str(path)!r}")
    check_directory(option, path.parent, str(path))


def check_directory(option: str, directory: Path, shown: str) -> None:
    """Raise UsageError unless files can be made in `directory`."""
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise click.UsageError(
            f"{option} must be in a directory that can be written, got {shown!r}: {reason}"
        ) from None


@contextmanager
def _whole_file(path: Path) -> Iterator[Path]:
    """`atomic`; raises UsageError where the disk refuses."""
    try:
        with atomic(path) as temporary:
            yield temporary
    except OSError as error:
        raise click.UsageError(f"cannot write {str(path)!r}: {(error.strerror or str(error)).lower()}") from None


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, complete or not at all."""
    with _whole_file(path) as temporary:
        temporary.write_bytes(content)


def write_data(dataset: xr.Dataset, path: Path) -> None:
    """Write a dataset as netCDF, or where `path` ends in .csv as a table with one row per point."""
    with _whole_file(path) as temporary:
        if path.suffix.lower() == ".csv":
            first = next(iter(dataset.data_vars.values()))
            dataset.to_dataframe(dim_order=list(first.dims)).to_csv(temporary)
        else:
            dataset.to_netcdf(temporary)
