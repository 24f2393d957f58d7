"""What leaves the program: JSON, tables, and files that are complete or not there."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click

from easgd_theory.files import atomic, finite

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Table = Callable[[xr.Dataset], Iterator[Any]]
    """Makes one data frame or several, with the same columns."""

SCHEMA_VERSION = 1
PICTURES = (".png", ".svg", ".pdf")


def to_json(record: Mapping[str, Any]) -> str:
    """`record` as JSON, its schema's version first; a float that is not finite becomes null."""
    return json.dumps(finite({"schema_version": SCHEMA_VERSION, **record}), indent=2, allow_nan=False)


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


def make_directory(directory: Path) -> None:
    """Make the directory of `-o`; raises UsageError where that cannot be."""
    if directory.exists() and not directory.is_dir():
        raise click.UsageError(f"-o must name a directory, got the file {str(directory)!r}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise click.UsageError(f"-o must name a directory that can be made, got {str(directory)!r}: {reason}") from None
    check_directory("-o", directory, str(directory))


def check_data(option: str, path: Path, suffixes: Sequence[str]) -> None:
    """`check_file` for data: a zarr store is a directory, and must not be there yet."""
    if path.suffix.lower() == ".zarr" and path.exists():
        raise click.UsageError(f"{option} must name a new path where it ends in .zarr, got {str(path)!r}, which exists")
    check_file(option, path, suffixes)


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
    with _sentence_about(path), atomic(path) as temporary:
        yield temporary


@contextmanager
def _sentence_about(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise click.UsageError(f"cannot write {str(path)!r}: {(error.strerror or str(error)).lower()}") from None


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, complete or not at all."""
    with _whole_file(path) as temporary:
        temporary.write_bytes(content)


def report_options(directory: str) -> list[click.Parameter]:
    """Where a report goes, by default in this directory, and whether its findings are printed as JSON."""
    path = click.Path(path_type=Path)
    return [
        click.Option(["-o", "--output"], type=path, default=directory, show_default=True, help="The directory."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print what was found as JSON."),
    ]


def write_picture(drawn: Figure | Axes, path: Path) -> None:
    """Write a figure, or the one that the axes are in, as PNG, SVG or PDF."""
    from figures.style import figure_of, render

    write_bytes(path, render(figure_of(drawn), path.suffix.lower()))


def one_row_per_point(dataset: xr.Dataset) -> Iterator[Any]:
    """A table with a column for each variable, whose dimensions are all the same."""
    first = next(iter(dataset.data_vars.values()))
    yield dataset.to_dataframe(dim_order=list(first.dims)).reset_index()


def one_row_per_value(dataset: xr.Dataset) -> Iterator[Any]:
    """A long table: the variable's name, where it is along each dimension (empty: it has none such), and its value."""
    columns = ["variable", *dict.fromkeys(str(name) for array in dataset.data_vars.values() for name in array.dims)]
    for name, array in dataset.data_vars.items():
        frame = array.drop_vars([other for other in array.coords if other not in array.dims]).to_dataframe(name="value")
        yield frame.reset_index().assign(variable=name).reindex(columns=[*columns, "value"])


def write_data(dataset: xr.Dataset, path: Path, table: Table = one_row_per_point) -> None:
    """Write a dataset as zarr, as a table where `path` ends in .csv, else as netCDF."""
    suffix = path.suffix.lower()
    if suffix == ".zarr":
        _write_zarr(dataset, path)
        return
    with _whole_file(path) as temporary:
        if suffix == ".csv":
            with temporary.open("w", newline="", encoding="utf-8") as file:
                for i, frame in enumerate(table(dataset)):
                    frame.to_csv(file, index=False, header=i == 0)
        else:
            dataset.to_netcdf(temporary)


def _write_zarr(dataset: xr.Dataset, path: Path) -> None:
    with _sentence_about(path), new_directory(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's remark that consolidated metadata is not in its specification
        dataset.to_zarr(temporary)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Where to make a directory that gets its name, where nothing is yet, if the block succeeds."""
    temporary = path.with_name(f".{path.stem}-{uuid4().hex}{path.suffix}")
    try:
        yield temporary
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
